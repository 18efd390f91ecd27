import { isLoopback } from './endpoint.ts';
import { HoldfastError } from './errors.ts';

/** A proxy, and who names it: errors say so. */
export interface NamedProxy {
  readonly url: string;
  /** For people: `--proxy`, `HOLDFAST_PROXY`. */
  readonly origin: string;
}

/** A proxy that is asked to connect us. Nothing that prints it prints its password. */
export interface HttpProxy {
  /** Without user name and password. */
  readonly url: URL;
  /** For people: `proxy.example:3128 (from HTTPS_PROXY)`. */
  readonly description: string;
  /** Where it was named: `HTTPS_PROXY`, `https_proxy`, `the proxy option`, or what the option says. */
  readonly origin: string;
  /** How to go without it. */
  readonly without: string;
  /** The value of `Proxy-Authorization`; undefined where no user was named. A function, because nothing prints what it returns. */
  authorization(): string | undefined;
}

/**
 * The proxy that applies to a request, if one does. The rules are those of Go's net/http, which the reference client
 * follows: the variables are HTTPS_PROXY and NO_PROXY, then their lower-case forms, and this machine is never reached
 * through a proxy. Neither is it through one that `given` names; NO_PROXY does not concern that one.
 *
 * @param given the proxy, or false for none. Default: as the environment has it
 * @throws {HoldfastError} `ERR_OPTION_INVALID`, without the URL
 */
export function chooseProxy(
  { hostname, port }: URL,
  given: string | NamedProxy | false | undefined,
  env: NodeJS.ProcessEnv = process.env,
): HttpProxy | undefined {
  if (given === false) return undefined;
  if (given !== undefined) {
    const proxy =
      typeof given === 'string'
        ? parseProxy({ url: given, origin: 'the proxy option' }, 'proxy: false')
        : parseProxy(given, '--proxy off');
    return isLoopback(hostname) ? undefined : proxy;
  }
  const origin = ['HTTPS_PROXY', 'https_proxy'].find((name) => env[name]);
  if (origin === undefined || isLoopback(hostname)) return undefined;
  const exempt = (env.NO_PROXY || env.no_proxy || '').toLowerCase().split(/[\s,]+/);
  if (exempt.some((entry) => covers(entry, withoutBrackets(hostname), port || '443'))) return undefined;
  return parseProxy({ url: env[origin] as string, origin }, 'NO_PROXY, --proxy off');
}

/** An import would load parts of `node:net` that only NO_PROXY wants, at each start. */
const isIP = (text: string): number => process.getBuiltinModule('node:net').isIP(text);

const withoutBrackets = (host: string): string => host.replace(/^\[|\]$/g, '');

/** Does one entry of NO_PROXY mean this host and port? One that makes no sense means nothing, as in Go. */
function covers(entry: string, host: string, port: string): boolean {
  if (entry === '*') return true;
  const [, network = '', bits] = /^(.+)\/(\d{1,3})$/.exec(entry) ?? [];
  if (bits !== undefined) return isWithin(host, network, Number(bits));
  // A bare IPv6 address has colons of its own.
  const [, bracketed, plain = '', only] = /^(?:\[(.+)\]|([^:]+))(?::(\d+))?$/.exec(entry) ?? [];
  const name = bracketed ?? (plain || entry);
  if (name === '' || (only !== undefined && only !== port)) return false;
  if (isIP(name) || isIP(host)) return isWithin(host, name, isIP(name) === 6 ? 128 : 32);
  const suffix = name.replace(/^\*\./, '.');
  return suffix.startsWith('.') ? host.endsWith(suffix) : host === suffix || host.endsWith(`.${suffix}`);
}

function isWithin(host: string, network: string, bits: number): boolean {
  const version = isIP(network);
  if (version === 0 || isIP(host) === 0 || bits > (version === 6 ? 128 : 32)) return false;
  const list = new (process.getBuiltinModule('node:net').BlockList)();
  list.addSubnet(network, bits, version === 6 ? 'ipv6' : 'ipv4');
  return list.check(host, isIP(host) === 6 ? 'ipv6' : 'ipv4');
}

const EXAMPLE = 'write it like http://proxy.example:3128';

/** It may hold a password: no message repeats any of it before it is taken apart. */
function parseProxy({ url: text, origin }: NamedProxy, without: string): HttpProxy {
  const refuse = (message: string, hint: string): never => {
    throw new HoldfastError('ERR_OPTION_INVALID', `${origin} ${message}`, { hint });
  };
  const written = /^[a-z][a-z\d+.-]*:\/\//i.test(text) ? text : `http://${text}`;
  if (!URL.canParse(written)) return refuse('is no URL', EXAMPLE);
  const url = new URL(written);
  if (!/^https?:$/.test(url.protocol)) return refuse('is no http or https proxy', EXAMPLE);
  // Most likely a password with one of these characters: what seems to be host and port is a part of it.
  if (url.pathname !== '/' || url.search || url.hash) {
    return refuse('has more than a host and a port', 'percent-encode / ? # and @ in user name and password');
  }
  let user = '';
  try {
    user = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
  } catch {
    return refuse('has a "%" that is not percent-encoding', 'percent-encode user name and password: % is %25');
  }
  url.username = '';
  url.password = '';
  const port = url.port || (url.protocol === 'https:' ? '443' : '80');
  return {
    url,
    description: `${url.hostname}:${port} (from ${origin})`,
    origin,
    without,
    authorization: () => (user === ':' ? undefined : `Basic ${Buffer.from(user).toString('base64')}`),
  };
}
