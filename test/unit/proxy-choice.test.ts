import { inspect } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { chooseProxy, type NamedProxy } from '../../src/proxy-choice.ts';
import { basic } from '../helpers/proxies.ts';

const ENDPOINT = 'https://rolesanywhere.eu-central-1.amazonaws.com/sessions';
const PROXY = 'http://proxy.example:3128';

/** The proxy in the environment that applies to an endpoint. */
const described = (
  env: NodeJS.ProcessEnv,
  endpoint = ENDPOINT,
  given?: string | NamedProxy | false,
): string | undefined => chooseProxy(new URL(endpoint), given, env)?.description;

describe('the environment', () => {
  test.each<[what: string, env: NodeJS.ProcessEnv, description: string | undefined]>([
    ['has none', {}, undefined],
    ['has an empty one', { HTTPS_PROXY: '', https_proxy: '' }, undefined],
    ['upper case', { HTTPS_PROXY: PROXY }, 'proxy.example:3128 (from HTTPS_PROXY)'],
    ['lower case', { https_proxy: PROXY }, 'proxy.example:3128 (from https_proxy)'],
    ['both', { HTTPS_PROXY: 'http://a', https_proxy: 'http://b' }, 'a:80 (from HTTPS_PROXY)'],
    ['upper case empty', { HTTPS_PROXY: '', https_proxy: 'http://b' }, 'b:80 (from https_proxy)'],
    ['an https proxy', { HTTPS_PROXY: 'https://proxy.example/' }, 'proxy.example:443 (from HTTPS_PROXY)'],
    ['without a scheme', { HTTPS_PROXY: 'proxy.example:3128' }, 'proxy.example:3128 (from HTTPS_PROXY)'],
    ['without a scheme and port', { HTTPS_PROXY: 'me:pw@Proxy.example' }, 'proxy.example:80 (from HTTPS_PROXY)'],
    ['IPv6', { HTTPS_PROXY: 'http://[2001:db8::1]:3128' }, '[2001:db8::1]:3128 (from HTTPS_PROXY)'],
    ['those for other things', { HTTP_PROXY: PROXY, http_proxy: PROXY, ALL_PROXY: PROXY, all_proxy: PROXY }, undefined],
  ])('%s', (_what, env, description) => {
    expect(described(env)).toBe(description);
  });
});

