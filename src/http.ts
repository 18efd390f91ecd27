import type { ClientRequest, IncomingMessage } from 'node:http';
import { HoldfastError, messageOf, type ServiceDetails, ServiceError, systemCodeOf } from './errors.ts';
import { interrupted } from './limits.ts';
import type { Tunnel } from './proxy.ts';
import type { HttpProxy } from './proxy-choice.ts';

export interface HttpAnswer {
  readonly status: number;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly body: string;
}

export interface SendOptions {
  /** Ends the request at once. */
  signal?: AbortSignal | undefined;
  /** PEM certificates: all that are trusted. Default: the system's. */
  ca?: readonly string[] | undefined;
  /** Asked to connect us. Default: none. */
  proxy?: HttpProxy | undefined;
  /** Default: 10, 20 and 30 seconds. */
  timeouts?: Timeouts | undefined;
}

/** Milliseconds from the start: until the connection stands (TLS included), until the headers are there, until the end. */
export interface Timeouts {
  readonly connect: number;
  readonly headers: number;
  readonly total: number;
}

/** Sends one POST and waits for its answer: the seam for tests. */
export type Send = (
  request: { readonly url: URL; readonly headers: Readonly<Record<string, string>>; readonly body: string },
  options: SendOptions,
) => Promise<HttpAnswer>;

const TIMEOUTS: Timeouts = { connect: 10_000, headers: 20_000, total: 30_000 };

/** Bytes of an answer that are read; a real one has under 4 KB. */
const ANSWER_LIMIT = 256 * 1024;

/** Each protocol is loaded when it is used: TLS is most of what a start costs. */
export const protocolOf = ({ protocol }: URL): Promise<Pick<typeof import('node:http'), 'request'>> =>
  protocol === 'https:' ? import('node:https') : import('node:http');

/**
 * POST over a connection of its own, without following redirects.
 *
 * @throws {ServiceError} `ERR_SERVICE_UNREACHABLE`, `ERR_SERVICE_TIMEOUT`, `ERR_SERVICE_UNTRUSTED`,
 * `ERR_SERVICE_ANSWER_INVALID`, `ERR_PROXY_REFUSED`
 * @throws {HoldfastError} `ERR_INTERRUPTED`
 */
export const send: Send = async ({ url, headers, body }, { signal, ca: roots, proxy, timeouts = TIMEOUTS }) => {
  const ca = roots && [...roots];
  const { request } = await protocolOf(url);
  const proxies = proxy && (await import('./proxy.ts'));
  if (signal?.aborted) throw interrupted(signal);
  const tunnel = proxy && proxies?.openTunnel(proxy, url, { ca, signal });
  const call = request(url, {
    method: 'POST',
    headers: { ...headers, 'content-length': Buffer.byteLength(body), 'user-agent': 'holdfast' },
    agent: false,
    // Whoever reads a signed request can buy credentials with it: NODE_TLS_REJECT_UNAUTHORIZED=0 does not count here.
    rejectUnauthorized: true,
    ...(signal && { signal }),
    ...(ca && { ca }),
    ...tunnel?.options,
  });
  const where = proxy ? `${url.host} through the proxy ${proxy.description}` : url.host;
  try {
    return await exchange(call, body, { where, isTls: url.protocol === 'https:', signal, timeouts, tunnel });
  } finally {
    tunnel?.close();
  }
};

interface Exchange {
  /** Whom we talk to, for people. */
  readonly where: string;
  readonly isTls: boolean;
  readonly signal: AbortSignal | undefined;
  readonly timeouts: Timeouts;
  readonly tunnel: Tunnel | undefined;
}

function exchange(call: ClientRequest, body: string, context: Exchange): Promise<HttpAnswer> {
  const { where, isTls, timeouts, tunnel } = context;
  return new Promise<HttpAnswer>((resolve, reject) => {
    const started = uptime();
    let timer: NodeJS.Timeout | undefined;
    const fail = (cause: unknown): void => {
      clearTimeout(timer);
      reject(cause instanceof HoldfastError ? cause : failure(cause, call, context));
      call.destroy();
    };
    const limit = (milliseconds: number, missing: string): void => {
      clearTimeout(timer);
      const left = started + milliseconds - uptime();
      const expire = (): void => {
        tunnel?.abandon();
        fail(new TimeoutError(missing));
      };
      timer = setTimeout(expire, Math.max(0, left));
    };
    limit(timeouts.connect, 'no connection to');
    tunnel?.watch(call, fail);
    call.once('socket', (socket) =>
      socket.once(isTls ? 'secureConnect' : 'connect', () => limit(timeouts.headers, 'no answer from')),
    );
    call.on('error', fail);
    call.once('upgrade', ({ statusCode = 101 }, socket) => {
      socket.destroy(); // Node has let go of it
      fail(notTheService(where, `${statusCode} and wants to speak another protocol`, { status: statusCode }));
    });
    // Node says nothing besides when a connection ends in a way that it does not expect.
    let answered = false;
    call.once('close', () => {
      if (!answered) fail(new Error('the connection ended without an answer'));
    });
    call.once('response', (response) => {
      answered = true;
      limit(timeouts.total, 'no complete answer from');
      readAnswer(response, where).then((answer) => {
        clearTimeout(timer);
        resolve(answer);
      }, fail);
    });
    call.end(body);
  });
}

