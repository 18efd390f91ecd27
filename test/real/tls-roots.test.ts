import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { toPem } from '../../src/pki.ts';
import { makeIdentity, type TestIdentity } from '../helpers/certificates.ts';
import { MAIN, start } from '../helpers/cli.ts';
import { connectProxy } from '../helpers/proxies.ts';
import { httpsServer, type TestServer } from '../helpers/servers.ts';

// What Node takes from its environment it reads when it starts: each case is a process of its own.
const fileUrl = (name: string): string => JSON.stringify(new URL(`../${name}`, pathToFileURL(MAIN)).href);
const PROGRAM = `
  const { send } = await import(${fileUrl('http.js')});
  const { rootsOf } = await import(${fileUrl('session.js')});
  const { chooseProxy } = await import(${fileUrl('proxy-choice.js')});
  const url = new URL(process.argv[1]);
  const [proxyUrl, caBundle] = process.argv.slice(2).map((text) => text || undefined);
  const proxy = chooseProxy(url, proxyUrl ?? false);
  const ca = await rootsOf({ caBundle });
  const outcome = await send({ url, headers: {}, body: '' }, { ca, proxy }).catch((error) => error);
  console.log(outcome.status ?? outcome.code + ' ' + outcome.message);
`;

/** An address of nobody (RFC 5737): only a proxy of the test leads anywhere from there. */
const NOWHERE = '192.0.2.7';

let directory: string;
let own: TestIdentity;
const servers: TestServer[] = [];
/** Where to ask, and through which proxy. */
const ways: Record<string, readonly [url: string, proxy: string]> = {};
const file = (name: string): string => join(directory, name);

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'holdfast-tls-'));
  own = await makeIdentity({ ipAddresses: ['127.0.0.1', NOWHERE] });
  const server = await httpsServer(own, (_request, response) => void response.writeHead(201).end('{}'));
  const proxy = await connectProxy({ to: server.port });
  const secureProxy = await connectProxy({ to: server.port, identity: own });
  servers.push(server, proxy, secureProxy);
  ways.straight = [server.url.href, ''];
  ways['through a proxy'] = [`https://${NOWHERE}/`, proxy.at()];
  ways['through an https proxy'] = [`https://${NOWHERE}/`, secureProxy.at()];
  await writeFile(file('own.pem'), toPem([own.root]));
  await writeFile(file('other.pem'), toPem([(await makeIdentity()).root]));
});
afterAll(async () => {
  for (const server of servers) await server.close();
  await rm(directory, { recursive: true });
});

describe.each([
  ['straight', 'the TLS certificate of 127.0.0.1:'],
  ['through a proxy', `the TLS certificate of ${NOWHERE} through the proxy 127.0.0.1:`],
  ['through an https proxy', 'the TLS certificate of the proxy 127.0.0.1:'],
])('%s', (way, message) => {
  const outcome = async (env: NodeJS.ProcessEnv, bundle = ''): Promise<string> => {
    const args = ['--input-type=module', '-e', PROGRAM, ...(ways[way] as readonly [string, string]), bundle];
    return (await start(args, { env }).finished).stdout.trim();
  };
  const untrusted = expect.stringContaining(`ERR_SERVICE_UNTRUSTED ${message}`);

  test('a CA bundle is added to the roots that Node trusts already', async () => {
    const env = { NODE_EXTRA_CA_CERTS: file('own.pem') };
    expect(await outcome({})).toEqual(untrusted);
    expect(await outcome({}, file('other.pem'))).toEqual(untrusted);
    expect(await outcome({}, file('own.pem'))).toBe('201');
    expect(await outcome(env)).toBe('201');
    expect(await outcome(env, file('other.pem'))).toBe('201');
  }, 60_000); // five processes

  test('NODE_TLS_REJECT_UNAUTHORIZED=0 does not make anybody trusted', async () => {
    expect(await outcome({ NODE_TLS_REJECT_UNAUTHORIZED: '0' })).toEqual(untrusted);
  });
});
