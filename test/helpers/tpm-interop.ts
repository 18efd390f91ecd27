import { createPublicKey, type KeyObject, randomBytes, verify } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from '@jest/globals';
import { openKey } from '../../src/stores/index.ts';
import { create, readPublic } from '../../src/stores/tpm/index.ts';
import { parseKeyUri } from '../../src/uri.ts';
import type { TestTpm } from './swtpm.ts';
import { flush } from './tpm-keys.ts';

export type KeyType = 'P-256' | 'RSA-2048';

/** What a key wants before it signs. */
export type Wants = 'no auth' | 'auth' | 'PCR policy';

/** A persistent storage key, at the handle where most machines have one. */
export const STORAGE = '0x81000001';

/** Of key, of what it wants and of what it lives below: with their file and with ours these are 24. */
export const COMBINATIONS: readonly (readonly [type: KeyType, wants: Wants, parent: 'owner' | typeof STORAGE])[] = (
  ['P-256', 'RSA-2048'] as const
).flatMap((type) =>
  (['no auth', 'auth', 'PCR policy'] as const).flatMap((wants) =>
    (['owner', STORAGE] as const).map((parent) => [type, wants, parent] as const),
  ),
);

/** PCRs that a PCR policy is about; 23 is for applications, and a test may change it. */
export const PCRS = 'sha256:0,23';

/** A key URI of a key file. */
export const uriOf = ({ query }: TestTpm, file: string, wants: Wants): string =>
  `tpm:file=${file}?${query}${wants === 'PCR policy' ? `&pcr=${PCRS}` : ''}`;

let count = 0;
const nextIn = (tpm: TestTpm, what: string): string => {
  count += 1;
  return join(tpm.dir, `${what}${count}`);
};

export interface OurKey {
  /** Its key file. */
  readonly file: string;
  readonly publicKey: KeyObject;
}

/** A key that holdfast makes. @param secret given to keys that want one */
export async function makeOurs(
  tpm: TestTpm,
  keyType: KeyType,
  wants: Wants,
  parent: string,
  secret: string,
): Promise<OurKey> {
  const file = nextIn(tpm, 'ours');
  const pcr = wants === 'PCR policy' ? `&pcr=${PCRS}` : '';
  const uri = parseKeyUri(`tpm:file=${file};parent=${parent}?${tpm.query}${pcr}`);
  const made = await create(uri, wants === 'auth' ? { keyType, secret } : { keyType });
  return {
    file,
    publicKey: createPublicKey({ key: Buffer.from(await readPublic(made)), format: 'der', type: 'spki' }),
  };
}

/** holdfast signs, and openssl verifies it. @param publicPem path of the public key as the other program gave it */
export async function holdfastSigns(tpm: TestTpm, uri: string, publicPem: string, secret?: string): Promise<void> {
  const message = nextIn(tpm, 'message');
  const signature = `${message}.sig`;
  const key = await openKey(uri, secret === undefined ? {} : { secret });
  try {
    const bytes = randomBytes(100);
    await writeFile(message, bytes);
    await writeFile(signature, await key.sign(bytes));
  } finally {
    await key.close();
  }
  expect(await tpm.tool('openssl', 'dgst', '-sha256', '-verify', publicPem, '-signature', signature, message)).toBe(
    'Verified OK\n',
  );
}

/**
 * The other program signs, and node:crypto verifies it.
 *
 * @param sign makes it sign the file `message`, and says what the signature is
 */
export async function otherSigns(
  tpm: TestTpm,
  publicKey: KeyObject,
  sign: (message: string, signature: string) => Promise<Uint8Array>,
): Promise<void> {
  const message = nextIn(tpm, 'message');
  const bytes = randomBytes(100);
  await writeFile(message, bytes);
  try {
    expect(verify('sha256', bytes, publicKey, await sign(message, `${message}.sig`))).toBe(true);
  } finally {
    await flush(tpm);
  }
}

/** What a program says that cannot do something. Throws when it can: what is known of it is not so any more. */
export async function gapOf(tpm: TestTpm, work: Promise<unknown>): Promise<string> {
  const said = await work.then(
    () => undefined,
    (error: { readonly stderr?: string; readonly message: string }) => error.stderr ?? error.message,
  );
  await flush(tpm);
  if (said === undefined) throw new Error('it works by now: take the gap out of the table');
  return said;
}

/** The public and the private part of a key file, as openssl reads it. @returns the paths of both */
export async function writeBlobs(tpm: TestTpm, file: string): Promise<readonly [area: string, secret: string]> {
  const read = await tpm.tool('openssl', 'asn1parse', '-in', file);
  const blobs = [...read.matchAll(/:d=1 .*OCTET STRING +\[HEX DUMP\]:(\w+)/g)].map(([, hex]) => hex);
  const paths = [`${file}.pub`, `${file}.priv`] as const;
  for (const [at, path] of paths.entries()) await writeFile(path, Buffer.from(blobs[at] as string, 'hex'));
  return paths;
}
