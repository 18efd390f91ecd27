import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { softhsmModule } from '../helpers/softhsm.ts';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
const DRIVER = join('node_modules', 'pkcs11js');

/** Opens a key in plain Node and prints how that failed. */
const OPEN = `
  import { open, create } from './dist/stores/pkcs11/index.js';
  import { parseKeyUri } from './dist/uri.js';
  const uri = parseKeyUri('pkcs11:token=none?module-path=' + process.argv[2]);
  const work = process.argv[3] === 'create' ? create(uri, { keyType: 'P-256' }) : open(uri, { isolation: process.argv[4] });
  const { name, code, message, hint, cause } = await work.then(() => ({ code: 'none' }), (error) => error);
  console.log(JSON.stringify({ name, code, message, hint, cause: { code: cause?.code, message: cause?.message } }));
`;

interface Outcome {
  code: string;
  message: string;
  hint: string;
  cause: { code?: string; message?: string };
}

describe('the driver and its troubles, each with its cure', () => {
  let base: string;
  let nextTree = 0;

  beforeAll(async () => {
    base = await mkdtemp(join(tmpdir(), 'holdfast-driver-'));
    await run(
      process.execPath,
      ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json', '--outDir', join(base, 'dist')],
      {
        cwd: root,
      },
    );
  }, 60_000);
  afterAll(() => rm(base, { recursive: true, force: true }));

  /** A project of its own, with the packages named, and `change` done to it. */
  async function openIn(
    packages: readonly string[],
    change: (tree: string) => Promise<unknown> = async () => {},
    {
      flags = [],
      modulePath = '/etc/hostname',
      work = 'open',
      isolation = 'child',
    }: { flags?: string[]; modulePath?: string; work?: string; isolation?: string } = {},
  ): Promise<Outcome> {
    nextTree += 1;
    const tree = join(base, `tree-${nextTree}`);
    await cp(join(base, 'dist'), join(tree, 'dist'), { recursive: true });
    await writeFile(join(tree, 'package.json'), '{ "type": "module" }');
    await writeFile(join(tree, 'open.js'), OPEN);
    for (const name of packages) {
      const to = join(tree, 'node_modules', name);
      await mkdir(dirname(to), { recursive: true });
      await cp(join(root, 'node_modules', name), to, { recursive: true });
    }
    await change(tree);
    const { stdout } = await run(process.execPath, [...flags, 'open.js', modulePath, work, isolation], { cwd: tree });
    return JSON.parse(stdout) as Outcome;
  }

  test('the package is not there: ERR_DRIVER_NOT_INSTALLED', async () => {
    const error = await openIn([]);
    expect(error).toMatchObject({ code: 'ERR_DRIVER_NOT_INSTALLED', cause: { code: 'ERR_MODULE_NOT_FOUND' } });
    expect(error.hint).toContain('npm install pkcs11js');
    expect(error.hint).toContain('--omit=optional');
  });

  test('its install script did not run: ERR_DRIVER_NOT_BUILT', async () => {
    const error = await openIn(['pkcs11js'], (tree) => rm(join(tree, DRIVER, 'build'), { recursive: true }));
    expect(error).toMatchObject({ code: 'ERR_DRIVER_NOT_BUILT', cause: { code: 'MODULE_NOT_FOUND' } });
    expect(error.message).toContain('install script did not run');
    for (const cure of [
      '"allowScripts": { "pkcs11js": true }',
      'npm install-scripts approve',
      'npm rebuild pkcs11js',
    ]) {
      expect(error.hint).toContain(cure);
    }
  });

  test('it was built for another machine: ERR_DRIVER_NOT_BUILT', async () => {
    const error = await openIn(['pkcs11js'], (tree) =>
      writeFile(join(tree, DRIVER, 'build', 'Release', 'pkcs11.node'), 'no shared object'),
    );
    expect(error.code).toBe('ERR_DRIVER_NOT_BUILT');
    expect(error.message).toContain('cannot be loaded');
  });

  test('the permission model forbids addons: said so', async () => {
    const permission = process.allowedNodeEnvironmentFlags.has('--permission')
      ? '--permission'
      : '--experimental-permission';
    const flags = [permission, '--allow-fs-read=*', '--no-warnings'];
    const boxed = await openIn(['pkcs11js'], undefined, { flags });
    expect(boxed).toMatchObject({ code: 'ERR_STORE_CRASHED', cause: { code: 'ERR_ACCESS_DENIED' } });
    expect(boxed.hint).toContain('--allow-child-process');
    const error = await openIn(['pkcs11js'], undefined, { flags, isolation: 'in-place' });
    expect(error).toMatchObject({ code: 'ERR_DRIVER_NOT_BUILT', cause: { code: 'ERR_DLOPEN_DISABLED' } });
    expect(error.hint).toBe('start Node with --allow-addons');
  });

  test('a module that is not there is our ERR_MODULE_NOT_FOUND, whatever the driver', async () => {
    const outcomes = [
      await openIn([], undefined, { modulePath: '/nowhere/x.so' }),
      await openIn(['pkcs11js'], undefined, { modulePath: '/nowhere/x.so' }),
    ];
    for (const error of outcomes) {
      expect(error).toMatchObject({ code: 'ERR_MODULE_NOT_FOUND', cause: { code: 'ENOENT' } });
      expect(error.message).toContain('/nowhere/x.so');
    }
  });

  test('a driver that works reports on the module: ERR_MODULE_FAILED', async () => {
    const error = await openIn(['pkcs11js']);
    expect(error.code).toBe('ERR_MODULE_FAILED');
    expect(error.cause.message).toMatch(/invalid ELF header|not a mach-o file|too short/);
  });

  test('opening needs no graphene; making a key does, and says so', async () => {
    const modulePath = softhsmModule() ?? '/etc/hostname';
    const missing = await openIn(['pkcs11js'], undefined, { modulePath, work: 'create' });
    expect(missing).toMatchObject({ code: 'ERR_DRIVER_NOT_INSTALLED', cause: { code: 'ERR_MODULE_NOT_FOUND' } });
    expect(missing.message).toContain('graphene-pk11');
    const unbuilt = await openIn(
      ['pkcs11js', 'graphene-pk11', 'tslib'],
      (tree) => rm(join(tree, DRIVER, 'build'), { recursive: true }),
      { modulePath, work: 'create' },
    );
    expect(unbuilt.code).toBe('ERR_DRIVER_NOT_BUILT');
  });
});
