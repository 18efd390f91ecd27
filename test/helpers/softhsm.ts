import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { runInThisContext } from 'node:vm';
import { describe } from '@jest/globals';
import { formatKeyUri } from '../../src/uri.ts';
import { canaries } from './canaries.ts';

const run = promisify(execFile);

const MODULE_PATHS = [
  process.env.HOLDFAST_TEST_SOFTHSM ?? '',
  '/usr/lib/softhsm/libsofthsm2.so',
  '/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so',
  '/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so',
  '/usr/lib64/pkcs11/libsofthsm2.so',
  '/usr/lib64/softhsm/libsofthsm.so',
  '/opt/homebrew/lib/softhsm/libsofthsm2.so',
  '/usr/local/lib/softhsm/libsofthsm2.so',
];

/** The SoftHSM module of this machine; undefined when there is none. */
export const softhsmModule = (): string | undefined => MODULE_PATHS.find((path) => path !== '' && existsSync(path));

/** `describe`, or a skip that says why, where SoftHSM is missing. */
export function describeSoftHsm(name: string, tests: () => void): void {
  if (softhsmModule() === undefined) describe.skip(`${name} (skipped: SoftHSM is not installed)`, tests);
  else describe(name, tests);
}

export interface TokenOptions {
  /** Default: `test`. */
  tokenLabel?: string;
  /** Default: that of `canaries`, random and long enough not to turn up in an error by chance. */
  pin?: string;
  soPin?: string;
}

/** A SoftHSM of one's own with one token in it. */
export interface TestToken {
  readonly modulePath: string;
  /** Path of the configuration file. */
  readonly conf: string;
  readonly pin: string;
  readonly soPin: string;
  readonly tokenLabel: string;
  /** For child processes: `{ ...process.env, ...token.env }`. */
  readonly env: Readonly<Record<string, string>>;
  /** A private directory, also for the test's own files. */
  readonly dir: string;
  /** A key URI on this token, without the PIN. Attributes go before the `?`, `query` behind it. */
  uri(path?: Record<string, string | Uint8Array>, query?: Record<string, string>): string;
  /** A further token in the same SoftHSM. Not removed on its own. */
  addToken(options: TokenOptions & { tokenLabel: string }): Promise<TestToken>;
  remove(): Promise<void>;
}

/** A fresh SoftHSM in a directory of its own. Needs no rights; throws where SoftHSM is not installed. */
export async function makeToken(options: TokenOptions = {}): Promise<TestToken> {
  const dir = await mkdtemp(join(tmpdir(), 'holdfast-softhsm-'));
  const conf = join(dir, 'softhsm2.conf');
  await mkdir(join(dir, 'tokens'));
  await writeFile(
    conf,
    `directories.tokendir = ${join(dir, 'tokens')}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n`,
  );
  return initToken(dir, conf, options);
}

async function initToken(dir: string, conf: string, options: TokenOptions): Promise<TestToken> {
  const modulePath = softhsmModule();
  if (modulePath === undefined) throw new Error('SoftHSM is not installed');
  const env = { SOFTHSM2_CONF: conf };
  const pin = options.pin ?? canaries.pin;
  const soPin = options.soPin ?? `so-${randomBytes(6).toString('hex')}`;
  const tokenLabel = options.tokenLabel ?? 'test';
  const init = ['--init-token', '--free', '--label', tokenLabel, '--so-pin', soPin, '--pin', pin];
  await run('softhsm2-util', ['--module', modulePath, ...init], { env: { ...process.env, ...env } });
  return {
    modulePath,
    conf,
    pin,
    soPin,
    tokenLabel,
    env,
    dir,
    uri: (path = {}, query = {}) =>
      formatKeyUri({
        scheme: 'pkcs11',
        path: [['token', tokenLabel], ...Object.entries(path)],
        query: [['module-path', modulePath], ...Object.entries(query)],
      }),
    addToken: (more) => initToken(dir, conf, more),
    remove: () => rm(dir, { recursive: true, force: true }),
  };
}

/**
 * Set variables where a PKCS#11 module sees them. Inside jest `process.env` is a copy that getenv(3) knows nothing of;
 * the main context of the same process still has the real one. To be called before the module is initialised.
 */
export function setRealEnvironment(variables: Readonly<Record<string, string>>): void {
  const real = runInThisContext('process') as NodeJS.Process;
  Object.assign(real.env, variables);
  Object.assign(process.env, variables);
}
