import { generateKeyPairSync, type KeyObject, verify, X509Certificate } from 'node:crypto';
import {
  algorithmOf,
  children,
  hasCaFlag,
  KEY_USAGE_DIGITAL_SIGNATURE,
  keyUsageOf,
  publicKeyOf,
  read,
  type Tlv,
} from './der.ts';
import { HoldfastError } from './errors.ts';
import type { HashName } from './signer.ts';

/** The keys that Roles Anywhere takes; ML-DSA with any of its three parameter sets. */
export type KeyType = 'RSA' | 'EC' | 'ML-DSA';

/** The few things holdfast must know of a certificate. */
export interface Certificate {
  readonly der: Uint8Array;
  /** Decimal, as SigV4-X509 wants it; a negative one keeps its minus sign. */
  readonly serialNumber: string;
  /** Undefined when Roles Anywhere takes no such key, or this Node cannot read it. Only a leaf must have one. */
  readonly keyType: KeyType | undefined;
  /** One line, `CN=build-01, O=Example`; empty when the certificate has no subject. */
  readonly subject: string;
  readonly issuer: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** BasicConstraints CA:TRUE, whatever the key usage says. */
  readonly isCa: boolean;
  /** DER SubjectPublicKeyInfo. */
  readonly publicKey: Uint8Array;
  /** Was this certificate issued by that one: names, key identifiers, key usage and the signature itself? */
  isIssuedBy(issuer: Certificate): boolean;
  /** Was this signature made over the message with the matching private key? Default hash: SHA-256. */
  verify(message: Uint8Array, signature: Uint8Array, hash?: HashName): boolean;
}

const known = new WeakMap<Certificate, { x509: X509Certificate; key: KeyObject | undefined }>();

/**
 * One certificate from its DER.
 *
 * @param name what it is called in an error, such as the file's path
 * @throws {HoldfastError} `ERR_CERTIFICATE_INVALID`
 */
export function parseCertificate(der: Uint8Array, name = 'the certificate'): Certificate {
  let x509: X509Certificate;
  let validity: readonly [notBefore: Date, notAfter: Date];
  try {
    x509 = new X509Certificate(der);
    validity = [dateOf(x509.validFrom), dateOf(x509.validTo)];
  } catch (cause) {
    throw new HoldfastError('ERR_CERTIFICATE_INVALID', `${name} is no X.509 certificate that can be read`, {
      hint: 'check it with: openssl x509 -noout -text',
      cause,
    });
  }
  const { key, publicKey } = keyOf(x509);
  const keyType = KEY_TYPES[key?.asymmetricKeyType ?? ''];
  const certificate: Certificate = {
    der: x509.raw,
    serialNumber: x509.serialNumber.replace(/[0-9A-Fa-f]+$/, (hex) => BigInt(`0x${hex}`).toString()),
    keyType,
    subject: oneLine(x509.subject),
    issuer: oneLine(x509.issuer),
    notBefore: validity[0],
    notAfter: validity[1],
    isCa: hasCaFlag(x509.raw),
    publicKey,
    // X509_check_issued compares names, key identifiers and the issuer's key usage; the signature is checked besides.
    isIssuedBy: (issuer) => {
      const other = known.get(issuer);
      return other?.key !== undefined && x509.checkIssued(other.x509) && x509.verify(other.key);
    },
    verify: (message, signature, hash = 'SHA-256') => {
      if (!key || !keyType) return false;
      // FIPS 204 §5.2: ML-DSA takes the message itself, and node:crypto an empty context.
      return verify(keyType === 'ML-DSA' ? null : hash.replace('-', ''), message, key, signature);
    },
  };
  known.set(certificate, { x509, key });
  return certificate;
}

const KEY_TYPES: Readonly<Record<string, KeyType | undefined>> = {
  rsa: 'RSA',
  ec: 'EC',
  'ml-dsa-44': 'ML-DSA',
  'ml-dsa-65': 'ML-DSA',
  'ml-dsa-87': 'ML-DSA',
};

/** The key of a certificate, undefined when this Node cannot read it, and its DER. */
function keyOf(x509: X509Certificate): { key: KeyObject | undefined; publicKey: Uint8Array } {
  try {
    const key = x509.publicKey;
    const asItStands = publicKeyOf(x509.raw);
    const publicKey = isPlain(asItStands) ? asItStands : key.export({ type: 'spki', format: 'der' });
    return { key, publicKey };
  } catch {
    return { key: undefined, publicKey: publicKeyOf(x509.raw) };
  }
}

/**
 * Where the parameters of the algorithm are NULL (RFC 3279 §2.3.1) or the name of a curve (RFC 5480 §2.1.1), Node would
 * write the key as it stands, for which a start would pay two thirds of a millisecond.
 */
