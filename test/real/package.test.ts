import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  name: string;
  version: string;
  exports: Record<string, unknown>;
};

/** What a consumer writes: `holdfast`, `holdfast/local`, ... */
const modules = Object.keys(manifest.exports)
  .filter((subpath) => subpath !== './package.json')
  .map((subpath) => subpath.replace('.', manifest.name));

let dir: string;
let tarball: string;
let files: readonly string[];

// dist/ is built already, and `prepack` would build it again under the feet of the other tests.
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'holdfast-package-'));
  const { stdout } = await run('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', dir], { cwd: root });
  const [packed] = JSON.parse(stdout) as { filename: string; files: { path: string }[] }[];
  if (packed === undefined) throw new Error('npm pack made nothing');
  tarball = join(dir, packed.filename);
  files = packed.files.map(({ path }) => path);
}, 120_000);

afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe('the tarball', () => {
  test('holds the built package, its documents and nothing else', () => {
    const allowed =
      /^(dist\/.+\.(js|d\.ts)|dist\/cli\/package\.json|docs\/.+\.md|native-notes\/.+\.md|(README|CHANGELOG|SECURITY)\.md|LICENSE|package\.json)$/;
    expect(files.filter((path) => !allowed.test(path))).toEqual([]);
    for (const path of ['LICENSE', 'README.md', 'CHANGELOG.md', 'SECURITY.md', 'docs/errors.md', 'dist/cli/main.js']) {
      expect(files).toContain(path);
    }
  });

  test('holds every file that exports names', () => {
    const named = JSON.stringify(manifest.exports).match(/dist\/[^"]+/g) ?? [];
    expect(named.length).toBeGreaterThan(modules.length);
    expect(named.filter((path) => !files.includes(path))).toEqual([]);
  });

  test('publint has nothing to say', async () => {
    const { stdout } = await run(process.execPath, [bin('publint/src/cli.js'), 'run', '--strict', tarball]);
    expect(stdout).toContain('All good!');
  }, 60_000);

  test('attw: its types are right for ES module users', async () => {
    const args = [bin('@arethetypeswrong/cli/dist/index.js'), '--profile', 'esm-only', '--format', 'json', tarball];
    // It ends with a status other than 0 when it finds a problem.
    const { stdout } = await run(process.execPath, args, { maxBuffer: 1 << 26 });
    expect(stdout).toContain(manifest.name);
  }, 120_000);
});

describe.each([
  { how: 'npm install', flags: [], opening: 'ERR_MODULE_FAILED' },
  { how: 'npm install --omit=optional', flags: ['--omit=optional'], opening: 'ERR_DRIVER_NOT_INSTALLED' },
  { how: 'npm install --ignore-scripts', flags: ['--ignore-scripts'], opening: 'ERR_DRIVER_NOT_BUILT' },
])('in an empty project after $how', ({ flags, opening }) => {
  let project: string;

  const node = async (code: string, type: 'module' | 'commonjs' = 'module'): Promise<string> => {
    const args = ['--no-warnings', `--input-type=${type}`, '--eval', code];
    return (await run(process.execPath, args, { cwd: project })).stdout.trim();
  };

  beforeAll(async () => {
    project = mkdtempSync(join(dir, 'project-'));
    // npm 12 runs an install script only where the project allows it.
    writeFileSync(join(project, 'package.json'), '{ "private": true, "allowScripts": { "pkcs11js": true } }');
    const quiet = ['--prefer-offline', '--no-audit', '--no-fund'];
    await run('npm', ['install', ...quiet, ...flags, tarball], { cwd: project });
  }, 300_000);

  test.each(modules)('import of %s', async (name) => {
    const printed = await node(`import * as all from '${name}'; console.log(Object.keys(all).length);`);
    expect(Number(printed)).toBeGreaterThan(0);
  });

  test.each(modules)('require of %s', async (name) => {
    const printed = await node(`console.log(Object.keys(require('${name}')).length);`, 'commonjs');
    expect(Number(printed)).toBeGreaterThan(0);
  });

  test('package.json can be asked for', async () => {
    expect(await node(`console.log(require('${manifest.name}/package.json').version);`, 'commonjs')).toBe(
      manifest.version,
    );
  });

  test('a key file signs', async () => {
    const printed = await node(`
      import { generateKeyPairSync, verify } from 'node:crypto';
      import { writeFileSync } from 'node:fs';
      import { openKey } from '${manifest.name}';
      const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      writeFileSync('key.pem', privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
      const key = await openKey('./key.pem');
      const message = Buffer.from('a message');
      console.log(verify('sha256', message, publicKey, await key.sign(message)));
      await key.close();
    `);
    expect(printed).toBe('true');
  });

  test(`a token: ${opening}`, async () => {
    const printed = await node(`
      import { writeFileSync } from 'node:fs';
      import { resolve } from 'node:path';
      import { openKey } from '${manifest.name}';
      writeFileSync('module.so', 'no module');
      const uri = 'pkcs11:token=t;object=k?module-path=' + resolve('module.so');
      console.log(await openKey(uri).then(() => 'opened', (error) => error.code));
    `);
    expect(printed).toBe(opening);
  });

  test('the command runs', async () => {
    const { stdout } = await run(join(project, 'node_modules/.bin/holdfast'), ['version'], { cwd: project });
    expect(stdout).toContain(manifest.version);
  });

  test('the demo runs, and says what it left out without an AWS SDK', async () => {
    const args = ['demo', '--store', 'file'];
    const { stdout } = await run(join(project, 'node_modules/.bin/holdfast'), args, { cwd: project });
    expect(stdout).toContain('not asked: the package @aws-sdk/client-sts is not installed');
  }, 30_000);
});

/** A program of a development package, run by the Node that runs this. */
const bin = (path: string): string => join(root, 'node_modules', path);
