import { readFileSync } from 'node:fs';

/** What scripts/make-vectors.py writes. */
interface Vectors {
  readonly identities: Readonly<Record<string, VectorIdentity>>;
  readonly vectors: readonly Vector[];
}

export interface VectorIdentity {
  /** PEM, PKCS#8. */
  readonly privateKey: string;
  /** DER in Base64. */
  readonly certificate: string;
  /** DER in Base64, closest to the leaf first. */
  readonly chain: readonly string[];
  /** Decimal. */
  readonly serialNumber: string;
}

export interface Vector {
  readonly name: string;
  readonly identity: string;
  readonly region: string;
  /** `YYYYMMDDTHHMMSSZ` */
  readonly date: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly canonicalRequest: string;
  readonly stringToSign: string;
  /** Hex. */
  readonly signature: string;
  readonly authorization: string;
}

/** Requests signed without any of our code. */
export const VECTORS: Vectors = JSON.parse(
  readFileSync(new URL('../vectors/sigv4-x509.json', import.meta.url), 'utf8'),
) as Vectors;

export const fromBase64 = (text: string): Buffer => Buffer.from(text, 'base64');

/** `20260102T030405Z` as a date. */
export const fromAmzDate = (text: string): Date =>
  new Date(text.replace(/^(....)(..)(..)T(..)(..)(..)Z$/, '$1-$2-$3T$4:$5:$6Z'));
