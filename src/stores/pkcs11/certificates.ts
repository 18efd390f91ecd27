import { preference } from '../../chain.ts';
import { HoldfastError } from '../../errors.ts';
import { listing } from './address.ts';
import { CK } from './cryptoki.ts';
import { issuersOf } from './issuers.ts';
import {
  byName,
  FEW,
  findObjects,
  isGiven,
  leadingName,
  MOST,
  type ObjectName,
  readAttributes,
  SAME_NAME,
  sameBytes,
  several,
  uriName,
} from './objects.ts';
import { keyTypeIn, readPublicKey } from './public-object.ts';
import {
  findCertificateObjects,
  findCertificates,
  isAttestation,
  publicKeyOf,
  readCertificate,
  type StoredCertificate,
} from './stored-certificate.ts';
import { type Connection, uriOnToken } from './token.ts';

/** What must be known of a key to tell its certificates from others. */
interface CertifiedKey extends ObjectName {
  /** DER SubjectPublicKeyInfo, where it is known. */
  readonly publicKey: Uint8Array | undefined;
  /** Its leading name is also that of another key. */
  readonly sharesName: boolean;
}

/** The certificates under the identifier of a key, or under the label of one that has none: nearly always its own. */
export function underNameOf(connection: Connection, key: ObjectName): StoredCertificate[] {
  const name = leadingName(key);
  return name ? findCertificates(connection, byName(name)) : [];
}

/**
 * DER certificates of one key, then their issuers.
 *
 * @param underName those that `underNameOf` found
 */
export function besideKey(
  connection: Connection,
  key: CertifiedKey,
  underName: readonly StoredCertificate[],
  now: Date,
): Buffer[] {
  const own = ownOf(connection, key, underName).toSorted(byPreference(now));
  // What nobody can read comes last, for those who would otherwise wonder why there is none.
  const unreadable = underName.filter(({ certificate }) => !certificate);
  return [...own.map(({ der }) => der), ...issuersOf(connection, own), ...unreadable.map(({ der }) => der)];
}

/**
 * The public half decides where it is known; an identifier alone is not proof: tokens keep attestation certificates under
 * the identifier of the key that they speak of, and identifiers repeat.
 */
function ownOf(
  connection: Connection,
  key: CertifiedKey,
  underName: readonly StoredCertificate[],
): readonly StoredCertificate[] {
  const belongs = ({ certificate, ...one }: StoredCertificate): boolean =>
    certificate !== undefined &&
    !isAttestation({ certificate, ...one }) &&
    (key.publicKey
      ? sameBytes(certificate.publicKey, key.publicKey)
      : !key.sharesName || (isGiven(key.id) && sameBytes(one.label, key.label)));
  const own = underName.filter(belongs);
  if (own.length > 0 || !key.publicKey) return own;
  // With another identifier: under the label of the key, or under the name in the URI.
  const { id, object } = connection.address;
  const names = [
    ...(isGiven(key.id) && isGiven(key.label) ? [{ id: undefined, label: key.label }] : []),
    ...(sameBytes(id, key.id) || sameBytes(object, key.label) ? [] : [{ id, label: object }]),
  ];
  for (const name of names.filter((one) => isGiven(one.id) || isGiven(one.label))) {
    const found = findCertificates(connection, byName(name)).filter(belongs);
    if (found.length > 0) return found;
  }
  return [];
}

/** The house's order of certificates of one key; what nobody can read comes last. */
const byPreference =
  (now: Date) =>
  ({ certificate: a }: StoredCertificate, { certificate: b }: StoredCertificate): number =>
    a && b ? preference(a, b, now) : Number(b !== undefined) - Number(a !== undefined);

/**
 * The certificates that a URI selects, all of one key, and behind them their issuers.
 *
 * @returns empty when the URI selects none
 * @throws {HoldfastError} `ERR_CERTIFICATE_AMBIGUOUS`
 */
export function selectCertificates(connection: Connection, now: Date): Buffer[] {
  const keys = new Map<string, StoredCertificate[]>();
  for (const one of named(connection)) {
    const key = (publicKeyOf(one) ?? one.der).toString('base64');
    keys.set(key, [...(keys.get(key) ?? []), one]);
    if (keys.size === FEW) break;
  }
  const all = [...keys.values()];
  const usable = all
    .map((ones) => ones.filter((one) => one.certificate && !isAttestation(one)))
    .filter(({ length }) => length > 0);
  const [first = [], ...others] = usable.length > 0 ? usable : all;
  if (others.length > 0)
    throw ambiguous(
      connection,
      [first, ...others].flatMap((ones) => ones.slice(0, 1)),
    );
  const own = first.toSorted(byPreference(now));
  return [...own.map(({ der }) => der), ...issuersOf(connection, own)];
}

function ambiguous(connection: Connection, found: readonly StoredCertificate[]): HoldfastError {
  const { address, token } = connection;
  const uris = new Set(found.map((one) => uriOnToken(address, token, [...uriName(one), ['type', 'cert']])));
  return new HoldfastError('ERR_CERTIFICATE_AMBIGUOUS', `certificates of ${several(found)} keys fit ${address.text}`, {
    hint: uris.size > 1 ? listing('use one of these', [...uris]) : SAME_NAME,
  });
}

/** Those that carry the name in the URI, else those whose public key carries it. */
function* named(connection: Connection): Generator<StoredCertificate, void> {
  const { id, object } = connection.address;
  const objects = findCertificateObjects(connection, byName({ id, label: object }));
  // A URI that only names the token means its end-entity certificate, if there is just one.
  const isMeant = id || object ? () => true : isLeaf;
  for (const handle of objects) yield* readCertificate(connection, handle).filter(isMeant);
  if (objects.length === 0 && isGiven(object)) yield* throughPublicKey(connection);
  if (!id && !object && objects.length === MOST) throw tooMany(connection);
}

const isLeaf = (one: StoredCertificate): boolean => one.certificate?.isCa === false && !isAttestation(one);

const tooMany = ({ address }: Connection): HoldfastError =>
  new HoldfastError('ERR_CERTIFICATE_AMBIGUOUS', `${address.text} fits more than ${MOST} certificates`, {
    hint: 'name one by its id or object (holdfast list shows them)',
  });

/**
 * Where key and certificate have different labels: the label of the public key leads to the identifier of both. What it
 * says of itself leaves out certificates of another key with that identifier.
 */
function* throughPublicKey(connection: Connection): Generator<StoredCertificate, void> {
  const { id: wanted, object: label } = connection.address;
  const template = [{ type: CK.CKA_CLASS, value: CK.CKO_PUBLIC_KEY }, ...byName({ id: wanted, label })];
  for (const handle of findObjects(connection, template, FEW)) {
    const attributes = readAttributes(connection, handle, [CK.CKA_KEY_TYPE, CK.CKA_ID]);
    const type = keyTypeIn(attributes);
    const publicKey = type && readPublicKey(connection, handle, type);
    for (const one of underNameOf(connection, { id: attributes.get(CK.CKA_ID), label: undefined })) {
      if (!publicKey || sameBytes(publicKeyOf(one), publicKey)) yield one;
    }
  }
}