describe('NO_PROXY', () => {
  const DIRECT = true;
  const PROXIED = false;

  test.each<[list: string, endpoint: string, isDirect: boolean]>([
    // an exact host, and what is below it
    ['rolesanywhere.eu-central-1.amazonaws.com', ENDPOINT, DIRECT],
    ['RolesAnywhere.EU-central-1.AmazonAWS.com', ENDPOINT, DIRECT],
    ['amazonaws.com', ENDPOINT, DIRECT],
    ['azonaws.com', ENDPOINT, PROXIED],
    ['rolesanywhere', ENDPOINT, PROXIED],
    ['a.rolesanywhere.eu-central-1.amazonaws.com', ENDPOINT, PROXIED],
    // a suffix
    ['.amazonaws.com', ENDPOINT, DIRECT],
    ['*.amazonaws.com', ENDPOINT, DIRECT],
    ['.amazonaws.com', 'https://amazonaws.com/', PROXIED],
    ['*.amazonaws.com', 'https://amazonaws.com/', PROXIED],
    ['.zonaws.com', ENDPOINT, PROXIED],
    ['*amazonaws.com', ENDPOINT, PROXIED],
    // everything
    ['*', ENDPOINT, DIRECT],
    ['a.example,*', 'https://10.0.0.1/', DIRECT],
    // a port
    ['amazonaws.com:443', ENDPOINT, DIRECT],
    ['.amazonaws.com:443', ENDPOINT, DIRECT],
    ['amazonaws.com:8443', ENDPOINT, PROXIED],
    ['here.example:8443', 'https://here.example:8443/', DIRECT],
    ['here.example:443', 'https://here.example:8443/', PROXIED],
    ['here.example', 'https://here.example:8443/', DIRECT],
    // addresses
    ['10.1.2.3', 'https://10.1.2.3/', DIRECT],
    ['10.1.2.3', 'https://10.1.2.30/', PROXIED],
    ['10.1.2.3:443', 'https://10.1.2.3/', DIRECT],
    ['10.1.2.3:444', 'https://10.1.2.3/', PROXIED],
    ['2001:db8::7', 'https://[2001:db8:0:0::7]/', DIRECT],
    ['[2001:db8::7]', 'https://[2001:db8::7]/', DIRECT],
    ['[2001:db8::7]:443', 'https://[2001:db8::7]/', DIRECT],
    ['[2001:db8::7]:444', 'https://[2001:db8::7]/', PROXIED],
    ['2001:db8::8', 'https://[2001:db8::7]/', PROXIED],
    ['.2.3', 'https://10.1.2.3/', PROXIED],
    ['2.3', 'https://10.1.2.3/', PROXIED],
    // networks
    ['10.0.0.0/8', 'https://10.1.2.3/', DIRECT],
    ['10.1.2.128/25', 'https://10.1.2.127/', PROXIED],
    ['0.0.0.0/0', 'https://10.1.2.3/', DIRECT],
    ['2001:db8::/32', 'https://[2001:db8::7]/', DIRECT],
    ['2001:db9::/32', 'https://[2001:db8::7]/', PROXIED],
    ['10.0.0.0/8', ENDPOINT, PROXIED],
    ['10.0.0.0/8', 'https://[2001:db8::7]/', PROXIED],
    // lists
    ['a.example, amazonaws.com ,b.example', ENDPOINT, DIRECT],
    ['a.example amazonaws.com', ENDPOINT, DIRECT],
    ['\ta.example\n,,amazonaws.com,', ENDPOINT, DIRECT],
    ['a.example,b.example', ENDPOINT, PROXIED],
    // nonsense
    ['10.0.0.0/33,::/129,/8,a/8,:443,.,[,[]:1,http://amazonaws.com/,amazonaws.com:https', ENDPOINT, PROXIED],
    ['10.0.0.0/33', 'https://10.0.0.0/', PROXIED],
    ['', ENDPOINT, PROXIED],
    [' , ', ENDPOINT, PROXIED],
  ])('%j and %s: direct %p', (list, endpoint, isDirect) => {
    expect(described({ HTTPS_PROXY: PROXY, NO_PROXY: list }, endpoint) === undefined).toBe(isDirect);
  });

  test('in lower case, which the other one beats', () => {
    expect(described({ HTTPS_PROXY: PROXY, no_proxy: 'amazonaws.com' })).toBeUndefined();
    expect(described({ HTTPS_PROXY: PROXY, no_proxy: '*', NO_PROXY: '' })).toBeUndefined();
    expect(described({ HTTPS_PROXY: PROXY, no_proxy: '*', NO_PROXY: 'a.example' })).toBeDefined();
  });

  test('keeps a wrong proxy from mattering', () => {
    expect(described({ HTTPS_PROXY: 'socks5://proxy.example', NO_PROXY: 'amazonaws.com' })).toBeUndefined();
  });
});

test.each(['localhost', 'localhost:8443', '127.0.0.1', '127.8.9.10:1', '[::1]:8443'])(
  '%s is this machine: no proxy, whoever names one',
  (host) => {
    expect(described({ HTTPS_PROXY: PROXY }, `https://${host}/`)).toBeUndefined();
    expect(described({}, `https://${host}/`, PROXY)).toBeUndefined();
  },
);

