import { createPublicKey, type KeyObject } from 'node:crypto';
import { HoldfastError } from '../../errors.ts';
import { damaged, padded, type Reader, readerOf, u16 } from './bytes.ts';
import { ALG, CURVES, type Curve, OBJECT } from './constants.ts';
import { digest, hashOf } from './hashes.ts';

/** `TPMT_SYM_DEF_OBJECT` of a storage key (TPM 2.0 Part 2 §11.1.7). */
interface Symmetric {
  readonly algorithm: number;
  readonly keyBits: number;
  readonly mode: number;
}

/** What a key signs with, if that is fixed in it (Part 2 §11.2.3.5, §11.2.4.2). */
export interface Scheme {
  readonly algorithm: number;
  /** Undefined for schemes without one. */
  readonly hash: number | undefined;
}

interface AnyPublic {
  /** `TPMT_PUBLIC`, whole. */
  readonly bytes: Buffer;
  readonly nameAlg: number;
  readonly attributes: number;
  readonly authPolicy: Buffer;
  /** Undefined unless the object holds other objects. */
  readonly symmetric: Symmetric | undefined;
  readonly scheme: Scheme | undefined;
}

export interface RsaPublic extends AnyPublic {
  readonly type: 'RSA';
  readonly bits: number;
  readonly exponent: number;
  readonly modulus: Buffer;
}

export interface EccPublic extends AnyPublic {
  readonly type: 'ECC';
  readonly curve: Curve;
  readonly x: Buffer;
  readonly y: Buffer;
}

/** The public area of an asymmetric key. */
export type PublicArea = RsaPublic | EccPublic;

/** Used when the exponent is written as 0 (Part 2 §12.2.3.5). */
const USUAL_EXPONENT = 65537;

/**
 * Read a `TPMT_PUBLIC` (Part 2 §12.2.4).
 *
 * @throws {HoldfastError} `ERR_KEY_UNSUPPORTED` for what is no RSA or EC key; `ERR_TOKEN_FAILED` for what is damaged
 */
export function readPublicArea(bytes: Buffer): PublicArea {
  const reader = readerOf(bytes);
  const type = reader.u16();
  const nameAlg = reader.u16();
  const attributes = reader.u32();
  const authPolicy = reader.sized();
  if (type !== ALG.RSA && type !== ALG.ECC) throw notAsymmetric(type);
  const common = { bytes, nameAlg, attributes, authPolicy, symmetric: symmetricOf(reader), scheme: schemeOf(reader) };
  if (type === ALG.RSA) {
    const [bits, exponent] = [reader.u16(), reader.u32() || USUAL_EXPONENT];
    const area: RsaPublic = { ...common, type: 'RSA', bits, exponent, modulus: reader.sized() };
    reader.end();
    return area;
  }
  const id = reader.u16();
  const curve = CURVES.find((one) => one.id === id);
  if (!curve) {
    throw new HoldfastError(
      'ERR_KEY_UNSUPPORTED',
      `the key is on a curve that holdfast does not know (0x${id.toString(16)})`,
      {
        hint: `use ${CURVES.map(({ name }) => name).join(', ')}`,
      },
    );
  }
  if (reader.u16() !== ALG.NULL) reader.u16(); // the KDF, which nothing uses yet (Part 2 §12.2.3.6)
  const area: EccPublic = { ...common, type: 'ECC', curve, x: reader.sized(), y: reader.sized() };
  reader.end();
  return area;
}

function symmetricOf(reader: Reader): Symmetric | undefined {
  const algorithm = reader.u16();
  return algorithm === ALG.NULL ? undefined : { algorithm, keyBits: reader.u16(), mode: reader.u16() };
}

/** RSAES has no hash; ECDAA a counter besides. */
function schemeOf(reader: Reader): Scheme | undefined {
  const algorithm = reader.u16();
  if (algorithm === ALG.NULL) return undefined;
  if (algorithm === ALG.RSAES) return { algorithm, hash: undefined };
  const hash = reader.u16();
  if (algorithm === ALG.ECDAA) reader.u16();
  return { algorithm, hash };
}

const OTHER_TYPES: ReadonlyMap<number, string> = new Map([
  [ALG.KEYEDHASH, 'sealed data or an HMAC key'],
  [ALG.SYMCIPHER, 'a symmetric key'],
]);

const notAsymmetric = (type: number): HoldfastError =>
  new HoldfastError(
    'ERR_KEY_UNSUPPORTED',
    `the TPM object is ${OTHER_TYPES.get(type) ?? `of a type that holdfast does not know (0x${type.toString(16)})`}`,
    { hint: 'name an RSA or EC key' },
  );

/** Name: the algorithm and the hash of the public area (Part 1 §16). What an object is, in one value. */
export function nameOfArea({ nameAlg, bytes }: PublicArea): Buffer {
  const hash = hashOf(nameAlg);
  if (!hash) {
    throw new HoldfastError(
      'ERR_KEY_UNSUPPORTED',
      `the key is named with a hash that holdfast does not know (0x${nameAlg.toString(16)})`,
      {
        hint: 'make the key with SHA-256 as its name algorithm',
      },
    );
  }
  return Buffer.concat([u16(nameAlg), digest(hash, bytes)]);
}

/** Octets of an ECC coordinate as the key's curve has them. */
export const coordinates = ({ x, y, curve }: EccPublic): { readonly x: Buffer; readonly y: Buffer } => ({
  x: padded(x, curve.size),
  y: padded(y, curve.size),
});

/** The public key, for node:crypto. @throws {HoldfastError} `ERR_TOKEN_FAILED` when it is none */
export function keyObjectOf(area: PublicArea): KeyObject {
  try {
    if (area.type === 'RSA') {
      const exponent = Buffer.from(area.exponent.toString(16).padStart(8, '0'), 'hex');
      const key = { kty: 'RSA', n: area.modulus.toString('base64url'), e: exponent.toString('base64url') };
      return createPublicKey({ format: 'jwk', key });
    }
    const { x, y } = coordinates(area);
    const key = { kty: 'EC', crv: area.curve.name, x: x.toString('base64url'), y: y.toString('base64url') };
    return createPublicKey({ format: 'jwk', key });
  } catch (cause) {
    throw damaged('the public key in it is none', cause);
  }
}

export const has = ({ attributes }: PublicArea, attribute: keyof typeof OBJECT): boolean =>
  (attributes & OBJECT[attribute]) !== 0;

/** A key that others may be made and loaded below (Part 1 §23.3). */
export const isStorage = (area: PublicArea): boolean =>
  has(area, 'restricted') && has(area, 'decrypt') && !has(area, 'sign');
