// The built program behind a proxy of this machine, which connects whatever host is asked for to the local service.
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { type LocalRolesAnywhere, startLocalRolesAnywhere } from '../../src/local/index.ts';
import { toPem } from '../../src/pki.ts';
import { vend } from '../helpers/canaries.ts';
import { makeIdentity } from '../helpers/certificates.ts';
import {
  type CliIdentity,
  codeOf,
  type Finished,
  makeCliIdentity,
  processArgs,
  runCli,
  startCli,
} from '../helpers/cli.ts';
import { basic, connectProxy, type TestProxy, tlsFront } from '../helpers/proxies.ts';
import { type TestServer, unusedPort } from '../helpers/servers.ts';

const USER = 'me';
const PASSWORD = `p@ss/${randomBytes(9).toString('base64')}`;
const SECRETS = [PASSWORD, encodeURIComponent(PASSWORD), basic(USER, PASSWORD).slice('Basic '.length)];

let service: LocalRolesAnywhere;
let front: TestServer;
let me: CliIdentity;
let env: NodeJS.ProcessEnv;

beforeAll(async () => {
  service = await startLocalRolesAnywhere({ vend });
  me = await makeCliIdentity(service);
  const identity = await makeIdentity({ dnsNames: ['rolesanywhere.us-east-1.amazonaws.com'] });
  front = await tlsFront(identity, Number(new URL(service.endpoint).port));
  const bundle = join(me.dir, 'bundle.pem');
  await writeFile(bundle, toPem([identity.root]));
  env = { AWS_CA_BUNDLE: bundle };
});
afterAll(async () => {
  await front.close();
  await service.close();
  await me.remove();
});

const proxies: TestProxy[] = [];
afterEach(async () => {
  for (const proxy of proxies.splice(0)) await proxy.close();
});
async function makeProxy(options: Parameters<typeof connectProxy>[0] = {}): Promise<TestProxy> {
  const proxy = await connectProxy({ to: front.port, authorization: basic(USER, PASSWORD), ...options });
  proxies.push(proxy);
  return proxy;
}

/** One run for the region's own endpoint, of which nothing printed holds the password. */
async function run(more: NodeJS.ProcessEnv, flags: Record<string, string> = {}): Promise<Finished> {
  const { endpoint: _, ...own } = me.flags;
  const finished = await runCli([...processArgs({ ...own, ...flags }), '--debug'], { env: { ...env, ...more } });
  for (const secret of SECRETS) expect(finished.stdout + finished.stderr).not.toContain(secret);
  return finished;
}
/** For what must not reach a proxy: a host that is nowhere (RFC 2606 §2). */
const NOWHERE = { endpoint: 'https://holdfast.invalid', 'max-attempts': '1' };

describe('credentials through a proxy', () => {
  test.each<[where: string, given: (url: string) => { env?: NodeJS.ProcessEnv; flags?: Record<string, string> }]>([
    ['HTTPS_PROXY', (url) => ({ env: { HTTPS_PROXY: url } })],
    ['https_proxy', (url) => ({ env: { https_proxy: url } })],
    ['https_proxy', (url) => ({ env: { https_proxy: url, NO_PROXY: 'localhost,.example', DEBUG: '*' } })],
    ['--proxy', (url) => ({ flags: { proxy: url } })],
    ['HOLDFAST_PROXY', (url) => ({ env: { HOLDFAST_PROXY: url, HTTPS_PROXY: 'http://127.0.0.1:1', NO_PROXY: '*' } })],
  ])('of %s', async (where, given) => {
    const proxy = await makeProxy();
    const { env: more = {}, flags } = given(proxy.at(USER, PASSWORD));
    const { status, stdout, stderr } = await run(more, flags);
    expect([status, stderr]).toEqual([0, expect.stringContaining(`proxy: 127.0.0.1:${proxy.port} (from ${where})\n`)]);
    expect(JSON.parse(stdout)).toMatchObject({ Version: 1 });
    expect(proxy.asked).toMatchObject([{ target: 'rolesanywhere.us-east-1.amazonaws.com:443' }]);
    if (more.DEBUG) expect(stderr).toContain('https-proxy-agent'); // the library did print
  });

  test('of the config file', async () => {
    const proxy = await makeProxy({ authorization: undefined });
    const config = join(me.dir, 'config');
    await writeFile(config, `proxy = ${proxy.at()}\n`, { mode: 0o600 });
    const { status, stderr } = await run({}, { config });
    expect([status, stderr]).toEqual([0, expect.stringContaining(`(from proxy in line 1 of ${config})\n`)]);
    expect(proxy.asked).toHaveLength(1);
  });

  test('and of no other host', async () => {
    const [proxy, unasked] = [await makeProxy(), await makeProxy()];
    await run({ HTTPS_PROXY: proxy.at(USER, PASSWORD), HTTP_PROXY: unasked.at(), ALL_PROXY: unasked.at() });
    expect([proxy.asked.length, unasked.asked.length]).toEqual([1, 0]);
  });
});

