// Certificates written out by hand (RFC 5280 §4.1), so that every rule can be broken one at a time, and so that what
// the local service accepts was not made by the code that it judges with.
import { createPublicKey, type KeyObject, sign } from 'node:crypto';

const tlv = (tag: number, ...parts: Uint8Array[]): Buffer => {
  const content = Buffer.concat(parts);
  const length: number[] = [];
  for (let rest = content.length; rest > 0; rest >>>= 8) length.unshift(rest & 0xff);
  const head = content.length < 0x80 ? [tag, content.length] : [tag, 0x80 | length.length, ...length];
  return Buffer.concat([Uint8Array.from(head), content]);
};

const hex = (digits: string): Buffer => Buffer.from(digits, 'hex');
const sequence = (...parts: Uint8Array[]): Buffer => tlv(0x30, ...parts);
const integer = (digits: string): Buffer => {
  const even = digits.length % 2 === 1 ? `0${digits}` : digits;
  return tlv(0x02, hex(Number.parseInt(even.slice(0, 2), 16) >= 0x80 ? `00${even}` : even));
};
const oid = (digits: string): Buffer => tlv(0x06, hex(digits));
const TRUE = hex('0101ff');

const commonName = (text: string): Buffer =>
  text === '' ? sequence() : sequence(tlv(0x31, sequence(oid('550403'), tlv(0x0c, Buffer.from(text)))));

const time = (date: Date): Buffer => {
  const digits = date.toISOString().replace(/[-:T]|\.\d+/g, '');
  return tlv(0x18, Buffer.from(digits));
};

const SIGNATURES: Record<string, Buffer> = {
  'ec sha1': sequence(oid('2a8648ce3d0401')),
  'ec sha256': sequence(oid('2a8648ce3d040302')),
  'ec sha384': sequence(oid('2a8648ce3d040303')),
  'rsa md5': sequence(oid('2a864886f70d010104'), hex('0500')),
  'rsa sha1': sequence(oid('2a864886f70d010105'), hex('0500')),
  'rsa sha256': sequence(oid('2a864886f70d01010b'), hex('0500')),
  // RFC 9881 §2: without parameters, and without a hash of the certificate's.
  'ml-dsa-44': sequence(oid('608648016503040311')),
  'ml-dsa-65': sequence(oid('608648016503040312')),
  'ml-dsa-87': sequence(oid('608648016503040313')),
};

/** Signs messages themselves; node:crypto wants no hash beside it. */
export const isMlDsa = (key: KeyObject): boolean => (key.asymmetricKeyType ?? '').startsWith('ml-dsa-');

export interface Recipe {
  /** Common name; empty for an empty subject. */
  subject: string;
  issuer: string;
  publicKey: KeyObject;
  issuerKey: KeyObject;
  serial?: string;
  notBefore?: Date;
  notAfter?: Date;
  version?: 1 | 3;
  /** basicConstraints; left out when undefined. */
  ca?: boolean;
  pathLength?: number;
  /** First octet of keyUsage; left out when undefined. */
  keyUsage?: number;
  hash?: 'md5' | 'sha1' | 'sha256' | 'sha384';
  /** DER AlgorithmIdentifier to claim instead of that of the signature. */
  algorithm?: Buffer;
  /** Writes basicConstraints twice. */
  twice?: boolean;
}

export const DIGITAL_SIGNATURE = 0x80;
export const KEY_CERT_SIGN = 0x04;

export function makeCertificate(recipe: Recipe): Buffer {
  const { notBefore = new Date('2026-01-01T00:00:00Z'), notAfter = new Date('2027-01-01T00:00:00Z') } = recipe;
  const { asymmetricKeyType: issuerType = '' } = recipe.issuerKey;
  const hash = isMlDsa(recipe.issuerKey) ? null : (recipe.hash ?? 'sha256');
  const algorithm = recipe.algorithm ?? (SIGNATURES[hash === null ? issuerType : `${issuerType} ${hash}`] as Buffer);
  const extensions: Buffer[] = [];
  if (recipe.ca !== undefined) {
    const constraints = recipe.ca ? [TRUE] : [];
    if (recipe.pathLength !== undefined) constraints.push(integer(recipe.pathLength.toString(16)));
    extensions.push(sequence(oid('551d13'), TRUE, tlv(0x04, sequence(...constraints))));
    if (recipe.twice) extensions.push(...extensions);
  }
  if (recipe.keyUsage !== undefined) {
    extensions.push(sequence(oid('551d0f'), TRUE, tlv(0x04, tlv(0x03, Uint8Array.of(0, recipe.keyUsage)))));
  }
  const tbs = sequence(
    ...(recipe.version === 1 ? [] : [tlv(0xa0, hex('020102'))]),
    integer(recipe.serial ?? '1f'),
    algorithm,
    commonName(recipe.issuer),
    sequence(time(notBefore), time(notAfter)),
    commonName(recipe.subject),
    createPublicKey(recipe.publicKey.export({ format: 'pem', type: 'spki' })).export({ format: 'der', type: 'spki' }),
    ...(extensions.length > 0 ? [tlv(0xa3, sequence(...extensions))] : []),
  );
  const signature = sign(hash, tbs, recipe.issuerKey);
  return sequence(tbs, algorithm, tlv(0x03, Uint8Array.of(0), signature));
}

export const toPem = (...ders: Uint8Array[]): string =>
  ders
    .map((der) => {
      const lines =
        Buffer.from(der)
          .toString('base64')
          .match(/.{1,64}/g) ?? [];
      return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
    })
    .join('');

/** The DER certificates of a PEM text. */
export const fromPem = (pem: string): Buffer[] =>
  [...pem.matchAll(/-----BEGIN CERTIFICATE-----([^-]+)-----END/g)].map((match) =>
    Buffer.from(match[1] ?? '', 'base64'),
  );
