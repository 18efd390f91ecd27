// A CreateSession request signed by the book (SigV4-X509) and by nothing of holdfast: the local service's other side.
import { createHash, type KeyObject, sign, X509Certificate } from 'node:crypto';
import { type IncomingHttpHeaders, type IncomingMessage, request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { isMlDsa } from './certificate-maker.ts';

export interface TestIdentity {
  readonly key: KeyObject;
  /** DER. */
  readonly certificate: Uint8Array;
  /** DER. */
  readonly chain: readonly Uint8Array[];
}

export interface Plan {
  identity: TestIdentity;
  /** As in the Host header. */
  host: string;
  region?: string;
  date: Date;
  /** Sent as JSON; a string goes as it is. */
  body: unknown;
  query?: readonly (readonly [string, string])[];
  // What follows breaks a rule and is signed all the same.
  method?: string;
  path?: string;
  algorithm?: string;
  serial?: string;
  scope?: { date?: string; region?: string; service?: string; terminator?: string };
  /** Sign the headers in the reverse of their order. */
  reversed?: boolean;
  /** Signed in place of the Host header. */
  signedHost?: string;
  /** Names to leave out of the signature. */
  unsigned?: readonly string[];
  /** More headers, signed; undefined takes one away. */
  headers?: Readonly<Record<string, string | undefined>>;
  /** Makes the signature instead of the key: gets the string to sign. */
  sign?: (message: Buffer) => Buffer;
}

export interface SignedRequest {
  readonly method: string;
  readonly target: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly body: Buffer;
}

const sha256 = (data: string | Uint8Array) => createHash('sha256').update(data).digest('hex');
const base64 = (data: Uint8Array) => Buffer.from(data).toString('base64');
const encode = (text: string) =>
  Array.from(Buffer.from(text), (byte) => {
    const letter = String.fromCharCode(byte);
    return /[A-Za-z0-9\-_.~]/.test(letter) ? letter : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }).join('');

const algorithmOf = (key: KeyObject): string => {
  if (isMlDsa(key)) return 'AWS4-X509-MLDSA';
  return key.asymmetricKeyType === 'rsa' ? 'AWS4-X509-RSA-SHA256' : 'AWS4-X509-ECDSA-SHA256';
};

export function signRequest(plan: Plan): SignedRequest {
  const { identity, host, date, method = 'POST', path = '/sessions' } = plan;
  const body = Buffer.from(typeof plan.body === 'string' ? plan.body : JSON.stringify(plan.body));
  const timestamp = `${date.toISOString().replace(/[-:]/g, '').slice(0, 15)}Z`;
  const wanted: Record<string, string | undefined> = {
    'Content-Type': 'application/json',
    Host: host,
    'X-Amz-Date': timestamp,
    'X-Amz-X509': base64(identity.certificate),
    ...(identity.chain.length > 0 ? { 'X-Amz-X509-Chain': identity.chain.map(base64).join(',') } : {}),
    ...plan.headers,
  };
  const headers = Object.entries(wanted).filter((entry): entry is [string, string] => entry[1] !== undefined);
  const signed = headers
    .map(([name, value]) => [name.toLowerCase(), name === 'Host' ? (plan.signedHost ?? value) : value] as const)
    .filter(([name]) => !plan.unsigned?.includes(name))
    .sort(([left], [right]) => (left < right === !plan.reversed ? -1 : 1));
  const names = signed.map(([name]) => name).join(';');
  const query = (plan.query ?? []).map(([name, value]) => `${encode(name)}=${encode(value)}`).sort();
  const lines = signed.map(([name, value]) => `${name}:${value.trim().replace(/ +/g, ' ')}\n`).join('');
  const canonical = `${method}\n${path}\n${query.join('&')}\n${lines}\n${names}\n${sha256(body)}`;

  const scope = {
    date: timestamp.slice(0, 8),
    region: plan.region ?? 'us-east-1',
    service: 'rolesanywhere',
    terminator: 'aws4_request',
    ...plan.scope,
  };
  const scopeText = `${scope.date}/${scope.region}/${scope.service}/${scope.terminator}`;
  const algorithm = plan.algorithm ?? algorithmOf(identity.key);
  const message = Buffer.from(`${algorithm}\n${timestamp}\n${scopeText}\n${sha256(canonical)}`);
  const signature = plan.sign?.(message) ?? sign(isMlDsa(identity.key) ? null : 'sha256', message, identity.key);
  const serial = plan.serial ?? BigInt(`0x${new X509Certificate(identity.certificate).serialNumber}`).toString();
  const authorization = `${algorithm} Credential=${serial}/${scopeText}, SignedHeaders=${names}, Signature=${signature.toString('hex')}`;
  // On the wire the query goes in another order than it was signed in.
  const target = query.length > 0 ? `${path}?${query.toReversed().join('&')}` : path;
  return { method, target, headers: [...headers, ['Authorization', authorization]], body };
}

export interface Received {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

/** Put a request on the wire as it is. */
export function send(
  endpoint: string,
  { method, target, headers, body }: SignedRequest,
  { chunked = false, ca }: { chunked?: boolean; ca?: string | undefined } = {},
): Promise<Received> {
  const framing: [string, string][] = chunked
    ? [['Transfer-Encoding', 'chunked']]
    : [['Content-Length', String(body.length)]];
  const { hostname, port, protocol } = new URL(endpoint);
  const start = protocol === 'https:' ? requestHttps : requestHttp;
  return new Promise((resolve, reject) => {
    const outgoing = start({
      hostname,
      port,
      method,
      path: target,
      headers: [...headers, ...framing].flat() as unknown as Record<string, string>,
      setHost: false,
      agent: false,
      ...(ca === undefined ? {} : { ca }),
    });
    outgoing.on('error', reject);
    outgoing.on('response', (incoming: IncomingMessage) => {
      const chunks: Buffer[] = [];
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
      incoming.on('error', reject);
      incoming.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, text });
      });
    });
    const half = body.length >> 1;
    if (chunked) outgoing.write(body.subarray(0, half));
    outgoing.end(chunked ? body.subarray(half) : body);
  });
}
