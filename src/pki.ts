import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import * as asn1js from 'asn1js';
import { HoldfastError, messageOf } from './errors.ts';

/** What a key may be used for (RFC 5280 §4.2.1.3), by the names of the standard. */
export type KeyUsage = 'digitalSignature' | 'nonRepudiation' | 'keyEncipherment' | 'keyCertSign' | 'cRLSign';

/** The hash of a certificate's own signature. Roles Anywhere refuses SHA-1; it is here so that a test can show it. */
export type SignatureHash = 'SHA-1' | 'SHA-256' | 'SHA-384' | 'SHA-512';

/** What stands in a certificate. */
export interface CertificateOptions {
  /** Common name of the subject. Default: none. */
  commonName?: string | undefined;
  /** The whole subject (RFC 4514, `CN=web,O=Example`) instead of `commonName`; empty for no subject at all. */
  subject?: string | undefined;
  /** Serial number in hex. Default: 16 random bytes. */
  serialNumber?: string | undefined;
  /** Default: five minutes ago, since clocks differ. */
  notBefore?: Date | undefined;
  /** Default: a day after `notBefore`. */
  notAfter?: Date | undefined;
  /** CA flag of basicConstraints. Default: false; of an authority, true. */
  isCa?: boolean | undefined;
  /** How many intermediates may follow (RFC 5280 §4.2.1.9). Default: no limit. */
  pathLength?: number | undefined;
  /** Empty for no keyUsage extension. Default: digitalSignature; of an authority, keyCertSign and cRLSign. */
  keyUsages?: readonly KeyUsage[] | undefined;
  /** OIDs of extendedKeyUsage. Default: no such extension. */
  extendedKeyUsages?: readonly string[] | undefined;
  /** DNS names and IP addresses of subjectAltName. Default: no such extension. */
  dnsNames?: readonly string[] | undefined;
  ipAddresses?: readonly string[] | undefined;
  /** Default: SHA-256. */
  hash?: SignatureHash | undefined;
}

export interface IssueOptions extends CertificateOptions {
  /** DER SubjectPublicKeyInfo of the key to certify. */
  publicKey: Uint8Array;
}

export interface AuthorityOptions extends CertificateOptions {
  /** Who certifies this authority. Default: itself, as a root. */
  issuer?: Authority | undefined;
}

/** A certificate authority whose key (EC P-256) lives in this process's memory and dies with it. */
export interface Authority {
  /** Its certificate, DER. */
  readonly certificate: Uint8Array;
  /** Certify a key; the result is DER. */
  issue(options: IssueOptions): Promise<Uint8Array>;
}

const KEY_USAGES: Record<KeyUsage, x509.KeyUsageFlags> = {
  digitalSignature: x509.KeyUsageFlags.digitalSignature,
  nonRepudiation: x509.KeyUsageFlags.nonRepudiation,
  keyEncipherment: x509.KeyUsageFlags.keyEncipherment,
  keyCertSign: x509.KeyUsageFlags.keyCertSign,
  cRLSign: x509.KeyUsageFlags.cRLSign,
};
const EC_P256 = { name: 'ECDSA', namedCurve: 'P-256' };
const DAY = 86_400_000;

/** Make a throw-away certificate authority: a root, or an intermediate under `issuer`. */
export async function createAuthority(options: AuthorityOptions = {}): Promise<Authority> {
  const keys = await webcrypto.subtle.generateKey(EC_P256, false, ['sign', 'verify']);
  const publicKey = new Uint8Array(await webcrypto.subtle.exportKey('spki', keys.publicKey));
  const own: IssueOptions = { isCa: true, keyUsages: ['keyCertSign', 'cRLSign'], ...given(options), publicKey };
  const subject = nameOf(own);
  const sign = (issued: IssueOptions) => build(issued, { name: subject, publicKey, key: keys.privateKey });
  return { certificate: await (options.issuer?.issue(own) ?? sign(own)), issue: sign };
}

