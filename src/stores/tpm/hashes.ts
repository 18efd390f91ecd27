import { createHash, createHmac } from 'node:crypto';
import { u32 } from './bytes.ts';
import { ALG } from './constants.ts';

/** A hash of a TPM: its name in node:crypto, and octets of a digest. */
export interface Hash {
  readonly node: string;
  readonly size: number;
}

const HASHES: ReadonlyMap<number, Hash> = new Map([
  [ALG.SHA1, { node: 'sha1', size: 20 }],
  [ALG.SHA256, { node: 'sha256', size: 32 }],
  [ALG.SHA384, { node: 'sha384', size: 48 }],
  [ALG.SHA512, { node: 'sha512', size: 64 }],
]);

/** Undefined for a hash that is not known here (SM3, SHA-3). */
export const hashOf = (algorithm: number): Hash | undefined => HASHES.get(algorithm);

export function digest(hash: Hash, ...parts: readonly Uint8Array[]): Buffer {
  const hashing = createHash(hash.node);
  for (const part of parts) hashing.update(part);
  return hashing.digest();
}

export function hmac(hash: Hash, key: Uint8Array, ...parts: readonly Uint8Array[]): Buffer {
  const hashing = createHmac(hash.node, key);
  for (const part of parts) hashing.update(part);
  return hashing.digest();
}

/** A label with the zero that ends it (TPM 2.0 Part 1 §11.4.10.2). */
const labelled = (label: string): Buffer => Buffer.from(`${label}\0`, 'latin1');

/**
 * KDFa: NIST SP 800-108 in counter mode with HMAC (TPM 2.0 Part 1 §11.4.10.2).
 *
 * @param bits a multiple of 8
 */
export function kdfa(
  hash: Hash,
  key: Uint8Array,
  label: string,
  contextU: Uint8Array,
  contextV: Uint8Array,
  bits: number,
): Buffer {
  const blocks: Buffer[] = [];
  for (let i = 1; (i - 1) * hash.size * 8 < bits; i += 1) {
    blocks.push(hmac(hash, key, u32(i), labelled(label), contextU, contextV, u32(bits)));
  }
  return cut(blocks, bits);
}

/**
 * KDFe: the concatenation KDF of NIST SP 800-56A (TPM 2.0 Part 1 §11.4.10.3).
 *
 * @param z the x-coordinate that both sides share
 * @param bits a multiple of 8
 */
export function kdfe(
  hash: Hash,
  z: Uint8Array,
  label: string,
  partyU: Uint8Array,
  partyV: Uint8Array,
  bits: number,
): Buffer {
  const blocks: Buffer[] = [];
  for (let i = 1; (i - 1) * hash.size * 8 < bits; i += 1) {
    blocks.push(digest(hash, u32(i), z, labelled(label), partyU, partyV));
  }
  return cut(blocks, bits);
}

function cut(blocks: readonly Buffer[], bits: number): Buffer {
  const key = Buffer.concat(blocks, bits / 8);
  for (const block of blocks) block.fill(0);
  return key;
}
