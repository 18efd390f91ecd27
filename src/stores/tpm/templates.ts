import { sized, u16, u32 } from './bytes.ts';
import { ALG, CURVES, type Curve, OBJECT } from './constants.ts';
import { has, type PublicArea, readPublicArea } from './public-area.ts';

/** What TPM2_CreatePrimary and TPM2_Create are asked for: a `TPMT_PUBLIC` with an empty `unique`. */
export interface Template {
  /** For a person. */
  readonly name: string;
  readonly bytes: Buffer;
}

const P256 = CURVES[0] as Curve;

const STORAGE: number =
  OBJECT.fixedTPM |
  OBJECT.fixedParent |
  OBJECT.sensitiveDataOrigin |
  OBJECT.userWithAuth |
  OBJECT.restricted |
  OBJECT.decrypt;

const AES_128_CFB: Buffer = Buffer.concat([u16(ALG.AES), u16(128), u16(ALG.CFB)]);

const head = (type: number, attributes: number, authPolicy?: Uint8Array): Buffer =>
  Buffer.concat([u16(type), u16(ALG.SHA256), u32(attributes), sized(authPolicy)]);

/** Scheme, curve, key derivation function, unique. */
const eccTail = (curve: Curve): Buffer =>
  Buffer.concat([u16(ALG.NULL), u16(curve.id), u16(ALG.NULL), sized(), sized()]);

/** Scheme, bits, the usual exponent, unique. */
const rsaTail = (bits: number): Buffer => Buffer.concat([u16(ALG.NULL), u16(bits), u32(0), sized()]);

const eccStorage = (attributes: number): Buffer =>
  Buffer.concat([head(ALG.ECC, attributes), AES_128_CFB, eccTail(P256)]);
const rsaStorage = (attributes: number): Buffer =>
  Buffer.concat([head(ALG.RSA, attributes), AES_128_CFB, rsaTail(2048)]);

/** The storage keys that key files live below when they name a hierarchy: H-2 (P-256) and H-1 (RSA-2048) of the TCG. */
export const ECC_STORAGE: Template = { name: 'P-256', bytes: eccStorage(STORAGE | OBJECT.noDA) };
export const RSA_STORAGE: Template = { name: 'RSA-2048', bytes: rsaStorage(STORAGE | OBJECT.noDA) };

/** In the order in which they are tried. Some programs leave noDA away: what they make is another key. */
export const STORAGE_TEMPLATES: readonly Template[] = [
  ECC_STORAGE,
  { name: 'P-256 without noDA', bytes: eccStorage(STORAGE) },
  RSA_STORAGE,
  { name: 'RSA-2048 without noDA', bytes: rsaStorage(STORAGE) },
];

/** A key that signs whatever digest it is given. */
export function signingTemplate(
  kind: { readonly curve: Curve } | { readonly bits: number },
  attributes: number,
  authPolicy: Uint8Array,
): Template {
  const noSymmetric = u16(ALG.NULL);
  return 'curve' in kind
    ? {
        name: kind.curve.name,
        bytes: Buffer.concat([head(ALG.ECC, attributes, authPolicy), noSymmetric, eccTail(kind.curve)]),
      }
    : {
        name: `RSA-${kind.bits}`,
        bytes: Buffer.concat([head(ALG.RSA, attributes, authPolicy), noSymmetric, rsaTail(kind.bits)]),
      };
}

/** The TPM counts wrong authValues of such a key, and refuses even the right one in lockout. */
export const isCounted = ({ bytes }: Template): boolean => !has(readPublicArea(bytes), 'noDA');

/** Whether a key is what a template asks for: everything but `unique` is the same. */
export function fits(area: PublicArea, { bytes }: Template): boolean {
  const wanted = readPublicArea(bytes);
  return uniqueOf(area) !== undefined && withoutUnique(area).equals(withoutUnique(wanted));
}

const withoutUnique = (area: PublicArea): Buffer => {
  const unique = area.type === 'RSA' ? 2 + area.modulus.length : 4 + area.x.length + area.y.length;
  return area.bytes.subarray(0, area.bytes.length - unique);
};

/** Undefined when it is not as long as the rest says. */
const uniqueOf = (area: PublicArea): Buffer | undefined => {
  if (area.type === 'RSA') return area.modulus.length * 8 === area.bits ? area.modulus : undefined;
  return area.x.length > 0 && area.y.length > 0 ? area.x : undefined;
};
