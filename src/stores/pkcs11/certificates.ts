import { type Certificate, parseCertificate } from '../../certificate.ts';
import { preference } from '../../chain.ts';
import { HoldfastError } from '../../errors.ts';
import { type Address, listing } from './address.ts';
import { CK } from './cryptoki.ts';
import { byName, findObjects, type ObjectName, readAttribute, readName, uriName } from './objects.ts';
import { keyTypeOf, readPublicKey } from './public-object.ts';
import { type Connection, uriOnToken } from './token.ts';

/** An X.509 certificate on the token. */
export interface StoredCertificate extends ObjectName {
  readonly der: Buffer;
  /** Undefined when Node cannot read it: that harms nobody else. */
  readonly certificate: Certificate | undefined;
}

/** All of them. Certificates are public objects: no login is needed for nearly every token. */
export function certificatesOn(connection: Connection): StoredCertificate[] {
  const template = [
    { type: CK.CKA_CLASS, value: CK.CKO_CERTIFICATE },
    { type: CK.CKA_CERTIFICATE_TYPE, value: CK.CKC_X_509 },
  ];
  return findObjects(connection, template).flatMap((object) => {
    const der = readAttribute(connection, object, CK.CKA_VALUE);
    return der && der.length > 0 ? [{ ...readName(connection, object), der, certificate: parse(der) }] : [];
  });
}

function parse(der: Buffer): Certificate | undefined {
  try {
    return parseCertificate(der);
  } catch {
    return undefined;
  }
}

/** DER SubjectPublicKeyInfo of a certificate. */
export const publicKeyOf = ({ certificate }: StoredCertificate): Buffer | undefined =>
  certificate && Buffer.from(certificate.publicKey);

export const sameBytes = (a: Uint8Array | undefined, b: Uint8Array | undefined): boolean =>
  a !== undefined && b !== undefined && Buffer.compare(a, b) === 0;

/** What must be known of a key to tell its certificates from others. */
interface CertifiedKey extends ObjectName {
  /** DER SubjectPublicKeyInfo, where it is known. */
  readonly publicKey: Uint8Array | undefined;
  /** Its identifier is also that of another key. */
  readonly sharesId: boolean;
}

/**
 * DER certificates of one key, then the rest of the token as material for the chain. The public half decides where it
 * is known; an identifier alone is not proof: tokens keep attestation certificates under the identifier of the key that
 * they speak of, and identifiers repeat.
 */
export function besideKey(all: readonly StoredCertificate[], key: CertifiedKey, now: Date): Buffer[] {
  const named = all.filter((one) => one.id && one.id.length > 0 && sameBytes(one.id, key.id));
  const own = key.publicKey
    ? all.filter((one) => sameBytes(publicKeyOf(one), key.publicKey))
    : named.filter((one) => !key.sharesId || sameBytes(one.label, key.label));
  // Where nothing tells whose they are, those of the other key must not be taken for this one's.
  const foreign = key.publicKey || !key.sharesId ? [] : named.filter((one) => !own.includes(one));
  return leavesFirst(
    own,
    all.filter((one) => !foreign.includes(one)),
    now,
  );
}

function leavesFirst(own: readonly StoredCertificate[], all: readonly StoredCertificate[], now: Date): Buffer[] {
  const others = all.filter((one) => !own.includes(one));
  return [...own.toSorted(byPreference(now)), ...others].map(({ der }) => der);
}

/** The house's order of certificates of one key; what nobody can read comes last. */
const byPreference =
  (now: Date) =>
  ({ certificate: a }: StoredCertificate, { certificate: b }: StoredCertificate): number =>
    a && b ? preference(a, b, now) : Number(b !== undefined) - Number(a !== undefined);

/** The certificates that carry the name in the URI. */
export function namedCertificates(all: readonly StoredCertificate[], { id, object }: Address): StoredCertificate[] {
  return all.filter((one) => (!id || sameBytes(one.id, id)) && (!object || sameBytes(one.label, object)));
}

/**
 * The certificates that a URI selects, all of one key, and behind them the rest of the token.
 *
 * @returns empty when the URI selects none
 * @throws {HoldfastError} `ERR_CERTIFICATE_AMBIGUOUS`
 */
export function selectCertificates(connection: Connection, now: Date): Buffer[] {
  const { address, token } = connection;
  const all = certificatesOn(connection);
  const named = namedCertificates(all, address);
  const found = named.length > 0 ? named : throughPublicKey(connection, all);
  // A URI that only names the token means its end-entity certificate, if there is just one.
  const leaves = address.id || address.object ? found : found.filter(({ certificate }) => certificate?.isCa === false);
  const keys = new Map(leaves.map((one) => [(publicKeyOf(one) ?? one.der).toString('hex'), one]));
  if (keys.size > 1) {
    const uris = [...keys.values()].map((one) => uriOnToken(address, token, [...uriName(one), ['type', 'cert']]));
    throw new HoldfastError('ERR_CERTIFICATE_AMBIGUOUS', `certificates of ${keys.size} keys fit ${address.text}`, {
      hint: listing('use one of these', uris),
    });
  }
  return leaves.length === 0 ? [] : leavesFirst(leaves, all, now);
}

/**
 * Where key and certificate have different labels: the label of the public key leads to the identifier of both. What it
 * says of itself leaves out certificates of another key with that identifier.
 */
function throughPublicKey(connection: Connection, all: readonly StoredCertificate[]): StoredCertificate[] {
  const { id, object } = connection.address;
  if (!object) return [];
  const template = [{ type: CK.CKA_CLASS, value: CK.CKO_PUBLIC_KEY }, ...byName({ id, label: object })];
  const keys = findObjects(connection, template).map((key) => {
    const type = keyTypeOf(connection, key);
    return { id: readAttribute(connection, key, CK.CKA_ID), value: type && readPublicKey(connection, key, type) };
  });
  return all.filter((one) =>
    keys.some(
      (key) =>
        one.id &&
        one.id.length > 0 &&
        sameBytes(key.id, one.id) &&
        (!key.value || sameBytes(publicKeyOf(one), key.value)),
    ),
  );
}