async function build(
  options: IssueOptions,
  issuer: { name: x509.Name; publicKey: Uint8Array; key: webcrypto.CryptoKey },
): Promise<Uint8Array> {
  const { notBefore = new Date(Date.now() - 300_000), keyUsages = ['digitalSignature'] as const } = options;
  const extensions: x509.Extension[] = [
    new x509.BasicConstraintsExtension(options.isCa ?? false, options.pathLength, true),
    await x509.SubjectKeyIdentifierExtension.create(options.publicKey, false, webcrypto),
    await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey, false, webcrypto),
  ];
  const flags = keyUsages.reduce((all, usage) => all | KEY_USAGES[usage], 0);
  if (keyUsages.length > 0) extensions.push(new x509.KeyUsagesExtension(flags, true));
  if (options.extendedKeyUsages) extensions.push(new x509.ExtendedKeyUsageExtension([...options.extendedKeyUsages]));
  const names = [
    ...(options.dnsNames ?? []).map((value) => ({ type: x509.DNS, value }) as const),
    ...(options.ipAddresses ?? []).map((value) => ({ type: x509.IP, value }) as const),
  ];
  if (names.length > 0) extensions.push(new x509.SubjectAlternativeNameExtension(names));
  const certificate = await x509.X509CertificateGenerator.create(
    {
      subject: nameOf(options),
      issuer: issuer.name,
      ...(options.serialNumber === undefined ? {} : { serialNumber: options.serialNumber }),
      notBefore,
      notAfter: options.notAfter ?? new Date(notBefore.getTime() + DAY),
      publicKey: options.publicKey,
      signingKey: issuer.key,
      signingAlgorithm: { name: 'ECDSA', hash: options.hash ?? 'SHA-256' },
      extensions,
    },
    webcrypto,
  );
  return new Uint8Array(certificate.rawData);
}

/** What a reader of certificates asks of one. */
export interface CertificateFacts {
  readonly version: number;
  /** Lower-case hex, an even number of digits. */
  readonly serialNumber: string;
  /** RFC 4514, as the certificate orders it; empty when the certificate names no subject. */
  readonly subject: string;
  readonly issuer: string;
  readonly commonName: string | undefined;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** basicConstraints; false when absent. */
  readonly isCa: boolean;
  readonly pathLength: number | undefined;
  /** Undefined when the certificate has no keyUsage extension. */
  readonly keyUsages: readonly KeyUsage[] | undefined;
  /** Hash of the certificate's signature, such as `SHA-256`; `ML-DSA-65`, which needs none; undefined when MD5 or unknown. */
  readonly signatureHash: string | undefined;
}

/**
 * Read the facts of a DER certificate. Nothing is verified.
 *
 * @throws {HoldfastError} `ERR_CERTIFICATE_INVALID` when it is no certificate, or repeats an extension (RFC 5280 §4.2)
 */
export function explainCertificate(der: Uint8Array): CertificateFacts {
  try {
    const certificate = new x509.X509Certificate(toArrayBuffer(der));
    const types = certificate.extensions.map((extension) => extension.type);
    if (new Set(types).size < types.length) throw new Error('it has the same extension twice');
    const constraints = certificate.getExtension(x509.BasicConstraintsExtension);
    const usages = certificate.getExtension(x509.KeyUsagesExtension);
    const { name, hash } = certificate.signatureAlgorithm as { name: string; hash?: { name: string } };
    const serial = certificate.serialNumber.toLowerCase().replace(/^0+(?=.)/, '');
    return {
      version: versionOf(der),
      serialNumber: serial.length % 2 === 1 ? `0${serial}` : serial,
      subject: certificate.subject,
      issuer: certificate.issuer,
      commonName: certificate.subjectName.getField('CN')[0],
      notBefore: certificate.notBefore,
      notAfter: certificate.notAfter,
      isCa: constraints?.ca ?? false,
      pathLength: constraints?.pathLength,
      keyUsages: usages ? usagesOf(usages.usages) : undefined,
      signatureHash: hash?.name ?? (name.startsWith('ML-DSA-') ? name : undefined),
    };
  } catch (cause) {
    throw invalid('certificate', cause);
  }
}

/** The key in a DER certificate by the names of WebCrypto, such as `ECDSA` or `ML-DSA-65`, else its object identifier. */
export function keyAlgorithmOf(der: Uint8Array): string | undefined {
  try {
    return new x509.X509Certificate(toArrayBuffer(der)).publicKey.algorithm.name;
  } catch {
    return undefined;
  }
}