function isPlain(publicKey: Uint8Array): boolean {
  const algorithm = read(read(publicKey)?.value ?? new Uint8Array());
  const [, parameters] = [...children(algorithm?.value ?? new Uint8Array())];
  return parameters?.tag === 0x05 || parameters?.tag === 0x06;
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
 * @throws {HoldfastError} `ERR_CERTIFICATE_INVALID`, which says what the data is instead
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

/** The parameter sets of ML-DSA by their object identifiers, 2.16.840.1.101.3.4.3.17 to .19. */
const ML_DSA: Readonly<Record<string, string | undefined>> = {
  '608648016503040311': 'ML-DSA-44',
  '608648016503040312': 'ML-DSA-65',
  '608648016503040313': 'ML-DSA-87',
};

export const needsNewerNode = (parameterSet: string): string =>
  `${parameterSet} needs Node 24.6 or newer; this is ${process.version}`;

/** Asked of Node itself: its OpenSSL may know ML-DSA without it (that of Node 22). Takes less than a millisecond. */
export function canMlDsa(): boolean {
  try {
    const generate = generateKeyPairSync as unknown as (type: string) => { publicKey: KeyObject };
    return KEY_TYPES[generate('ml-dsa-44').publicKey.asymmetricKeyType ?? ''] === 'ML-DSA';
  } catch {
    return false;
  }
}

/**
 * The kind of key that signs for a certificate.
 *
 * @throws {HoldfastError} `ERR_CERTIFICATE_UNSUITABLE` when Roles Anywhere takes no such key, or this Node cannot read it
 */
export function keyTypeOf(leaf: Certificate): KeyType {
  if (leaf.keyType) return leaf.keyType;
  const refuse = (what: string, hint: string): never => {
    throw new HoldfastError('ERR_CERTIFICATE_UNSUITABLE', `${nameOf(leaf)} has a key ${what}`, { hint });
  };
  const parameterSet = ML_DSA[algorithmOf(leaf.publicKey) ?? ''];
  if (parameterSet && !canMlDsa()) {
    return refuse(
      `that cannot be used here: ${needsNewerNode(parameterSet)}`,
      'run it with Node 24.6 or newer, or use a certificate with an RSA or ECDSA key',
    );
  }
  const type = known.get(leaf)?.key?.asymmetricKeyType;
  return refuse(
    type ? `of type ${type}` : 'that cannot be read',
    'use a certificate with an RSA, ECDSA or ML-DSA key: Roles Anywhere takes no other',
  );
}

const nameOf = ({ subject, serialNumber }: Certificate): string =>
  subject ? `the certificate of ${subject}` : `the certificate with serial ${serialNumber}`;

/**
 * Refuse a leaf that Roles Anywhere would refuse, before a key is touched (user guide, "Signature verification":
 * v3, CA false, digitalSignature, a subject, signed with SHA-256 or stronger).
 *
 * @throws {HoldfastError} `ERR_CERTIFICATE_EXPIRED`, `ERR_CERTIFICATE_NOT_YET_VALID`, `ERR_CERTIFICATE_UNSUITABLE`
 */
export function checkLeaf(leaf: Certificate, now: Date): void {
  const who = nameOf(leaf);
  const at = (date: Date): string => date.toISOString().replace('.000Z', 'Z');
  if (leaf.isCa) {
    throw new HoldfastError('ERR_CERTIFICATE_UNSUITABLE', `${who} is a CA certificate, not an end-entity certificate`, {
      hint: 'give the leaf; in a bundle it comes first',
    });
  }
  keyTypeOf(leaf);
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
  const hash = weakHashOf(leaf.der);
  if (hash !== undefined) {
    throw new HoldfastError(
      'ERR_CERTIFICATE_UNSUITABLE',
      `${who} is signed with ${hash}, which Roles Anywhere refuses`,
      {
        hint: 'have it issued again with SHA-256 or stronger',
      },
    );
  }
}

/** Signature algorithms over a weak hash (RFC 3279 §2.2, RFC 8017 appendix A.2.4), by the hex of their identifiers. */
const WEAK_SIGNATURES: Readonly<Record<string, string | undefined>> = {
  '2a864886f70d010102': 'MD2',
  '2a864886f70d010104': 'MD5',
  '2a864886f70d010105': 'SHA-1',
  '2a8648ce380403': 'SHA-1',
  '2a8648ce3d0401': 'SHA-1',
  '2b0e03021d': 'SHA-1',
};
const RSASSA_PSS = '2a864886f70d01010a';
const WEAK_HASHES: Readonly<Record<string, string | undefined>> = { '2a864886f70d0205': 'MD5', '2b0e03021a': 'SHA-1' };

/** The hash that a certificate is signed with, if it is one that nobody should take any more. */
function weakHashOf(certificate: Uint8Array): string | undefined {
  const inside = (value: Tlv | undefined): Tlv[] => [...children(value?.value ?? new Uint8Array())];
  const hexOf = (id: Tlv | undefined): string => Buffer.from(id?.value ?? []).toString('hex');
  const [, algorithm] = inside(read(certificate));
  const [id, parameters] = inside(algorithm);
  if (hexOf(id) !== RSASSA_PSS) return WEAK_SIGNATURES[hexOf(id)];
  const [hash] = inside(inside(parameters).find(({ tag }) => tag === 0xa0));
  return hash ? WEAK_HASHES[hexOf(inside(hash)[0])] : 'SHA-1'; // RFC 4055 §3.1: the default
}
