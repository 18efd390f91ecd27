import { execFile } from 'node:child_process';
import { createPublicKey, type KeyObject } from 'node:crypto';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { KeySpec } from '../../src/stores/store.ts';
import { formatKeyUri } from '../../src/uri.ts';

export const KEY_TYPES: readonly KeySpec[] = ['RSA-2048', 'RSA-3072', 'RSA-4096', 'P-256', 'P-384', 'P-521'];

/** A PKCS#11 module with one token, set up for the tests of one file. */
export interface TestModule {
  readonly modulePath: string;
  readonly tokenLabel: string;
  readonly pin: string;
  /** To be set in the real environment before the module is loaded. */
  readonly env: Readonly<Record<string, string>>;
  /** What the query of a key URI needs besides `module-path`. */
  readonly query: Readonly<Record<string, string>>;
  /** What C_Initialize is given in `pReserved`. */
  readonly initReserved?: string;
  /** Make a key with a tool that is not ours. */
  makeKey(type: KeySpec): Promise<ModuleKey>;
  /** Clear away what calls leave behind in the token. To be called while nobody uses the module. */
  settle?(): Promise<void>;
  remove(): Promise<void>;
}

export interface ModuleKey {
  /** The path attributes that select it. */
  readonly path: Readonly<Record<string, Uint8Array | string>>;
  /** Read by something else than holdfast. */
  readonly publicKey: KeyObject;
}

/** A key URI on the token of a module, without the PIN. */
export const uriOn = (
  { modulePath, tokenLabel, query }: Pick<TestModule, 'modulePath' | 'tokenLabel' | 'query'>,
  path: Readonly<Record<string, Uint8Array | string>> = {},
): string =>
  formatKeyUri({
    scheme: 'pkcs11',
    path: [['token', tokenLabel], ...Object.entries(path)],
    query: [['module-path', modulePath], ...Object.entries(query)],
  });

export type Run = (program: string, args: readonly string[]) => Promise<string>;

/** Runs programs in the environment of a module; what they print is returned, and told when they fail. */
export const runner = (env: Readonly<Record<string, string>>): Run => {
  const run = promisify(execFile);
  return async (program, args) => (await run(program, [...args], { env: { ...process.env, ...env } })).stdout;
};

/** `CKA_ID` of the key of each type. */
export const idOf = (type: KeySpec): Buffer => Buffer.of(KEY_TYPES.indexOf(type) + 1);

const CURVES: Readonly<Record<string, { readonly tool: string; readonly size: number }>> = {
  'P-256': { tool: 'prime256v1', size: 32 },
  'P-384': { tool: 'secp384r1', size: 48 },
  'P-521': { tool: 'secp521r1', size: 66 },
};

/** Make a key pair in the token with OpenSC's pkcs11-tool, and read its public half with that. */
export async function makeWithTool(
  run: Run,
  { modulePath, tokenLabel, pin }: Pick<TestModule, 'modulePath' | 'tokenLabel' | 'pin'>,
  type: KeySpec,
  dir: string,
): Promise<ModuleKey> {
  const id = idOf(type);
  const on = ['--module', modulePath, '--token-label', tokenLabel, '--login', '--pin', pin, '--id', id.toString('hex')];
  const curve = CURVES[type];
  const keyType = curve ? `EC:${curve.tool}` : `rsa:${type.slice(4)}`;
  const made = await run('pkcs11-tool', [...on, '--keypairgen', '--key-type', keyType, '--label', type]);
  const publicKey = curve ? readPoint(made, type, curve.size) : await readRsa(run, on, join(dir, `${type}.der`));
  return { path: { object: type, id }, publicKey };
}

async function readRsa(run: Run, on: readonly string[], file: string): Promise<KeyObject> {
  await run('pkcs11-tool', [...on, '--read-object', '--type', 'pubkey', '--output-file', file]);
  const publicKey = createPublicKey({ key: await readFile(file), format: 'der', type: 'spki' });
  await rm(file);
  return publicKey;
}

/** OpenSC 0.23 cannot write a public key on P-384 or P-521 to a file, but it shows the point when it made the key. */
function readPoint(made: string, crv: string, size: number): KeyObject {
  const shown = /EC_POINT:\s*([0-9a-f]+)/.exec(made)?.[1];
  if (shown === undefined) throw new Error(`pkcs11-tool shows no point: ${made}`);
  const point = Buffer.from(shown, 'hex').subarray(-2 * size);
  const [x, y] = [point.subarray(0, size), point.subarray(size)].map((half) => half.toString('base64url'));
  return createPublicKey({ key: { kty: 'EC', crv, x: x as string, y: y as string }, format: 'jwk' });
}
