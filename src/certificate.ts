import { type KeyObject, verify, X509Certificate } from 'node:crypto';
import { hasCaFlag, KEY_USAGE_DIGITAL_SIGNATURE, keyUsageOf } from './der.ts';
import { HoldfastError } from './errors.ts';
import type { HashName } from './signer.ts';

export type KeyType = 'RSA' | 'EC';

/** The few things holdfast must know of a certificate. */
export interface Certificate {
  readonly der: Uint8Array;
  /** Decimal, as SigV4-X509 wants it; a negative one keeps its minus sign. */
  readonly serialNumber: string;
  readonly keyType: KeyType;
  /** One line, `CN=build-01, O=Example`; empty when the certificate has no subject. */
  readonly subject: string;
  readonly issuer: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** BasicConstraints CA:TRUE, whatever the key usage says. */
  readonly isCa: boolean;
  readonly publicKey: KeyObject;
  /** Was this certificate issued by that one: names, key identifiers, key usage and the signature itself? */
  isIssuedBy(issuer: Certificate): boolean;
  /** Was this signature made over the message with the matching private key? Default hash: SHA-256. */
  verify(message: Uint8Array, signature: Uint8Array, hash?: HashName): boolean;
}

const x509Of = new WeakMap<Certificate, X509Certificate>();

/**
 * One certificate from its DER.
 *
 * @param name what it is called in an error, such as the file's path
 * @throws {HoldfastError} `ERR_CERTIFICATE_INVALID`; `ERR_CERTIFICATE_UNSUITABLE` when its key is neither RSA nor EC
 */
export function parseCertificate(der: Uint8Array, name = 'the certificate'): Certificate {
  let x509: X509Certificate;
  let publicKey: KeyObject;
  let validity: readonly [notBefore: Date, notAfter: Date];
  try {
    x509 = new X509Certificate(der);
    publicKey = x509.publicKey;
    validity = [dateOf(x509.validFrom), dateOf(x509.validTo)];
  } catch (cause) {
    throw new HoldfastError('ERR_CERTIFICATE_INVALID', `${name} is no X.509 certificate that can be read`, {
      hint: 'check it with: openssl x509 -noout -text',
      cause,
    });
  }
  const certificate: Certificate = {
    der: x509.raw,
    serialNumber: x509.serialNumber.replace(/[0-9A-F]+$/i, (hex) => BigInt(`0x${hex}`).toString()),
    keyType: keyTypeOf(publicKey, name),
    subject: oneLine(x509.subject),
    issuer: oneLine(x509.issuer),
    notBefore: validity[0],
    notAfter: validity[1],
    isCa: hasCaFlag(x509.raw),
    publicKey,
    // X509_check_issued compares names, key identifiers and the issuer's key usage; the signature is checked besides.
    isIssuedBy: (issuer) => {
      const other = x509Of.get(issuer);
      return other !== undefined && x509.checkIssued(other) && x509.verify(issuer.publicKey);
    },
    verify: (message, signature, hash = 'SHA-256') => verify(hash.replace('-', ''), message, publicKey, signature),
  };
  x509Of.set(certificate, x509);
  return certificate;
}

function keyTypeOf({ asymmetricKeyType: type }: KeyObject, name: string): KeyType {
  if (type === 'rsa') return 'RSA';
  if (type === 'ec') return 'EC';
  throw new HoldfastError('ERR_CERTIFICATE_UNSUITABLE', `${name} has a key of type ${type}`, {
    hint: 'use a certificate with an RSA or ECDSA key: Roles Anywhere takes no other here',
  });
}

/** OpenSSL writes a date that is none as words, and no comparison with what comes of them would ever find it expired. */
function dateOf(text: string): Date {
  const date = new Date(text);
  if (Number.isNaN(date.getTime())) throw new Error(`its validity has a date that is none (${text})`);
  return date;
}

/** Node writes each attribute on a line of its own, in certificate order; `undefined` when there is none. */
const oneLine = (name: string | undefined): string => (name ?? '').replaceAll('\n', ', ');

const PEM_BLOCK = /-----BEGIN ([A-Z0-9 ]+)-----((?:(?!-----)[\s\S])*)-----END \1-----/g;

