import { X509Certificate } from 'node:crypto';
import { HoldfastError } from '../../errors.ts';
import { type Address, listing } from './address.ts';
import { CK } from './cryptoki.ts';
import { byName, findObjects, type ObjectName, readAttribute, readName, uriName } from './objects.ts';
import { type Connection, uriOnToken } from './token.ts';

/** An X.509 certificate on the token. */
export interface StoredCertificate extends ObjectName {
  readonly der: Buffer;
  /** Undefined when Node cannot read it: that harms nobody else. */
  readonly x509: X509Certificate | undefined;
}

/** All of them. Certificates are public objects: no login is needed for nearly every token. */
export function certificatesOn(connection: Connection): StoredCertificate[] {
  const template = [
    { type: CK.CKA_CLASS, value: CK.CKO_CERTIFICATE },
    { type: CK.CKA_CERTIFICATE_TYPE, value: CK.CKC_X_509 },
  ];
  return findObjects(connection, template).flatMap((object) => {
    const der = readAttribute(connection, object, CK.CKA_VALUE);
    return der && der.length > 0 ? [{ ...readName(connection, object), der, x509: parse(der) }] : [];
  });
}

function parse(der: Buffer): X509Certificate | undefined {
  try {
    return new X509Certificate(der);
  } catch {
    return undefined;
  }
}

/** DER SubjectPublicKeyInfo of a certificate. */
export function publicKeyOf({ x509 }: StoredCertificate): Buffer | undefined {
  try {
    return x509?.publicKey.export({ type: 'spki', format: 'der' });
  } catch {
    return undefined;
  }
}

const same = (a: Uint8Array | undefined, b: Uint8Array | undefined): boolean =>
  a !== undefined && b !== undefined && Buffer.compare(a, b) === 0;

/**
 * The certificates of one key. The public half decides where it is known; an identifier alone is not proof: tokens keep
 * attestation certificates under the identifier of the key that they speak of.
 */
export function ownCertificates(
  all: readonly StoredCertificate[],
  key: ObjectName,
  publicKey: Uint8Array | undefined,
): StoredCertificate[] {
  const own = publicKey
    ? all.filter((one) => same(publicKeyOf(one), publicKey))
    : all.filter((one) => one.id && one.id.length > 0 && same(one.id, key.id));
  return own.sort(preference);
}

/** Among certificates of one key: valid now, then the latest to expire, then the lowest serial. */
function preference(a: StoredCertificate, b: StoredCertificate): number {
  const now = Date.now();
  const expiry = ({ x509 }: StoredCertificate): number => Date.parse(x509?.validTo ?? '') || 0;
  const valid = (one: StoredCertificate): number =>
    Number(expiry(one) >= now && Date.parse(one.x509?.validFrom ?? '') <= now);
  const serial = ({ x509 }: StoredCertificate): string => (x509?.serialNumber ?? '').padStart(40, '0');
  return valid(b) - valid(a) || expiry(b) - expiry(a) || (serial(a) < serial(b) ? -1 : 1);
}

/** A key's own certificates, then the rest of the token as material for the chain. */
export function ownFirst(own: readonly StoredCertificate[], all: readonly StoredCertificate[]): Buffer[] {
  return [...own, ...all.filter((one) => !own.includes(one))].map(({ der }) => der);
}

/** The certificates that carry the name in the URI. */
export function namedCertificates(all: readonly StoredCertificate[], { id, object }: Address): StoredCertificate[] {
  return all.filter((one) => (!id || same(one.id, id)) && (!object || same(one.label, object)));
}

/**
 * The certificates that a URI selects, all of one key, and behind them the rest of the token.
 *
 * @returns empty when the URI selects none
 * @throws {HoldfastError} `ERR_CERTIFICATE_AMBIGUOUS`
 */
export function selectCertificates(connection: Connection): Buffer[] {
  const { address, token } = connection;
  const all = certificatesOn(connection);
  const named = namedCertificates(all, address);
  const found = named.length > 0 ? named : throughPublicKey(connection, all);
  // A URI that only names the token means its end-entity certificate, if there is just one.
  const leaves = address.id || address.object ? found : found.filter(({ x509 }) => x509?.ca === false);
  const keys = new Map(leaves.map((one) => [(publicKeyOf(one) ?? one.der).toString('hex'), one]));
  if (keys.size > 1) {
    const uris = [...keys.values()].map((one) => uriOnToken(address, token, [...uriName(one), ['type', 'cert']]));
    throw new HoldfastError('ERR_CERTIFICATE_AMBIGUOUS', `certificates of ${keys.size} keys fit ${address.text}`, {
      hint: listing('use one of these', uris),
    });
  }
  return leaves.length === 0 ? [] : ownFirst(leaves.sort(preference), all);
}

/** Where key and certificate have different labels: the label of the public key leads to the identifier of both. */
function throughPublicKey(connection: Connection, all: readonly StoredCertificate[]): StoredCertificate[] {
  const { id, object } = connection.address;
  if (!object) return [];
  const template = [{ type: CK.CKA_CLASS, value: CK.CKO_PUBLIC_KEY }, ...byName({ id, label: object })];
  const ids = findObjects(connection, template).map((key) => readAttribute(connection, key, CK.CKA_ID));
  return all.filter((one) => one.id && one.id.length > 0 && ids.some((found) => same(found, one.id)));
}