describe('the option', () => {
  const env = { HTTPS_PROXY: PROXY, NO_PROXY: '*' };

  test('false: none', () => {
    expect(described({ HTTPS_PROXY: PROXY }, ENDPOINT, false)).toBeUndefined();
    expect(described({ HTTPS_PROXY: 'nonsense://' }, ENDPOINT, false)).toBeUndefined();
  });

  test('a URL: that one, whatever the environment says', () => {
    expect(described(env, ENDPOINT, 'http://mine.example')).toBe('mine.example:80 (from the proxy option)');
  });

  test('says where its URL is from', () => {
    const origin = 'proxy in line 3 of /etc/holdfast';
    const mine = { url: 'http://me:SECRET@mine.example', origin };
    expect(described(env, ENDPOINT, mine)).toBe(`mine.example:80 (from ${origin})`);
    expect(() => described(env, ENDPOINT, { ...mine, url: 'socks5://me:SECRET@x' })).toThrow(`${origin} is no http or`);
  });

  test.each<[origin: string, given: string | NamedProxy | undefined, without: string]>([
    ['https_proxy', undefined, 'NO_PROXY, --proxy off'],
    ['the proxy option', PROXY, 'proxy: false'],
    ['HOLDFAST_PROXY', { url: PROXY, origin: 'HOLDFAST_PROXY' }, '--proxy off'],
  ])('the way out is one that helps against %s', (origin, given, without) => {
    const proxy = chooseProxy(new URL(ENDPOINT), given, { https_proxy: PROXY });
    expect(proxy).toMatchObject({ origin, without });
  });

  test('a wrong one is refused for this machine, too', () => {
    expect(() => described({}, 'http://127.0.0.1/', 'ftp://mine.example')).toThrow('the proxy option is no http');
  });
});

describe('user name and password', () => {
  const authorization = (url: string): string | undefined => chooseProxy(new URL(ENDPOINT), url, {})?.authorization();

  test.each<[url: string, authorization: string | undefined]>([
    ['http://proxy.example', undefined],
    ['http://me:pass@proxy.example', basic('me', 'pass')],
    ['me:pass@proxy.example:3128', basic('me', 'pass')],
    ['http://me@proxy.example', basic('me', '')],
    ['http://me:@proxy.example', basic('me', '')],
    ['http://:pass@proxy.example', basic('', 'pass')],
    ['http://DOMAIN%5Cme:p%40%3A%2F%3F%23%25%C3%BC@proxy.example', basic('DOMAIN\\me', 'p@:/?#%ü')],
    ['http://me:p@ss@proxy.example', basic('me', 'p@ss')],
  ])('%s', (url, expected) => {
    expect(authorization(url)).toBe(expected);
  });

  test('print nowhere', () => {
    const proxy = chooseProxy(new URL(ENDPOINT), 'http://NAME:PASS@proxy.example', {});
    const printed = `${inspect(proxy, { depth: 9, showHidden: true })} ${JSON.stringify(proxy)} ${proxy?.url.href}`;
    expect(printed).toContain('proxy.example');
    for (const secret of ['NAME', 'PASS', basic('NAME', 'PASS').slice(6)]) expect(printed).not.toContain(secret);
  });
});

describe('what is no proxy', () => {
  test.each<[url: string, message: string]>([
    ['', 'the proxy option is no URL'],
    ['http://', 'the proxy option is no URL'],
    ['http://SECRET:SECRET@', 'the proxy option is no URL'],
    ['http://me:SECRET@proxy.example:port', 'the proxy option is no URL'],
    ['socks5://me:SECRET@proxy.example', 'the proxy option is no http or https proxy'],
    ['ftp://me:SECRET@proxy.example', 'the proxy option is no http or https proxy'],
    // A password that is not percent-encoded: the URL has it elsewhere.
    ['http://me:1/SECRET@proxy.example', 'the proxy option has more than a host and a port'],
    ['http://me:1?SECRET@proxy.example', 'the proxy option has more than a host and a port'],
    ['http://me:1#SECRET@proxy.example', 'the proxy option has more than a host and a port'],
    ['http://proxy.example/path', 'the proxy option has more than a host and a port'],
    ['http://me:SECRET%@proxy.example', 'the proxy option has a "%" that is not percent-encoding'],
    ['http://me:SECRET%FF@proxy.example', 'the proxy option has a "%" that is not percent-encoding'],
  ])('%s', (url, message) => {
    let thrown: unknown;
    try {
      chooseProxy(new URL(ENDPOINT), url, {});
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toMatchObject({ code: 'ERR_OPTION_INVALID', message, hint: expect.any(String) });
    expect(inspect(thrown, { depth: 9, showHidden: true }).replace(/\n +at .*/g, '')).not.toContain('SECRET');
  });

  test('names the variable', () => {
    expect(() => described({ https_proxy: 'socks5://proxy.example' })).toThrow('https_proxy is no http or https proxy');
  });
});
