import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { toPem } from '../../src/pki.ts';
import { makeIdentity, type TestIdentity } from '../helpers/certificates.ts';
import { MAIN, start } from '../helpers/cli.ts';
import { httpsServer, type TestServer } from '../helpers/servers.ts';

// What Node takes from its environment it reads when it starts: each case is a process of its own.
const PROGRAM = `
  const { send } = await import(${JSON.stringify(new URL('../http.js', pathToFileURL(MAIN)).href)});
  const [url, caBundle] = process.argv.slice(1);
  const outcome = await send({ url: new URL(url), headers: {}, body: '' }, { caBundle }).catch((error) => error);
  console.log(outcome.status ?? outcome.code);
`;

let directory: string;
let server: TestServer;
let own: TestIdentity;
const file = (name: string): string => join(directory, name);

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'holdfast-tls-'));
  own = await makeIdentity({ ipAddresses: ['127.0.0.1'] });
  server = await httpsServer(own, (_request, response) => void response.writeHead(201).end('{}'));
  await writeFile(file('own.pem'), toPem([own.root]));
  await writeFile(file('other.pem'), toPem([(await makeIdentity()).root]));
});
afterAll(async () => {
  await server.close();
  await rm(directory, { recursive: true });
});

const outcome = async (env: NodeJS.ProcessEnv, ...bundle: string[]): Promise<string> => {
  const { stdout } = await start(['--input-type=module', '-e', PROGRAM, server.url.href, ...bundle], { env }).finished;
  return stdout.trim();
};

test('a CA bundle is added to the roots that Node trusts already', async () => {
  const env = { NODE_EXTRA_CA_CERTS: file('own.pem') };
  expect(await outcome({}, file('other.pem'))).toBe('ERR_SERVICE_UNTRUSTED');
  expect(await outcome(env)).toBe('201');
  expect(await outcome(env, file('other.pem'))).toBe('201');
});

test('NODE_TLS_REJECT_UNAUTHORIZED=0 does not make anybody trusted', async () => {
  expect(await outcome({ NODE_TLS_REJECT_UNAUTHORIZED: '0' })).toBe('ERR_SERVICE_UNTRUSTED');
});