/**
 * All certificates of a PEM bundle, in its order, or the one of a DER file. Other blocks beside them are passed over.
 *
 * @param name what the data is called in an error, such as the file's path
 * @throws {HoldfastError} `ERR_CERTIFICATE_INVALID`, which says what the data is instead; `ERR_CERTIFICATE_UNSUITABLE`
 */
export function readCertificates(data: Uint8Array, name: string): Certificate[] {
  const refuse = (message: string, hint: string): never => {
    throw new HoldfastError('ERR_CERTIFICATE_INVALID', message, { hint });
  };
  if (data.length === 0) return refuse(`${name} is empty`, 'name the file that holds the certificate');
  const text = Buffer.from(data).toString('latin1');
  if (!text.includes('-----BEGIN ')) {
    if (data[0] !== 0x30) return refuse(`${name} is neither PEM nor DER`, 'give an X.509 certificate as PEM or DER');
    const certificate = parseCertificate(data, name);
    if (certificate.der.length === data.length) return [certificate];
    return refuse(`${name} has something behind the certificate`, 'give several certificates as PEM');
  }

  const blocks = [...text.matchAll(PEM_BLOCK)].map(([, label = '', body = '']) => ({ label, body }));
  if (text.replace(PEM_BLOCK, '').includes('-----BEGIN ')) {
    return refuse(`${name} has a PEM block without its end`, 'the file may be cut short: copy it again');
  }
  const certificates = blocks.filter(({ label }) => label === 'CERTIFICATE' || label === 'X509 CERTIFICATE');
  if (certificates.length === 0) {
    const found = [...new Set(blocks.map(({ label }) => label))].join(', ');
    return refuse(`${name} holds ${found}, but no CERTIFICATE`, 'name the file that holds the certificate');
  }
  return certificates.map(({ body }, index) => {
    const which = certificates.length === 1 ? name : `certificate ${index + 1} in ${name}`;
    const base64 = body.replace(/^[\s\S]*?\r?\n\r?\n/, (head) => (head.includes(':') ? '' : head)).replace(/\s+/g, '');
    if (!/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) return refuse(`${which} has damaged Base64`, 'copy the file again');
    return parseCertificate(Buffer.from(base64, 'base64'), which);
  });
}

/**
 * Refuse a leaf that Roles Anywhere would refuse, before a key is touched (user guide, "Signature verification":
 * v3, CA false, digitalSignature, a subject).
 *
 * @throws {HoldfastError} `ERR_CERTIFICATE_EXPIRED`, `ERR_CERTIFICATE_NOT_YET_VALID`, `ERR_CERTIFICATE_UNSUITABLE`
 */
export function checkLeaf(leaf: Certificate, now: Date): void {
  const who = leaf.subject ? `the certificate of ${leaf.subject}` : `the certificate with serial ${leaf.serialNumber}`;
  const at = (date: Date): string => date.toISOString().replace('.000Z', 'Z');
  if (leaf.isCa) {
    throw new HoldfastError('ERR_CERTIFICATE_UNSUITABLE', `${who} is a CA certificate, not an end-entity certificate`, {
      hint: 'give the leaf; in a bundle it comes first',
    });
  }
  if (now > leaf.notAfter) {
    throw new HoldfastError('ERR_CERTIFICATE_EXPIRED', `${who} expired at ${at(leaf.notAfter)}`, {
      hint: `renew it, or set the clock if it is not ${at(now)}`,
    });
  }
  if (now < leaf.notBefore) {
    throw new HoldfastError('ERR_CERTIFICATE_NOT_YET_VALID', `${who} is valid from ${at(leaf.notBefore)} on`, {
      hint: `wait until then, or set the clock if it is not ${at(now)}`,
    });
  }
  if (!leaf.subject) {
    throw new HoldfastError('ERR_CERTIFICATE_UNSUITABLE', `${who} has an empty subject, which Roles Anywhere refuses`, {
      hint: 'have a certificate issued that has at least a common name',
    });
  }
  if (((keyUsageOf(leaf.der) ?? 0) & KEY_USAGE_DIGITAL_SIGNATURE) === 0) {
    throw new HoldfastError('ERR_CERTIFICATE_UNSUITABLE', `${who} has no key usage digitalSignature`, {
      hint: 'have it issued again with keyUsage=critical,digitalSignature (openssl x509 -req needs -extfile for that)',
    });
  }
}
