import { createPublicKey, type KeyObject } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { KeySpec } from '../../src/stores/store.ts';
import type { TestTpm } from './swtpm.ts';

/** What swtpm 0.7 holds; it has no RSA-4096. */
export const TPM_TYPES: readonly KeySpec[] = ['RSA-2048', 'RSA-3072', 'P-384', 'P-521', 'P-256'];

const STORAGE = 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|decrypt';
const SIGNING = 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign';

export interface MakeOptions {
  readonly type: KeySpec;
  /** authValue. Default: none. */
  readonly auth?: string | undefined;
  /** Whether wrong authValues are counted. Default: false. */
  readonly counted?: boolean;
  /** Attributes instead of those of an unrestricted signing key. */
  readonly attributes?: string;
  /** A scheme fixed in the key, as tpm2-tools write it: `ecdsa-sha256`. */
  readonly scheme?: string;
  /** File of a policy. */
  readonly policy?: string;
  /** `-G` of the storage key. Default: `ecc256`. */
  readonly storage?: 'ecc256' | 'rsa2048';
  /** Whether the storage key has noDA. Default: true. */
  readonly storageNoDa?: boolean;
  /** Default: `o`. */
  readonly hierarchy?: 'o' | 'n' | 'e';
  /** A persistent storage key instead. */
  readonly parent?: string;
  readonly parentAuth?: string;
}

export interface MadeKey {
  /** Read by tpm2-tools. */
  readonly publicKey: KeyObject;
  /** Path of the key file that tpm2_encodeobject made. */
  readonly file: string;
  /** Put it at a persistent handle. */
  persist(handle: string): Promise<void>;
}

let count = 0;

/** Make a key with tpm2-tools, and leave nothing loaded. */
export async function makeTpmKey(tpm: TestTpm, options: MakeOptions): Promise<MadeKey> {
  count += 1;
  const name = `k${count}`;
  const parent = options.parent ?? `${name}.parent`;
  const algorithm = `${options.type.startsWith('RSA') ? `rsa${options.type.slice(4)}` : `ecc${options.type.slice(2)}`}${
    options.scheme === undefined ? '' : `:${options.scheme}`
  }`;
  const auth = options.auth === undefined ? [] : ['-p', await tpm.secret(options.auth)];
  const policy = options.policy === undefined ? [] : ['-L', options.policy];
  const ofParent = options.parentAuth === undefined ? [] : ['-P', await tpm.secret(options.parentAuth)];
  const attributes = options.attributes ?? (options.counted ? SIGNING : `${SIGNING}|noda`);
  if (options.parent === undefined) await makeStorage(tpm, parent, options);
  const blobs = ['-u', `${name}.pub`, '-r', `${name}.priv`];
  await tpm.tool(
    'tpm2_create',
    '-C',
    parent,
    ...ofParent,
    '-G',
    algorithm,
    '-a',
    attributes,
    ...auth,
    ...policy,
    ...blobs,
  );
  await flush(tpm);
  await tpm.tool(
    'tpm2_encodeobject',
    '-C',
    parent,
    ...ofParent,
    ...(options.auth === undefined ? [] : ['-p']),
    ...blobs,
    '-o',
    `${name}.tpm`,
  );
  await flush(tpm);
  await tpm.tool('tpm2_load', '-C', parent, ...ofParent, ...blobs, '-c', `${name}.ctx`);
  await tpm.tool('tpm2_readpublic', '-c', `${name}.ctx`, '-f', 'pem', '-o', `${name}.pem`);
  await flush(tpm);
  return {
    publicKey: createPublicKey(await readFile(join(tpm.dir, `${name}.pem`))),
    file: join(tpm.dir, `${name}.tpm`),
    async persist(handle) {
      await tpm.tool('tpm2_evictcontrol', '-C', 'o', '-c', `${name}.ctx`, handle);
      await flush(tpm);
    },
  };
}

/** A storage key in a context file of tpm2-tools. */
export async function makeStorage(
  tpm: TestTpm,
  context: string,
  { hierarchy = 'o', storage = 'ecc256', storageNoDa = true }: Omit<MakeOptions, 'type'>,
): Promise<void> {
  const algorithm = storage === 'ecc256' ? 'ecc256:null:aes128cfb' : 'rsa2048:null:aes128cfb';
  const attributes = storageNoDa ? `${STORAGE}|noda` : STORAGE;
  await tpm.tool('tpm2_createprimary', '-C', hierarchy, '-G', algorithm, '-a', attributes, '-c', context);
  await flush(tpm);
}

/** A storage key at a persistent handle. */
export async function makePersistentStorage(
  tpm: TestTpm,
  handle: string,
  auth?: string,
  { counted = false, algorithm = 'ecc256:null:aes128cfb' }: { counted?: boolean; algorithm?: string } = {},
): Promise<void> {
  const secret = auth === undefined ? [] : ['-p', await tpm.secret(auth)];
  const attributes = counted ? STORAGE : `${STORAGE}|noda`;
  await tpm.tool('tpm2_createprimary', '-C', 'o', '-G', algorithm, '-a', attributes, ...secret, '-c', 'storage.ctx');
  await flush(tpm);
  await tpm.tool('tpm2_evictcontrol', '-C', 'o', '-c', 'storage.ctx', handle);
  await flush(tpm);
}

/** tpm2-tools leave objects and sessions loaded. */
export async function flush(tpm: TestTpm): Promise<void> {
  await tpm.tool('tpm2_flushcontext', '-t');
  await tpm.tool('tpm2_flushcontext', '-l');
}

/** What is loaded now; empty when nothing is. */
export const loadedIn = async (tpm: TestTpm): Promise<string> =>
  (await tpm.tool('tpm2_getcap', 'handles-transient')) + (await tpm.tool('tpm2_getcap', 'handles-loaded-session'));

/** Wrong authValues that the TPM has counted; swtpm locks at the third. */
export async function countedTries(tpm: TestTpm): Promise<number> {
  const properties = await tpm.tool('tpm2_getcap', 'properties-variable');
  return Number(/LOCKOUT_COUNTER: (0x[0-9A-F]+)/.exec(properties)?.[1]);
}
