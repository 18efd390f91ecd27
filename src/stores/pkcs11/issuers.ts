import { CHAIN_LIMIT } from '../../chain.ts';
import { children, read } from '../../der.ts';
import { CK } from './cryptoki.ts';
import { FEW } from './objects.ts';
import { findCertificates, type StoredCertificate } from './stored-certificate.ts';
import type { Connection } from './token.ts';

/** DER of the fields of a certificate that PKCS#11 wants beside it (RFC 5280 §4.1, PKCS#11 v2.40 §4.6.3). */
export interface NameFields {
  readonly serial: Buffer;
  readonly issuer: Buffer;
  readonly subject: Buffer;
}

export function fieldsOf(certificate: Uint8Array): NameFields | undefined {
  const toBeSigned = read(read(certificate)?.value ?? certificate)?.value ?? certificate;
  const fields: { tag: number; der: Buffer }[] = [];
  let start = 0;
  for (const { tag, end } of children(toBeSigned)) {
    fields.push({ tag, der: Buffer.from(toBeSigned.subarray(start, end)) });
    start = end;
  }
  // The version is [0] EXPLICIT and left out in v1.
  const [serial, , issuer, , subject] = (fields[0]?.tag === 0xa0 ? fields.slice(1) : fields).map(({ der }) => der);
  return serial && issuer && subject ? { serial, issuer, subject } : undefined;
}

/**
 * Certificates above these, as far as the token keeps them: each is looked for by the name that the one below gives its
 * issuer. A token that stores certificates without their `CKA_SUBJECT` yields none.
 */
export function issuersOf(connection: Connection, leaves: readonly StoredCertificate[]): Buffer[] {
  const asked = new Set<string>();
  const known = new Set(leaves.map(({ der }) => der.toString('base64')));
  const found: Buffer[] = [];
  let below = leaves;
  for (let level = 0; level < CHAIN_LIMIT && below.length > 0; level += 1) {
    const above: StoredCertificate[] = [];
    for (const name of issuerNames(below)) {
      const key = name.toString('base64');
      if (asked.has(key)) continue;
      asked.add(key);
      above.push(...findCertificates(connection, [{ type: CK.CKA_SUBJECT, value: name }], FEW));
    }
    below = above.filter(({ der }) => !known.has(der.toString('base64')));
    for (const { der } of below) {
      known.add(der.toString('base64'));
      found.push(der);
    }
  }
  return found;
}

/** Of those that somebody else issued. */
const issuerNames = (certificates: readonly StoredCertificate[]): Buffer[] =>
  certificates.flatMap(({ der, certificate }) => {
    const fields = certificate && fieldsOf(der);
    return fields && !fields.issuer.equals(fields.subject) ? [fields.issuer] : [];
  });
