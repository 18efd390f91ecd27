import { randomBytes } from 'node:crypto';
import type { RequestListener } from 'node:http';
import { afterEach, beforeAll } from '@jest/globals';
import { type HttpAnswer, type SendOptions, send, type Timeouts } from '../../src/http.ts';
import { toPem } from '../../src/pki.ts';
import { makeIdentity, type TestIdentity } from './certificates.ts';
import { proxyFrom } from './proxies.ts';
import { httpsServer } from './servers.ts';

/** The endpoint of all these tests; proxies lead to a server of this machine instead. */
export const HOST = 'rolesanywhere.eu-central-1.amazonaws.com';
const ENDPOINT = new URL(`https://${HOST}/sessions`);

/** In no error, however deep one looks. */
export const PASSWORD: string = `p@ss/${randomBytes(9).toString('base64')}`;

let ca: string[];
export let service: TestIdentity;

beforeAll(async () => {
  service = await makeIdentity({ dnsNames: [HOST] });
  ca = [toPem([service.root])];
});

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const server of open.splice(0)) await server.close();
});
/** A server until the end of the test. */
export const up = async <T extends { close(): Promise<void> }>(server: Promise<T>): Promise<T> => {
  open.push(await server);
  return server;
};

/** A certificate of the authority in the bundle, for the service's key. */
export const certified = async (names: { dnsNames?: string[]; ipAddresses?: string[] }): Promise<TestIdentity> => ({
  ...service,
  certificate: await service.authority.issue({ commonName: 'server', ...names, publicKey: service.publicKey }),
});

export const OK: RequestListener = (_request, response) =>
  void response.writeHead(201, { 'x-amzn-requestid': 'r-1' }).end('{}');

/** The port of a service. */
export const serve = async (listener = OK, identity = service): Promise<number> =>
  (await up(httpsServer(identity, listener))).port;

export const post = (proxy: string, options: SendOptions = {}, url = ENDPOINT): Promise<HttpAnswer> =>
  send(
    { url, headers: { 'content-type': 'application/json', host: url.host }, body: '{"é":1}' },
    { ca, proxy: proxyFrom(proxy), ...options },
  );

export const errorOf = (proxy: string, options?: SendOptions, url?: URL): Promise<unknown> =>
  post(proxy, options, url).then(
    ({ status }) => `answered ${status}`,
    (error: unknown) => error,
  );

/** All the time in the world, but for one. */
export const only = (short: Partial<Timeouts>): SendOptions => ({
  timeouts: { connect: 60_000, headers: 60_000, total: 60_000, ...short },
});

/** How errors name a proxy. */
export const named = ({ port }: { port: number }): string => `the proxy 127.0.0.1:${port} (from HTTPS_PROXY)`;
