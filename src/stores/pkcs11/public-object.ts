import { createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto';
import type { Attribute } from 'pkcs11js';
import { CK, CURVES, ulongOf } from './cryptoki.ts';
import { readAttributes } from './objects.ts';
import type { Connection } from './token.ts';

/** What kind of key an object is, by its `CKA_KEY_TYPE`; undefined for those that we cannot use. */
export function keyTypeIn(attributes: ReadonlyMap<number, Buffer>): 'RSA' | 'EC' | undefined {
  const value = attributes.get(CK.CKA_KEY_TYPE);
  const type = value && Number(ulongOf(value));
  return type === CK.CKK_RSA ? 'RSA' : type === CK.CKK_EC ? 'EC' : undefined;
}

/** DER SubjectPublicKeyInfo from the attributes of a key object; undefined when it does not tell. */
export function readPublicKey(connection: Connection, object: Buffer, type: 'RSA' | 'EC'): Buffer | undefined {
  return type === 'RSA' ? readRsa(connection, object) : readEc(connection, object);
}

function readRsa(connection: Connection, object: Buffer): Buffer | undefined {
  const attributes = readAttributes(connection, object, [CK.CKA_MODULUS, CK.CKA_PUBLIC_EXPONENT]);
  const n = attributes.get(CK.CKA_MODULUS)?.toString('base64url');
  const e = attributes.get(CK.CKA_PUBLIC_EXPONENT)?.toString('base64url');
  return n && e ? checked({ kty: 'RSA', n, e })?.export({ type: 'spki', format: 'der' }) : undefined;
}

function readEc(connection: Connection, object: Buffer): Buffer | undefined {
  const attributes = readAttributes(connection, object, [CK.CKA_EC_PARAMS, CK.CKA_EC_POINT]);
  const params = attributes.get(CK.CKA_EC_PARAMS)?.toString('hex');
  const curve = CURVES.find(({ oid }) => oid === params);
  const value = attributes.get(CK.CKA_EC_POINT);
  if (!curve || !value) return undefined;
  // PKCS#11 v2.40 §2.3.3 wraps the point in an OCTET STRING; some modules leave that out. Either way it stands at the end.
  const point = value.subarray(-(1 + 2 * curve.size));
  if (point.length !== 1 + 2 * curve.size || point[0] !== 0x04) return undefined;
  const x = point.subarray(1, 1 + curve.size).toString('base64url');
  const y = point.subarray(1 + curve.size).toString('base64url');
  // RFC 5480 §2. Node would write it as well, for which a start would pay two thirds of a millisecond.
  const algorithm = tlv(0x30, EC_PUBLIC_KEY, Buffer.from(curve.oid, 'hex'));
  return checked({ kty: 'EC', crv: curve.name, x, y }) && tlv(0x30, algorithm, tlv(0x03, Buffer.of(0), point));
}

/** Node checks the numbers. */
function checked(key: JsonWebKey): KeyObject | undefined {
  try {
    return createPublicKey({ key, format: 'jwk' });
  } catch {
    return undefined;
  }
}

/** DER of the object identifier 1.2.840.10045.2.1. */
const EC_PUBLIC_KEY = Buffer.from('06072a8648ce3d0201', 'hex');

/** DER with this content, of fewer than 256 octets. */
function tlv(tag: number, ...content: readonly Uint8Array[]): Buffer {
  const length = content.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([Buffer.from(length < 0x80 ? [tag, length] : [tag, 0x81, length]), ...content]);
}

/** How key objects say the public half of a certificate, as templates to look for it; undefined for keys that we cannot use. */
export function publicValueOf(
  spki: Uint8Array | undefined,
): { readonly type: 'RSA' | 'EC'; readonly templates: readonly Attribute[][] } | undefined {
  const key = spki && keyOf(spki);
  if (key?.n) {
    const modulus = { type: CK.CKA_MODULUS, value: Buffer.from(key.n, 'base64url') };
    return { type: 'RSA', templates: [[{ type: CK.CKA_KEY_TYPE, value: CK.CKK_RSA }, modulus]] };
  }
  if (!key?.x || !key.y) return undefined;
  const point = Buffer.concat([Buffer.of(4), Buffer.from(key.x, 'base64url'), Buffer.from(key.y, 'base64url')]);
  // In an OCTET STRING, and without: see above.
  const wrapped = tlv(0x04, point);
  const type = { type: CK.CKA_KEY_TYPE, value: CK.CKK_EC };
  return { type: 'EC', templates: [wrapped, point].map((value) => [type, { type: CK.CKA_EC_POINT, value }]) };
}

function keyOf(spki: Uint8Array): JsonWebKey | undefined {
  try {
    return createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' }).export({ format: 'jwk' });
  } catch {
    return undefined;
  }
}