describe('no proxy', () => {
  test.each<[what: string, more: NodeJS.ProcessEnv, flags: Record<string, string>]>([
    ['--proxy off', {}, { proxy: 'off' }],
    ['--proxy Off', {}, { proxy: 'Off' }],
    ['HOLDFAST_PROXY=OFF', { HOLDFAST_PROXY: 'OFF' }, {}],
    ['NO_PROXY', { NO_PROXY: 'invalid' }, {}],
    ['no_proxy', { no_proxy: 'a.example, .invalid' }, {}],
    ['NO_PROXY=*', { NO_PROXY: '*' }, {}],
  ])('with %s', async (_what, more, flags) => {
    const proxy = await makeProxy();
    const HTTPS_PROXY = proxy.at(USER, PASSWORD);
    const direct = await run({ HTTPS_PROXY, ...more }, { ...NOWHERE, ...flags });
    expect(direct.stderr).toContain('holdfast: debug: proxy: none\n');
    expect([direct.status, codeOf(direct.stderr)]).toEqual([8, 'ERR_SERVICE_UNREACHABLE']);
    expect(proxy.asked).toEqual([]);
    // So that it could be asked at all.
    await run({ HTTPS_PROXY }, NOWHERE);
    expect(proxy.asked).toMatchObject([{ target: 'holdfast.invalid:443' }]);
  });

  test('for a service on this machine', async () => {
    const proxy = await makeProxy();
    const { endpoint } = service;
    for (const given of [{ endpoint }, { endpoint, proxy: proxy.at() }]) {
      expect(await run({ HTTPS_PROXY: proxy.at() }, given)).toMatchObject({ status: 0 });
    }
    expect(proxy.asked).toEqual([]);
  });
});

describe('a proxy that fails', () => {
  test('refuses the password: one CONNECT, exit 8', async () => {
    const proxy = await makeProxy({ authorization: basic(USER, 'another') });
    const { status, stdout, stderr } = await run({ HTTPS_PROXY: proxy.at(USER, PASSWORD) });
    expect([status, stdout, codeOf(stderr)]).toEqual([8, '', 'ERR_PROXY_REFUSED']);
    expect(stderr).toContain(`the proxy 127.0.0.1:${proxy.port} (from HTTPS_PROXY) answered 407`);
    expect(stderr).toContain('holdfast: hint: check user name and password in HTTPS_PROXY');
    expect(proxy.asked).toHaveLength(1);
  });

  test('is not there', async () => {
    const port = await unusedPort();
    const HTTPS_PROXY = `http://${USER}:${encodeURIComponent(PASSWORD)}@127.0.0.1:${port}`;
    const { status, stderr } = await run({ HTTPS_PROXY });
    expect([status, codeOf(stderr)]).toEqual([8, 'ERR_SERVICE_UNREACHABLE']);
    expect(stderr).toContain(`error: the proxy 127.0.0.1:${port} (from HTTPS_PROXY) was not reached (ECONNREFUSED)`);
  });

  test.each([
    [`socks5://${USER}:${PASSWORD}@127.0.0.1`, 'is no http or https proxy'],
    [`http://${USER}:${PASSWORD}@127.0.0.1`, 'has more than a host and a port'],
  ])('is none: %#', async (HTTPS_PROXY, message) => {
    const { status, stderr } = await run({ HTTPS_PROXY });
    expect([status, codeOf(stderr)]).toEqual([2, 'ERR_OPTION_INVALID']);
    expect(stderr).toContain(`holdfast: error: HTTPS_PROXY ${message}`);
  });

  test('keeps silent: SIGINT ends the process', async () => {
    let child: ReturnType<typeof startCli> | undefined;
    const proxy = await makeProxy({ answer: () => void child?.child.kill('SIGINT') });
    const { endpoint: _, ...own } = me.flags;
    child = startCli(processArgs(own), { env: { ...env, HTTPS_PROXY: proxy.at() } });
    const { signal, stderr } = await child.finished;
    expect([signal, codeOf(stderr)]).toEqual(['SIGINT', 'ERR_INTERRUPTED']);
  });
});
