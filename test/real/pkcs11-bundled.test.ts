import { execFile } from 'node:child_process';
import { copyFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { parseKeyUri } from '../../src/uri.ts';
import { CHILD, inChild } from '../helpers/in-child.ts';
import { describeSoftHsm, makeToken, type TestToken } from '../helpers/softhsm.ts';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
const library = join(root, 'dist/index.js');

/** Opens, signs, closes; prints whether it did, or the code of the error. */
const USE = `openKey(process.env.TEST_URI, JSON.parse(process.env.TEST_OPTIONS)).then(
  async (key) => {
    await key.sign(Buffer.from('message'));
    await key.close();
    console.log('signed');
  },
  (error) => console.log(error.code, error.hint),
);`;

describeSoftHsm('a program with the library in it', () => {
  let token: TestToken;

  const use = async (args: readonly string[], options: object = {}): Promise<string> => {
    const uri = token.uri({ object: 'key' }, { 'pin-source': `file:${join(token.dir, 'pin')}` });
    const env = { ...process.env, ...token.env, TEST_URI: uri, TEST_OPTIONS: JSON.stringify(options) };
    return (await run(process.execPath, ['--no-warnings', ...args], { env, cwd: root })).stdout.trim();
  };

  beforeAll(async () => {
    token = await makeToken();
    Object.assign(process.env, token.env);
    writeFileSync(join(token.dir, 'pin'), token.pin, { mode: 0o600 });
    symlinkSync(join(root, 'node_modules'), join(token.dir, 'node_modules'));
    writeFileSync(join(token.dir, 'package.json'), '{ "type": "module" }');
    await inChild.create(parseKeyUri(token.uri({ object: 'key' })), { keyType: 'P-256', secret: token.pin });
  });
  afterAll(() => token.remove());

  test('as an ES module', async () => {
    const code = `import { openKey } from '${pathToFileURL(library).href}'; ${USE}`;
    expect(await use(['--input-type=module', '--eval', code])).toBe('signed');
  });

  test('through require', async () => {
    const code = `const { openKey } = require(${JSON.stringify(library)}); ${USE}`;
    expect(await use(['--input-type=commonjs', '--eval', code])).toBe('signed');
  });

  // Native packages are left outside, and nobody thinks of the child's program.
  describe.each(['esm', 'cjs'] as const)('bundled by esbuild, %s', (format) => {
    const bundle = (): string => join(token.dir, format, format === 'esm' ? 'program.mjs' : 'program.cjs');

    beforeAll(async () => {
      const entry = join(token.dir, `entry-${format}.mjs`);
      writeFileSync(entry, `import { openKey } from ${JSON.stringify(library)};\n${USE}\n`);
      const options = {
        ...{ entryPoints: [entry], outfile: bundle(), bundle: true, platform: 'node', format },
        ...{ external: ['pkcs11js', 'graphene-pk11'], logLevel: 'error' },
      };
      const script = `import { build } from 'esbuild'; await build(${JSON.stringify(options)});`;
      await run(process.execPath, ['--input-type=module', '--eval', script], { cwd: root });
    });

    test('without the program of the child: an error that says so, and two ways out', async () => {
      const said = await use([bundle()]);
      expect(said).toMatch(/^ERR_CHILD_MISSING/);
      for (const word of ['childPath', "isolation: 'in-place'"]) expect(said).toContain(word);
    });

    test('with its path', async () => {
      expect(await use([bundle()], { childPath: CHILD })).toBe('signed');
    });

    test('beside the bundle, where the bundle knows its place', async () => {
      copyFileSync(CHILD, join(token.dir, format, basename(CHILD)));
      expect(await use([bundle()])).toMatch(format === 'esm' ? /^signed$/ : /^ERR_CHILD_MISSING/);
    });

    test('loaded by require', async () => {
      const code = `require(${JSON.stringify(bundle())});`;
      expect(await use(['--input-type=commonjs', '--eval', code], { childPath: CHILD })).toBe('signed');
    });

    test('in place', async () => {
      expect(await use([bundle()], { isolation: 'in-place' })).toBe('signed');
    });
  });
});
