import type { ClientRequest } from 'node:http';
import type { RequestOptions } from 'node:https';
import { checkServerIdentity } from 'node:tls';
import { HttpsProxyAgent } from 'https-proxy-agent';
import { ServiceError, systemCodeOf } from './errors.ts';
import type { HttpProxy } from './proxy-choice.ts';

/** One request's way through a proxy. */
export interface Tunnel {
  /** For the request that goes through it. */
  readonly options: RequestOptions;
  /** Look after the request: `fail` gets the proxy's refusal. */
  watch(call: ClientRequest, fail: (refusal: ServiceError) => void): void;
  /** What ended the request, in words; undefined once the tunnel stands: then it was not the proxy's connection. */
  failure(cause: unknown): ServiceError | undefined;
  /** Give up a connection that does not come about. To be called from a timer: see {@link openTunnel}. */
  abandon(): void;
  /** The request is over. */
  close(): void;
}

interface TunnelOptions {
  /** PEM of the roots for the proxy's own certificate. Default: Node's. */
  ca: string[] | undefined;
  signal: AbortSignal | undefined;
}

/** What the proxy said to CONNECT, as the library tells it: not a number when it was no HTTP. */
interface ProxyAnswer {
  readonly statusCode: number;
  readonly headers: Readonly<Record<string, string | string[]>>;
}

/**
 * Prepare a way through a proxy: CONNECT, with Basic credentials if it has any, and TLS to the endpoint inside.
 *
 * The library connects when the request begins, and forgets that connection when the request ends early: it would stay
 * until the proxy ends it. So it gets a signal. While CONNECT is unanswered the library listens for errors of the
 * connection; afterwards nobody does, and an abort would end the process. Seen from a timer or an immediate there is
 * nothing between the two, so the signal fires from there only, and only while the tunnel is awaited.
 */
export function openTunnel(proxy: HttpProxy, url: URL, { ca, signal }: TunnelOptions): Tunnel {
  const end = new AbortController();
  let isAwaited = true;
  const agent = new HttpsProxyAgent(proxy.url, {
    // Not in the URL: the library writes that to stderr under DEBUG=*.
    headers: () => headersFor(proxy),
    signal: end.signal,
    rejectUnauthorized: true,
    ...(ca && { ca }),
  });
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const abandon = (): void => {
    if (isAwaited) end.abort();
  };
  const interrupt = (): void => void setImmediate(abandon);
  signal?.addEventListener('abort', interrupt, { once: true });
  const close = (): void => {
    isAwaited = false;
    signal?.removeEventListener('abort', interrupt);
  };
  return {
    options: {
      agent,
      // For an endpoint that is an IP address the library has Node compare the certificate with the proxy's name.
      checkServerIdentity: (_name, certificate) => checkServerIdentity(host, certificate),
    },
    watch(call, fail) {
      // The library would hand on the proxy's own answer as if it were the service's.
      call.once('proxyConnect', (answer: ProxyAnswer) => {
        if (answer.statusCode === 200) close();
        else fail(refusal(answer, proxy, url));
      });
    },
    failure: (cause) => (isAwaited ? noTunnel(cause, proxy) : undefined),
    abandon,
    close,
  };
}

function headersFor(proxy: HttpProxy): Record<string, string> {
  const authorization = proxy.authorization();
  return { 'User-Agent': 'holdfast', ...(authorization && { 'Proxy-Authorization': authorization }) };
}

const orWithout = ({ origin, without }: HttpProxy): string => `check ${origin}, or go without a proxy: ${without}`;

/** An answer to CONNECT other than 200. */
function refusal({ statusCode: status, headers }: ProxyAnswer, proxy: HttpProxy, url: URL): ServiceError {
  if (!(status >= 100 && status < 1000)) return noHttp(proxy);
  const message = `the proxy ${proxy.description} answered ${status} to CONNECT ${url.hostname}:${url.port || 443}`;
  if (status >= 500) {
    return new ServiceError('ERR_SERVICE_UNREACHABLE', message, {
      hint: `the proxy did not get there: check the region and the endpoint, then ask who runs the proxy`,
    });
  }
  const hint =
    status === 407 ? credentialsHint(headers['proxy-authenticate'], proxy) : 'ask who runs the proxy to allow it';
  return new ServiceError('ERR_PROXY_REFUSED', message, { hint });
}

function credentialsHint(challenges: string | string[] = [], proxy: HttpProxy): string {
  const schemes = [challenges].flat().map((challenge) => /^[\w-]{1,20}/.exec(challenge)?.[0] ?? '');
  if (schemes.length > 0 && !schemes.some((scheme) => /^basic$/i.test(scheme))) {
    return `use a proxy that takes Basic, or put one between that speaks ${schemes.filter(Boolean).join(' or ')}`;
  }
  return proxy.authorization() === undefined
    ? `put a user name and a password into ${proxy.origin}: http://USER:PASSWORD@HOST:PORT`
    : `check user name and password in ${proxy.origin}; percent-encode what is not a letter or a digit`;
}

/** As Node's TLS names what is wrong with a certificate. */
const UNTRUSTED = /CERT|ISSUER|LEAF_SIGNATURE|^INVALID_|HOSTNAME_MISMATCH|PATH_LENGTH/;

/** No answer to CONNECT. */
function noTunnel(cause: unknown, proxy: HttpProxy): ServiceError {
  const code = systemCodeOf(cause);
  // The library's own errors repeat what the proxy sent.
  if (code === undefined) return noHttp(proxy);
  if (UNTRUSTED.test(code)) {
    return new ServiceError(
      'ERR_SERVICE_UNTRUSTED',
      `the TLS certificate of the proxy ${proxy.description} is not trusted (${code})`,
      { hint: 'name the private CA that signed it with --ca-bundle or AWS_CA_BUNDLE, if you expect one', cause },
    );
  }
  const hint = /^(EPROTO|ERR_SSL_)/.test(code)
    ? `the TLS handshake failed: most proxies are http://, also for https endpoints; check ${proxy.origin}`
    : orWithout(proxy);
  const message = `the proxy ${proxy.description} was not reached (${code})`;
  return new ServiceError('ERR_SERVICE_UNREACHABLE', message, { hint, cause });
}

const noHttp = (proxy: HttpProxy): ServiceError =>
  new ServiceError(
    'ERR_SERVICE_UNREACHABLE',
    `the proxy ${proxy.description} ended the connection, or speaks no HTTP`,
    { hint: orWithout(proxy) },
  );
