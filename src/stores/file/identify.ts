import { children, read } from '../../der.ts';
import { HoldfastError } from '../../errors.ts';
import { ML_DSA_KEYS, OTHER_KEYS, oidOf, SIGNING_KEYS } from './algorithms.ts';

/** What the DER of a private key is called by `createPrivateKey`, or `encrypted` (RFC 5958 §3). */
export type KeyForm = 'pkcs1' | 'sec1' | 'pkcs8' | 'encrypted';

export const isKeyLabel = (label: string): boolean => /(^| )PRIVATE KEY$/.test(label);

/** Labels of keys that are read. Others are looked at more closely: most of them are not. */
export const isUsualLabel = (label: string): boolean => /^((RSA|EC|ENCRYPTED) )?PRIVATE KEY$/.test(label);

/** By the tags of what is inside the outer SEQUENCE, in hex: the structure tells what a DER file is. */
const KEY_SHAPES: readonly (readonly [RegExp, KeyForm])[] = [
  [/^02 30 04( a0)?( 81| a1)?$/, 'pkcs8'],
  [/^02 04( a0)?( a1)?$/, 'sec1'],
  [/^(02 ){8}02( 30)?$/, 'pkcs1'],
  [/^30 04$/, 'encrypted'],
];

/** Which form of private key this DER is; undefined when it is none. */
export function keyFormOf(der: Uint8Array): KeyForm | undefined {
  const shape = shapeOf(der);
  return KEY_SHAPES.find(([pattern]) => pattern.test(shape))?.[1];
}

/**
 * Is this a `PFX` (RFC 7292 §4): a SEQUENCE of the number 3 and another SEQUENCE? Its length may be missing, for BER.
 * Whether it is whole is not looked at.
 */
export function isPkcs12(data: Uint8Array): boolean {
  const [tag, length = 0] = data;
  const header = 2 + (length > 0x80 ? length & 0x7f : 0);
  return tag === 0x30 && Buffer.from(data.subarray(header, header + 4)).toString('hex') === '02010330';
}

/**
 * Refuse a PKCS#8 key of an algorithm that signs nothing here.
 *
 * @returns the parameter set when it is an ML-DSA key, which not every Node can use
 * @throws {HoldfastError} `ERR_KEY_UNSUPPORTED`
 */
export function checkPkcs8Algorithm(der: Uint8Array, name: string): string | undefined {
  const algorithm = [...children(read(der)?.value ?? der)][1];
  const oid = oidOf(read(algorithm?.value ?? der)?.value ?? der);
  const mlDsa = ML_DSA_KEYS.get(oid);
  if (mlDsa || SIGNING_KEYS.has(oid)) return mlDsa;
  throw unsupportedKey(OTHER_KEYS.get(oid) ?? 'a key of an algorithm that holdfast does not know', name);
}

export const unsupportedKey = (what: string, name: string, cause?: unknown): HoldfastError =>
  new HoldfastError('ERR_KEY_UNSUPPORTED', `the ${name} holds ${what}`, {
    hint: 'use an RSA, ECDSA or ML-DSA key',
    cause,
  });

/** The tags of what is inside, in hex. */
export const tagsOf = (content: Uint8Array): string =>
  [...children(content)].map(({ tag }) => tag.toString(16).padStart(2, '0')).join(' ');

/** The structure of a SEQUENCE; empty for what is none. */
export function shapeOf(der: Uint8Array): string {
  const outer = read(der);
  return outer?.tag === 0x30 ? tagsOf(outer.value) : '';
}