const notTheService = (where: string, what: string, details: ServiceDetails): ServiceError =>
  new ServiceError('ERR_SERVICE_ANSWER_INVALID', `${where} answered ${what}`, {
    hint: 'check the endpoint and any proxy between: this is not how Roles Anywhere answers',
    ...details,
  });

/** Milliseconds by a clock that nobody sets. `performance` would load its module first. */
const uptime = (): number => Number(process.hrtime.bigint() / 1_000_000n);

class TimeoutError extends Error {}

async function readAnswer(response: IncomingMessage, where: string): Promise<HttpAnswer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > ANSWER_LIMIT) {
      throw new ServiceError('ERR_SERVICE_ANSWER_INVALID', `${where} answered with more than ${ANSWER_LIMIT} bytes`, {
        hint: 'check the endpoint: this is not Roles Anywhere',
        status: response.statusCode,
      });
    }
    chunks.push(chunk);
  }
  const headers = Object.entries(response.headers).map(([name, value]) => [name, String(value)]);
  return {
    status: response.statusCode ?? 0,
    headers: Object.fromEntries(headers) as Record<string, string>,
    body: Buffer.concat(chunks).toString('utf8'),
  };
}

/** By the system's or Node's error code, or how it begins. */
const UNREACHABLE_HINTS: readonly (readonly [code: RegExp, hint: string])[] = [
  [/^ENOTFOUND/, 'check the region and the name server: the host name has no address. Behind a proxy, set HTTPS_PROXY'],
  [/^EAI_AGAIN/, 'check the name server: it did not answer. Behind a proxy, set HTTPS_PROXY'],
  [/^ECONNREFUSED/, 'check the endpoint: nothing listens there'],
  [/^(ECONNRESET|EPIPE)/, 'something between here and there ended the connection: try again'],
  [/^(EPROTO|ERR_SSL_)/, 'check the endpoint and its port: the TLS handshake failed there'],
];

/** What OpenSSL says of an answer that is no TLS; Node 20 has it in the message alone. */
const NO_TLS = /wrong.version.number|packet.length.too.long/i;

/** For http, where a port that wants TLS ends the connection, or answers with what is no HTTP. */
const MAYBE_TLS = 'check the endpoint: if TLS is spoken at that port, begin it with https://';

/** Where no other CA would help. */
const UNTRUSTED_HINTS: ReadonlyMap<string, string> = new Map([
  ['CERT_HAS_EXPIRED', "the server's certificate has expired: check the clock of this machine, then the endpoint"],
  [
    'CERT_NOT_YET_VALID',
    "the server's certificate is not valid yet: check the clock of this machine, then the endpoint",
  ],
  ['ERR_TLS_CERT_ALTNAME_INVALID', "the server's certificate is for another host: check the endpoint"],
]);

function failure(cause: unknown, { socket }: ClientRequest, { where, isTls, signal, tunnel }: Exchange): HoldfastError {
  if (signal?.aborted) return interrupted(signal);
  const code = systemCodeOf(cause) ?? messageOf(cause);
  if (cause instanceof TimeoutError || code === 'ETIMEDOUT') {
    const missing = cause instanceof TimeoutError ? cause.message : 'no connection to';
    return new ServiceError('ERR_SERVICE_TIMEOUT', `${missing} ${where} in time`, {
      hint: `check the network, the endpoint and any ${tunnel ? 'proxy or ' : ''}firewall between`,
      cause,
    });
  }
  const withoutTunnel = tunnel?.failure(cause);
  if (withoutTunnel) return withoutTunnel;
  // Node leaves its verdict on the certificate here, before it ends the connection.
  if (socket && 'authorizationError' in socket && socket.authorizationError) {
    return new ServiceError('ERR_SERVICE_UNTRUSTED', `the TLS certificate of ${where} is not trusted (${code})`, {
      hint:
        UNTRUSTED_HINTS.get(code) ??
        `name the private CA that signed it with --ca-bundle or AWS_CA_BUNDLE, if you expect one${tunnel ? ': a proxy that looks into TLS has its own' : ''}`,
      cause,
    });
  }
  if (code.startsWith('HPE_')) {
    // Node keeps what it read in `rawPacket`, and that may hold credentials: it goes no further.
    const details = { cause: new Error(messageOf(cause)), ...(!isTls && { hint: MAYBE_TLS }) };
    return notTheService(where, `with broken HTTP (${code})`, details);
  }
  return new ServiceError('ERR_SERVICE_UNREACHABLE', `${where} was not reached (${code})`, {
    hint: unreachableHint(code, messageOf(cause), isTls),
    cause,
  });
}

function unreachableHint(code: string, message: string, isTls: boolean): string {
  if (isTls && NO_TLS.test(code + message)) {
    return 'check the endpoint and its port: the TLS handshake failed there, and what answered is no TLS; http:// is for this machine only';
  }
  if (!isTls && /^(ECONNRESET|EPIPE|the connection ended)/.test(code)) return MAYBE_TLS;
  return UNREACHABLE_HINTS.find(([pattern]) => pattern.test(code))?.[1] ?? 'check the network and the endpoint';
}
