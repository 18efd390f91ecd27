import { createPublicKey, type JsonWebKey } from 'node:crypto';
import { publicKeyOf, type StoredCertificate } from './certificates.ts';
import { CK, CURVES } from './cryptoki.ts';
import type { PrivateKey } from './keys.ts';
import { byName, findObjects, readAttribute } from './objects.ts';
import type { Connection } from './token.ts';

/**
 * DER SubjectPublicKeyInfo of a private key: from its public object, else from its certificate, else, for RSA, from
 * what the private object itself shows. Undefined where the token keeps none, or two that contradict each other.
 */
export function findPublicKey(
  connection: Connection,
  key: PrivateKey,
  certificates: readonly StoredCertificate[],
): Buffer | undefined {
  const read = (object: Buffer): Buffer | undefined =>
    key.type === 'RSA' ? readRsa(connection, object) : readEc(connection, object);
  // The private object of an RSA key shows its modulus nearly everywhere, and cannot be somebody else's.
  const fromPrivate = key.type === 'RSA' ? read(key.handle) : undefined;
  if (fromPrivate || !key.id || key.id.length === 0) return fromPrivate;
  const { id } = key;
  const template = [
    { type: CK.CKA_CLASS, value: CK.CKO_PUBLIC_KEY },
    { type: CK.CKA_KEY_TYPE, value: key.type === 'RSA' ? CK.CKK_RSA : CK.CKK_EC },
    ...byName({ id, label: undefined }),
  ];
  return (
    onlyOne(findObjects(connection, template).map(read)) ??
    onlyOne(certificates.filter((one) => one.id?.equals(id)).map(publicKeyOf))
  );
}

/** Identifiers repeat in practice: what contradicts itself is no answer. */
function onlyOne(found: readonly (Buffer | undefined)[]): Buffer | undefined {
  const [first, ...others] = found.filter((one) => one !== undefined);
  return first && others.every((other) => other.equals(first)) ? first : undefined;
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