/** TBSCertificate.version: `[0]`, one less than people say, and absent in version 1 (RFC 5280 §4.1). */
function versionOf(der: Uint8Array): number {
  const certificate = asn1js.fromBER(toArrayBuffer(der)).result;
  const tbs = certificate instanceof asn1js.Sequence ? certificate.valueBlock.value[0] : undefined;
  const first = tbs instanceof asn1js.Sequence ? tbs.valueBlock.value[0] : undefined;
  if (!(first instanceof asn1js.Constructed) || first.idBlock.tagClass !== 3 || first.idBlock.tagNumber !== 0) return 1;
  const version = first.valueBlock.value[0];
  if (!(version instanceof asn1js.Integer)) throw new Error('its version is no number');
  return version.valueBlock.valueDec + 1;
}

const usagesOf = (flags: number): KeyUsage[] =>
  (Object.keys(KEY_USAGES) as KeyUsage[]).filter((usage) => (flags & KEY_USAGES[usage]) !== 0);

export interface RequestOptions {
  /** What signs: `await signerCrypto(...)`, or any WebCrypto with a pair of its keys. */
  crypto: webcrypto.Crypto;
  keys: webcrypto.CryptoKeyPair;
  commonName?: string | undefined;
  /** The whole subject (RFC 4514) instead of `commonName`. */
  subject?: string | undefined;
  /** Default: SHA-256. An RSA key of WebCrypto has a hash of its own, which counts. */
  hash?: SignatureHash | undefined;
}

/** Make a certificate request (PKCS#10, RFC 2986), DER. Whatever the crypto throws comes through. */
export async function makeCertificateRequest(options: RequestOptions): Promise<Uint8Array> {
  const request = await x509.Pkcs10CertificateRequestGenerator.create(
    {
      name: nameOf(options),
      keys: options.keys,
      signingAlgorithm: { name: options.keys.privateKey.algorithm.name, hash: options.hash ?? 'SHA-256' },
    },
    options.crypto,
  );
  return new Uint8Array(request.rawData);
}

/** What a certificate request asks for. */
export interface CertificateRequest {
  /** DER SubjectPublicKeyInfo. */
  readonly publicKey: Uint8Array;
  /** RFC 4514. */
  readonly subject: string;
  readonly commonName: string | undefined;
}

/**
 * Read a certificate request, DER or PEM, and verify that the key in it signed it.
 *
 * @throws {HoldfastError} `ERR_CERTIFICATE_INVALID` when it is none, or somebody else signed it
 */
export async function readCertificateRequest(data: Uint8Array | string): Promise<CertificateRequest> {
  try {
    const request = new x509.Pkcs10CertificateRequest(typeof data === 'string' ? data : toArrayBuffer(data));
    if (!(await request.verify(webcrypto))) throw new Error('its signature was not made with the key in it');
    const { publicKey, subject, subjectName } = request;
    return { publicKey: new Uint8Array(publicKey.rawData), subject, commonName: subjectName.getField('CN')[0] };
  } catch (cause) {
    throw invalid('certificate request', cause);
  }
}

/** PEM of DER objects, one after the other. */
export const toPem = (ders: readonly Uint8Array[], label = 'CERTIFICATE'): string =>
  ders.map((der) => `${x509.PemConverter.encode(toArrayBuffer(der), label)}\n`).join('');

/** The DER objects of a PEM text, whatever their labels; none when it is no PEM. */
export const fromPem = (pem: string): Uint8Array[] => x509.PemConverter.decode(pem).map((der) => new Uint8Array(der));

// The library drops what follows the view in its buffer only when it gets a buffer of its own.
const toArrayBuffer = (bytes: Uint8Array): ArrayBuffer => new Uint8Array(bytes).buffer;

const nameOf = ({ subject, commonName }: CertificateOptions): x509.Name =>
  new x509.Name(subject ?? (commonName === undefined ? [] : [{ CN: [{ utf8String: commonName }] }]));

const given = <T extends object>(options: T): T =>
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;

const invalid = (what: string, cause: unknown) =>
  new HoldfastError('ERR_CERTIFICATE_INVALID', `this is no usable ${what}: ${messageOf(cause)}`, {
    hint: `give a ${what} in DER or PEM`,
    cause,
  });
