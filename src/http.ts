import type { IncomingMessage } from 'node:http';
import { HoldfastError, messageOf, ServiceError, systemCodeOf } from './errors.ts';
import { readBounded } from './read-file.ts';

export interface HttpAnswer {
  readonly status: number;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly body: string;
}

export interface SendOptions {
  /** Ends the request at once. */
  signal?: AbortSignal | undefined;
  /** Path of PEM certificates that are trusted besides the system's. */
  caBundle?: string | undefined;
}

/** Sends one POST and waits for its answer: the seam for tests. */
export type Send = (
  request: { readonly url: URL; readonly headers: Readonly<Record<string, string>>; readonly body: string },
  options: SendOptions,
) => Promise<HttpAnswer>;

/** Milliseconds until the connection stands (TLS included), until the headers are there, and in all. */
const TIMEOUTS = { connect: 10_000, headers: 20_000, total: 30_000 } as const;

/** Bytes of an answer that are read; a real one has under 4 KB. */
const ANSWER_LIMIT = 256 * 1024;

/** Bytes of a CA bundle that are read; Debian's whole store has about 220 KB. */
const CA_BUNDLE_LIMIT = 4 * 1024 * 1024;

/**
 * POST over a connection of its own, without following redirects.
 *
 * @throws {ServiceError} `ERR_SERVICE_UNREACHABLE`, `ERR_SERVICE_TIMEOUT`, `ERR_SERVICE_UNTRUSTED`, `ERR_SERVICE_ANSWER_INVALID`
 * @throws {HoldfastError} `ERR_INTERRUPTED`; `ERR_FILE_*` and `ERR_OPTION_INVALID` for the CA bundle
 */
export const send: Send = async ({ url, headers, body }, { signal, caBundle }) => {
  // Each protocol is loaded when it is used: TLS is most of what a start costs.
  const { request } = url.protocol === 'https:' ? await import('node:https') : await import('node:http');
  const ca = caBundle === undefined ? undefined : await trustedRoots(caBundle);
  return new Promise<HttpAnswer>((resolve, reject) => {
    const started = Date.now();
    const call = request(url, {
      method: 'POST',
      headers: { ...headers, 'content-length': Buffer.byteLength(body), 'user-agent': 'holdfast' },
      agent: false,
      ...(signal && { signal }),
      ...(ca && { ca }),
    });
    const limit = (milliseconds: number, what: string): NodeJS.Timeout =>
      setTimeout(() => call.destroy(new TimeoutError(what)), Math.max(0, started + milliseconds - Date.now()));
    let timer = limit(TIMEOUTS.connect, 'no connection');
    const next = (milliseconds: number, what: string): void => {
      clearTimeout(timer);
      timer = limit(milliseconds, what);
    };
    const fail = (cause: unknown): void => {
      clearTimeout(timer);
      reject(cause instanceof HoldfastError ? cause : failure(url, cause, signal));
    };
    call.once('socket', (socket) =>
      socket.once(url.protocol === 'https:' ? 'secureConnect' : 'connect', () => next(TIMEOUTS.headers, 'no answer')),
    );
    call.once('error', fail);
    call.once('response', (response) => {
      next(TIMEOUTS.total, 'no complete answer');
      readAnswer(response, url).then((answer) => {
        clearTimeout(timer);
        resolve(answer);
      }, fail);
    });
    call.end(body);
  });
};

class TimeoutError extends Error {}

async function readAnswer(response: IncomingMessage, url: URL): Promise<HttpAnswer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > ANSWER_LIMIT) {
      response.destroy();
      throw new ServiceError(
        'ERR_SERVICE_ANSWER_INVALID',
        `${url.host} answered with more than ${ANSWER_LIMIT} bytes`,
        {
          hint: 'check the endpoint: this is not Roles Anywhere',
          status: response.statusCode,
        },
      );
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

/** Setting `ca` replaces every root, so the system's, those of NODE_EXTRA_CA_CERTS and the bundle's are put together. */
async function trustedRoots(caBundle: string): Promise<string[]> {
  const tls: typeof import('node:tls') & { getCACertificates?: (type: string) => string[] } = await import('node:tls');
  const read = async (path: string): Promise<string> =>
    (await readBounded(path, { limit: CA_BUNDLE_LIMIT, what: 'CA bundle' })).data.toString('utf8');
  const bundle = await read(caBundle);
  if (!bundle.includes('-----BEGIN CERTIFICATE-----')) {
    throw new HoldfastError('ERR_OPTION_INVALID', `the CA bundle ${caBundle} holds no PEM certificate`, {
      hint: 'name a file of PEM certificates',
    });
  }
  if (tls.getCACertificates) return [...tls.getCACertificates('default'), bundle];
  const extra = process.env.NODE_EXTRA_CA_CERTS;
  return [...tls.rootCertificates, ...(extra ? [await read(extra)] : []), bundle];
}

/** What OpenSSL and Node call a server certificate that is not trusted. */
const UNTRUSTED: ReadonlySet<string> = new Set([
  'CERT_HAS_EXPIRED',
  'CERT_NOT_YET_VALID',
  'CERT_REJECTED',
  'CERT_SIGNATURE_FAILURE',
  'CERT_UNTRUSTED',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'ERR_TLS_CERT_ALTNAME_INVALID',
  'HOSTNAME_MISMATCH',
  'INVALID_CA',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
]);

function failure(url: URL, cause: unknown, signal: AbortSignal | undefined): HoldfastError {
  if (signal?.aborted) return interrupted(signal);
  const code = systemCodeOf(cause) ?? messageOf(cause);
  if (cause instanceof TimeoutError || code === 'ETIMEDOUT') {
    const what = cause instanceof TimeoutError ? cause.message : 'no connection';
    return new ServiceError('ERR_SERVICE_TIMEOUT', `${what} from ${url.host} in time`, {
      hint: 'check the network, the endpoint and any firewall between',
      cause,
    });
  }
  if (UNTRUSTED.has(code)) {
    return new ServiceError('ERR_SERVICE_UNTRUSTED', `the TLS certificate of ${url.host} is not trusted (${code})`, {
      hint: 'name the private CA that signed it with --ca-bundle or AWS_CA_BUNDLE, if you expect one',
      cause,
    });
  }
  const hints: Record<string, string> = {
    ENOTFOUND: 'check the region and the name server: the host name has no address',
    EAI_AGAIN: 'check the name server: it did not answer',
    ECONNREFUSED: 'check the endpoint: nothing listens there',
    ECONNRESET: 'something between here and there ended the connection: try again',
  };
  return new ServiceError('ERR_SERVICE_UNREACHABLE', `${url.host} was not reached (${code})`, {
    hint: hints[code] ?? 'check the network and the endpoint',
    cause,
  });
}

/** The error for an aborted signal; a deadline aborts with its own error as the reason. */
export function interrupted(signal: AbortSignal): HoldfastError {
  if (signal.reason instanceof HoldfastError) return signal.reason;
  return new HoldfastError('ERR_INTERRUPTED', 'interrupted before it was done', { cause: signal.reason });
}
