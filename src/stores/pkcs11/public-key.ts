import { publicKeyOf, type StoredCertificate, sameBytes } from './certificates.ts';
import { CK } from './cryptoki.ts';
import type { PrivateKey } from './keys.ts';
import { byName, findObjects, type ObjectName } from './objects.ts';
import { readPublicKey } from './public-object.ts';
import type { Connection } from './token.ts';

/**
 * DER SubjectPublicKeyInfo of a private key: for RSA from what the private object itself shows, else from its public
 * object, else from its certificate. Undefined where the token keeps none, or two that contradict each other.
 */
export function findPublicKey(
  connection: Connection,
  key: PrivateKey,
  certificates: readonly StoredCertificate[],
): Buffer | undefined {
  // The private object of an RSA key shows its modulus nearly everywhere, and cannot be somebody else's.
  const fromPrivate = key.type === 'RSA' ? readPublicKey(connection, key.handle, 'RSA') : undefined;
  if (fromPrivate) return fromPrivate;
  const names = namesOf(key);
  const fromObject = firstOf(names, (name) =>
    onlyOne(
      findObjects(connection, [
        { type: CK.CKA_CLASS, value: CK.CKO_PUBLIC_KEY },
        { type: CK.CKA_KEY_TYPE, value: key.type === 'RSA' ? CK.CKK_RSA : CK.CKK_EC },
        ...byName(name),
      ]).map((object) => readPublicKey(connection, object, key.type)),
    ),
  );
  return fromObject ?? firstOf(names, (name) => onlyOne(certificates.filter(carries(name)).map(publicKeyOf)));
}

/** By which names the other halves of a key are found: identifiers repeat in practice, and labels often differ. */
function namesOf({ id, label, sharesId }: PrivateKey): ObjectName[] {
  if (!id || id.length === 0) return [];
  return [...(label && label.length > 0 ? [{ id, label }] : []), ...(sharesId ? [] : [{ id, label: undefined }])];
}

const carries =
  (name: ObjectName) =>
  ({ id, label }: ObjectName): boolean =>
    sameBytes(id, name.id) && (name.label === undefined || sameBytes(label, name.label));

function firstOf<T>(names: readonly ObjectName[], look: (name: ObjectName) => T | undefined): T | undefined {
  for (const name of names) {
    const found = look(name);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** What contradicts itself is no answer. */
function onlyOne(found: readonly (Buffer | undefined)[]): Buffer | undefined {
  const [first, ...others] = found.filter((one) => one !== undefined);
  return first && others.every((other) => other.equals(first)) ? first : undefined;
}
