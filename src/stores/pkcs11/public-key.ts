import { CK } from './cryptoki.ts';
import type { PrivateKey } from './keys.ts';
import { byName, FEW, findObjects, isGiven, leadingName, type ObjectName, sameBytes } from './objects.ts';
import { readPublicKey } from './public-object.ts';
import { publicKeyOf, type StoredCertificate } from './stored-certificate.ts';
import type { Connection } from './token.ts';

/**
 * DER SubjectPublicKeyInfo of a private key: for RSA from what the private object itself shows, else from its public
 * object, else from its certificate. Undefined where the token keeps none, or two that contradict each other.
 *
 * @param underName the certificates under the leading name of the key
 */
export function findPublicKey(
  connection: Connection,
  key: PrivateKey,
  underName: readonly StoredCertificate[],
): Buffer | undefined {
  // The private object of an RSA key shows its modulus nearly everywhere, and cannot be somebody else's.
  const fromPrivate = key.type === 'RSA' ? readPublicKey(connection, key.handle, 'RSA') : undefined;
  if (fromPrivate) return fromPrivate;
  const names = namesOf(key);
  const fromObject = firstOf(names, (name) =>
    onlyOne(
      findObjects(
        connection,
        [
          { type: CK.CKA_CLASS, value: CK.CKO_PUBLIC_KEY },
          { type: CK.CKA_KEY_TYPE, value: key.type === 'RSA' ? CK.CKK_RSA : CK.CKK_EC },
          ...byName(name),
        ],
        FEW,
      ).map((object) => readPublicKey(connection, object, key.type)),
    ),
  );
  return fromObject ?? firstOf(names, (name) => onlyOne(underName.filter(carries(name)).map(publicKeyOf)));
}

/** By which names the other halves of a key are found: identifiers repeat in practice, and labels often differ. */
function namesOf(key: PrivateKey): ObjectName[] {
  const { id, label, sharesName } = key;
  const leading = sharesName ? undefined : leadingName(key);
  return [...(isGiven(id) && isGiven(label) ? [{ id, label }] : []), ...(leading ? [leading] : [])];
}

const carries =
  (name: ObjectName) =>
  ({ id, label }: ObjectName): boolean =>
    (name.id === undefined || sameBytes(id, name.id)) && (name.label === undefined || sameBytes(label, name.label));

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
