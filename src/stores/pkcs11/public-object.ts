import { createPublicKey, type JsonWebKey } from 'node:crypto';
import { CK, CURVES, ulongOf } from './cryptoki.ts';
import { readAttribute } from './objects.ts';
import type { Connection } from './token.ts';

/** What kind of key an object is; undefined for those that we cannot use. */
export function keyTypeOf(connection: Connection, object: Buffer): 'RSA' | 'EC' | undefined {
  const value = readAttribute(connection, object, CK.CKA_KEY_TYPE);
  const type = value && Number(ulongOf(value));
  return type === CK.CKK_RSA ? 'RSA' : type === CK.CKK_EC ? 'EC' : undefined;
}

/** DER SubjectPublicKeyInfo from the attributes of a key object; undefined when it does not tell. */
export function readPublicKey(connection: Connection, object: Buffer, type: 'RSA' | 'EC'): Buffer | undefined {
  return type === 'RSA' ? readRsa(connection, object) : readEc(connection, object);
}

function readRsa(connection: Connection, object: Buffer): Buffer | undefined {
  const n = readAttribute(connection, object, CK.CKA_MODULUS)?.toString('base64url');
  const e = readAttribute(connection, object, CK.CKA_PUBLIC_EXPONENT)?.toString('base64url');
  return n && e ? spkiOf({ kty: 'RSA', n, e }) : undefined;
}

function readEc(connection: Connection, object: Buffer): Buffer | undefined {
  const params = readAttribute(connection, object, CK.CKA_EC_PARAMS)?.toString('hex');
  const curve = CURVES.find(({ oid }) => oid === params);
  const value = readAttribute(connection, object, CK.CKA_EC_POINT);
  if (!curve || !value) return undefined;
  // PKCS#11 v2.40 §2.3.3 wraps the point in an OCTET STRING; some modules leave that out. Either way it stands at the end.
  const point = value.subarray(-(1 + 2 * curve.size));
  if (point.length !== 1 + 2 * curve.size || point[0] !== 0x04) return undefined;
  const x = point.subarray(1, 1 + curve.size).toString('base64url');
  const y = point.subarray(1 + curve.size).toString('base64url');
  return spkiOf({ kty: 'EC', crv: curve.name, x, y });
}

/** Node checks the numbers and writes the DER. */
function spkiOf(key: JsonWebKey): Buffer | undefined {
  try {
    return createPublicKey({ key, format: 'jwk' }).export({ type: 'spki', format: 'der' });
  } catch {
    return undefined;
  }
}
