import { createHash } from 'node:crypto';
import { type Certificate, type KeyType, keyTypeOf } from './certificate.ts';
import { HoldfastError, messageOf } from './errors.ts';
import { printable } from './read-file.ts';
import type { Signer } from './signer.ts';

// https://docs.aws.amazon.com/rolesanywhere/latest/userguide/authentication-sign-process.html
// The functions below carry the names that page gives to its steps, in its order.

export interface HttpRequest {
  readonly method: string;
  readonly url: URL;
  /** Names in any case; values as they go on the wire. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export interface SigningScope {
  readonly region: string;
  readonly service: string;
  /** The time that the request is dated with. */
  readonly date: Date;
}

/** What a signature needs to know of an identity. */
export interface SigningIdentity {
  readonly certificate: Certificate;
  /** Intermediates, closest to the leaf first, without the leaf. */
  readonly chain: readonly Certificate[];
  readonly signer: Signer;
  /** True when the key was compared with the certificate before: then a wrong signature is the token's fault. */
  readonly matched?: boolean | undefined;
}

const ALGORITHMS: Readonly<Record<KeyType, string>> = {
  RSA: 'AWS4-X509-RSA-SHA256',
  EC: 'AWS4-X509-ECDSA-SHA256', // SHA-256 whatever the curve
  'ML-DSA': 'AWS4-X509-MLDSA', // whatever the parameter set; the signature as it is
};

/** What a request that was signed before must lose before it is signed again; the other headers are replaced. */
const FORMER_SIGNATURE: ReadonlySet<string> = new Set(['authorization', 'x-amz-x509-chain']);

/**
 * Add `Host`, `X-Amz-*` and `Authorization`: the proof that the request comes from this identity. Signs once, and
 * verifies the signature against the certificate before it leaves.
 *
 * @returns the request with header names in lower case
 * @throws {HoldfastError} `ERR_CERTIFICATE_UNSUITABLE`, `ERR_CERTIFICATE_MISMATCH`, `ERR_SIGNING_FAILED`, and whatever
 *   the signer throws
 */
export async function signRequest(
  request: HttpRequest,
  identity: SigningIdentity,
  scope: SigningScope,
): Promise<HttpRequest> {
  const { certificate, chain, signer } = identity;
  const algorithm = ALGORITHMS[keyTypeOf(certificate)];
  const given = Object.entries(request.headers).map(([name, value]) => [name.toLowerCase(), value] as const);
  const headers: Record<string, string> = {
    ...Object.fromEntries(given.filter(([name]) => !FORMER_SIGNATURE.has(name))),
    host: request.url.host,
    'x-amz-date': amzDate(scope.date),
    'x-amz-x509': base64(certificate.der),
    ...(chain.length > 0 && { 'x-amz-x509-chain': chain.map(({ der }) => base64(der)).join(',') }),
  };
  const message = Buffer.from(stringToSign(algorithm, scope, canonicalRequest({ ...request, headers })));
  const signature = await signer.sign(message, 'SHA-256');
  checkBytes(signature);
  if (!certificate.verify(message, signature)) throw wrongSignature(identity, signature);
  headers.authorization =
    `${algorithm} Credential=${certificate.serialNumber}/${credentialScope(scope)}, ` +
    `SignedHeaders=${signedHeaders(headers)}, Signature=${Buffer.from(signature).toString('hex')}`;
  return { ...request, headers };
}

/** A signer of the caller's may return anything. */
function checkBytes(signature: unknown): asserts signature is Uint8Array {
  if (signature instanceof Uint8Array && signature.length > 0) return;
  const what = signature instanceof Uint8Array ? 'no bytes' : `${nameOfType(signature)}, not bytes`;
  throw new HoldfastError('ERR_SIGNING_FAILED', `the signer returned ${what}`, {
    hint: 'have its "sign" return a Uint8Array',
  });
}

function nameOfType(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value !== 'object') return `a ${typeof value}`;
  return value instanceof ArrayBuffer ? 'an ArrayBuffer' : 'an object';
}

/** Octets of r and s side by side (IEEE P1363) on P-256, P-384 and P-521. */
const SIDE_BY_SIDE: ReadonlySet<number> = new Set([64, 96, 132]);

