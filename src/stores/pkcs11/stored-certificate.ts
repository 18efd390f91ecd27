import type { Attribute } from 'pkcs11js';
import { type Certificate, parseCertificate } from '../../certificate.ts';
import { CK } from './cryptoki.ts';
import { findObjects, isGiven, nameIn, type ObjectName, readAttributes } from './objects.ts';
import type { Connection } from './token.ts';

/** An X.509 certificate on the token. */
export interface StoredCertificate extends ObjectName {
  readonly handle: Buffer;
  readonly der: Buffer;
  /** Undefined when Node cannot read it: that harms nobody else. */
  readonly certificate: Certificate | undefined;
}

const X509: readonly Attribute[] = [
  { type: CK.CKA_CLASS, value: CK.CKO_CERTIFICATE },
  { type: CK.CKA_CERTIFICATE_TYPE, value: CK.CKC_X_509 },
];

/** Those that fit a template. Certificates are public objects: no login is needed for nearly every token. */
export const findCertificates = (
  connection: Connection,
  template: readonly Attribute[],
  limit?: number,
): StoredCertificate[] =>
  findCertificateObjects(connection, template, limit).flatMap((object) => readCertificate(connection, object));

export const findCertificateObjects = (
  connection: Connection,
  template: readonly Attribute[],
  limit?: number,
): Buffer[] => findObjects(connection, [...X509, ...template], limit);

/** None where the object holds no certificate, only its name. */
export function readCertificate(connection: Connection, handle: Buffer): StoredCertificate[] {
  const attributes = readAttributes(connection, handle, [CK.CKA_VALUE, CK.CKA_ID, CK.CKA_LABEL]);
  const der = attributes.get(CK.CKA_VALUE);
  return isGiven(der) ? [{ ...nameIn(attributes), handle, der, certificate: parse(der) }] : [];
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

/** What a YubiKey says of a key that it made: under the identifier of that key, and with its public half. */
const ATTESTATION = /(^|, )CN=YubiKey PIV Attestation [0-9a-f]{2}($|, )/i;
const ATTESTER = /(^|, )CN=Yubico PIV Attestation($|, )/i;

/** Does it speak of a key, rather than for somebody who has it? By its names: a label may be anybody's. */
export const isAttestation = ({ certificate }: StoredCertificate): boolean =>
  certificate !== undefined && (ATTESTATION.test(certificate.subject) || ATTESTER.test(certificate.issuer));
