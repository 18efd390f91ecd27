import { createHash } from 'node:crypto';
import { headerOf, pathOf, queryOf, type WireRequest } from './wire.ts';

// Signature Version 4 from the receiving end: everything is rebuilt from what came over the wire.

/** What an Authorization header says. */
export interface Authorization {
  readonly algorithm: string;
  /** Access key id, or decimal serial number of a certificate. */
  readonly id: string;
  readonly date: string;
  readonly region: string;
  readonly service: string;
  readonly terminator: string;
  readonly signedHeaders: readonly string[];
  readonly signature: Uint8Array;
}

const AUTHORIZATION = /^(\S+) Credential=([^\s,]+), SignedHeaders=([a-z0-9;-]+), Signature=((?:[0-9a-f]{2})+)$/;

/** The Authorization header in its parts; undefined when it is missing or ill-formed: header names come sorted, too. */
export function readAuthorization(request: WireRequest): Authorization | undefined {
  const match = AUTHORIZATION.exec(headerOf(request, 'authorization') ?? '');
  if (!match) return undefined;
  const [algorithm, credential, names, signature] = match.slice(1) as [string, string, string, string];
  const [id, date, region, service, terminator, ...more] = credential.split('/');
  if (!id || !date || !region || !service || !terminator || more.length > 0) return undefined;
  const signedHeaders = names.split(';');
  if (signedHeaders.some((name, index) => name === '' || name <= (signedHeaders[index - 1] ?? ''))) return undefined;
  return { algorithm, id, date, region, service, terminator, signedHeaders, signature: Buffer.from(signature, 'hex') };
}

/** The time in X-Amz-Date (`20260101T000000Z`); undefined when it is missing, or no day of the calendar. */
export function readDate(request: WireRequest): Date | undefined {
  const text = headerOf(request, 'x-amz-date') ?? '';
  const date = new Date(text.replace(/^(....)(..)(..)T(..)(..)(..)Z$/, '$1-$2-$3T$4:$5:$6Z'));
  if (Number.isNaN(date.getTime())) return undefined;
  // 30 February would become a day in March.
  return date.toISOString().replace(/[:-]|\.\d{3}/g, '') === text ? date : undefined;
}

const encode = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (mark) => `%${mark.charCodeAt(0).toString(16).toUpperCase()}`);

function canonicalQuery(request: WireRequest): string | undefined {
  const pairs = queryOf(request)?.map(([name, value]) => [encode(name), encode(value)] as const);
  const order = (left: string, right: string) => (left < right ? -1 : left > right ? 1 : 0);
  pairs?.sort((left, right) => order(left[0], right[0]) || order(left[1], right[1]));
  return pairs?.map(([name, value]) => `${name}=${value}`).join('&');
}

export const sha256 = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex');

/**
 * The bytes the sender must have signed, from the header list it names.
 *
 * @param host stands in for the Host header that came
 * @returns undefined when a header it names did not come, or the query cannot be read
 */
export function stringToSign(
  request: WireRequest,
  authorization: Authorization,
  host: string | undefined = headerOf(request, 'host'),
): Uint8Array | undefined {
  const query = canonicalQuery(request);
  if (query === undefined) return undefined;
  const lines: string[] = [];
  for (const name of authorization.signedHeaders) {
    const value = name === 'host' ? host : headerOf(request, name);
    if (value === undefined) return undefined;
    lines.push(`${name}:${value}\n`);
  }
  const { algorithm, date, region, service, terminator, signedHeaders } = authorization;
  const canonicalRequest = [
    request.method,
    pathOf(request),
    query,
    lines.join(''),
    signedHeaders.join(';'),
    sha256(request.body),
  ].join('\n');
  const scope = [date, region, service, terminator].join('/');
  // Node hands out header bytes as latin1: back to the bytes that came.
  const digest = sha256(Buffer.from(canonicalRequest, 'latin1'));
  return Buffer.from([algorithm, headerOf(request, 'x-amz-date') ?? '', scope, digest].join('\n'));
}