const isDerSequence = (bytes: Uint8Array): boolean =>
  bytes[0] === 0x30 && (bytes[1] === bytes.length - 2 || (bytes[1] === 0x81 && bytes[2] === bytes.length - 3));

function wrongSignature({ certificate, matched }: SigningIdentity, signature: Uint8Array): HoldfastError {
  if (keyTypeOf(certificate) === 'EC' && SIDE_BY_SIDE.has(signature.length) && !isDerSequence(signature)) {
    return new HoldfastError('ERR_SIGNING_FAILED', 'the signer returned an ECDSA signature that is not DER', {
      hint: 'have it return a DER Ecdsa-Sig-Value; WebCrypto gives the two numbers side by side (IEEE P1363)',
    });
  }
  const whose = printable(certificate.subject) || `serial ${certificate.serialNumber}`;
  if (matched) {
    return new HoldfastError(
      'ERR_SIGNING_FAILED',
      `the signature does not verify, although the key is that of ${whose}`,
      {
        hint: 'the token or its driver returned a wrong signature: try again, then replace it',
      },
    );
  }
  return new HoldfastError(
    'ERR_CERTIFICATE_MISMATCH',
    `the key that signed is not the key of the certificate of ${whose}`,
    {
      hint: 'give the certificate that was issued for this key',
    },
  );
}

/** Step 1: the request in its canonical form. Every header given is signed. */
export function canonicalRequest({ method, url, headers, body }: HttpRequest): string {
  const lines = canonicalHeaders(headers).map(([name, value]) => `${name}:${value}\n`);
  return [
    method,
    canonicalPath(url),
    canonicalQuery(url),
    lines.join(''),
    signedHeaders(headers),
    sha256Hex(body),
  ].join('\n');
}

/** Step 2: what the key signs. There is no key derivation as in ordinary SigV4. */
export const stringToSign = (algorithm: string, scope: SigningScope, canonical: string): string =>
  [algorithm, amzDate(scope.date), credentialScope(scope), sha256Hex(canonical)].join('\n');

/** `YYYYMMDD/region/service/aws4_request` */
export const credentialScope = ({ date, region, service }: SigningScope): string =>
  [amzDate(date).slice(0, 8), region, service, 'aws4_request'].join('/');

/** `YYYYMMDDTHHMMSSZ`, UTC. */
export const amzDate = (date: Date): string => date.toISOString().replace(/[:-]|\.\d{3}/g, '');

const signedHeaders = (headers: HttpRequest['headers']): string =>
  canonicalHeaders(headers)
    .map(([name]) => name)
    .join(';');

/** Lower-case names in order; values trimmed, runs of spaces and tabs folded to one space. Other white space is text. */
const canonicalHeaders = (headers: HttpRequest['headers']): [string, string][] =>
  Object.entries(headers)
    .map(([name, value]): [string, string] => [name.toLowerCase(), value.replace(/[ \t]+/g, ' ').replace(/^ | $/g, '')])
    .sort(byCodeUnits);

/** Without empty segments, and encoded once more than it stands in the URL, as for every service but S3. */
const canonicalPath = (url: URL): string => url.pathname.replace(/\/+/g, '/').split('/').map(encode).join('/');

/** The pairs of the query, each decoded and encoded again by SigV4's rule, sorted by name and then value. */
const canonicalQuery = (url: URL): string =>
  url.search
    .slice(1)
    .split('&')
    .filter((pair) => pair !== '')
    .map((pair): [string, string] => {
      const at = pair.indexOf('=');
      const [name, value] = at < 0 ? [pair, ''] : [pair.slice(0, at), pair.slice(at + 1)];
      return [encode(decode(name)), encode(decode(value))];
    })
    .sort(byCodeUnits)
    .map((pair) => pair.join('='))
    .join('&');

const byCodeUnits = (a: readonly [string, string], b: readonly [string, string]): number =>
  compare(a[0], b[0]) || compare(a[1], b[1]);

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** RFC 3986 unreserved characters stay, all else becomes `%XX`. */
const encode = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch (cause) {
    throw new HoldfastError('ERR_ENDPOINT_INVALID', `the query of the URL is not UTF-8: ${messageOf(cause)}`, {
      hint: 'percent-encode it',
      cause,
    });
  }
}

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');

const sha256Hex = (text: string): string => createHash('sha256').update(text).digest('hex');
