import { execFile } from 'node:child_process';
import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type LocalRolesAnywhere, startLocalRolesAnywhere } from '../../src/local/index.ts';
import { create, readPublic } from '../../src/stores/tpm/index.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { vend } from '../helpers/canaries.ts';
import { plainEnvironment } from '../helpers/cli.ts';
import { describeUnless } from '../helpers/exercised.ts';
import { describeSoftHsm, makeToken } from '../helpers/softhsm.ts';
import { startTpm } from '../helpers/swtpm.ts';

const run = promisify(execFile);
const pathOf = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));
const dist = pathToFileURL(pathOf('../../dist/')).href;
const program = pathOf('../helpers/one-session.mjs');
const tracer = pathOf('../helpers/trace-loads.mjs');

const describeSwtpm = await describeUnless('swtpm');
let dir: string;
let service: LocalRolesAnywhere;

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'holdfast-hot-path-'));
  service = await startLocalRolesAnywhere({ vend });
});

afterAll(async () => {
  await service.close();
  rmSync(dir, { recursive: true, force: true });
});

interface Loads {
  /** Files of the package, from dist/. */
  readonly own: readonly string[];
  /** Everything else that is neither the package nor `node:`. */
  readonly foreign: readonly string[];
  /** Shared libraries of the process. */
  readonly libraries: readonly string[];
}

/** One CreateSession in a process of its own: what it printed, if it succeeded, and the URLs that it loaded. */
async function traced(key: string, publicKey: KeyObject, env: NodeJS.ProcessEnv, more: object) {
  const { certificate } = await service.issue({ publicKey: publicKey.export({ type: 'spki', format: 'der' }) });
  const { endpoint, trustAnchorArn, profileArn, roleArn } = service;
  const init = { key, certificate, endpoint, trustAnchorArn, profileArn, roleArn, ...more };
  const trace = join(dir, 'trace');
  writeFileSync(trace, '');
  const args = ['--no-warnings', '--import', pathToFileURL(tracer).href, program, JSON.stringify(init)];
  const outcome = run(process.execPath, args, { env: { ...plainEnvironment(), ...env, HOLDFAST_TRACE: trace } });
  const [{ value, reason }] = (await Promise.allSettled([outcome])) as [{ value?: { stdout: string }; reason?: Error }];
  return { stdout: value?.stdout, reason, urls: readFileSync(trace, 'utf8').trimEnd().split('\n') };
}

/** The ES modules of a CreateSession that fails for want of a connection. */
async function tracedLoads(key: string, publicKey: KeyObject, env: NodeJS.ProcessEnv, more: object): Promise<string[]> {
  const { reason, urls } = await traced(key, publicKey, env, more);
  expect(reason?.message).toContain('ERR_SERVICE_UNREACHABLE');
  return urls;
}

/** What one CreateSession loads. */
async function loadsOf(
  key: string,
  publicKey: KeyObject,
  env: NodeJS.ProcessEnv = {},
  more: object = {},
): Promise<Loads> {
  const { stdout, reason, urls } = await traced(key, publicKey, env, more);
  if (stdout === undefined) throw reason;
  const printed = JSON.parse(stdout) as { accountId: string; commonJs: string[]; libraries: string[] };
  expect(printed.accountId).toBe(service.accountId);
  const files = new Set([...urls, ...printed.commonJs.map((path) => pathToFileURL(path).href)]);
  for (const known of [program, tracer]) files.delete(pathToFileURL(known).href);
  return {
    own: [...files].filter((url) => url.startsWith(dist)).map((url) => url.slice(dist.length)),
    foreign: [...files].filter((url) => !url.startsWith(dist) && !url.startsWith('node:')),
    libraries: printed.libraries,
  };
}

const LATE = /^(pki|webcrypto|proxy)\.js$|^(local|cli|serve|enroll|trust)\/|administer/;

describe('a key file', () => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  let key: string;

  beforeAll(() => {
    key = join(dir, 'key.pem');
    writeFileSync(key, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  });

  test('one CreateSession loads the package, node: and nothing else', async () => {
    const { own, foreign, libraries } = await loadsOf(key, publicKey);
    expect(foreign).toEqual([]);
    expect(libraries.filter((path) => path.endsWith('.node'))).toEqual([]);
    expect(own).toEqual(expect.arrayContaining(['index.js', 'sigv4.js', 'stores/file/index.js']));
    expect(own.filter((path) => LATE.test(path) || path.startsWith('stores/pkcs11/'))).toEqual([]);
  });

  describe('with HTTPS_PROXY set', () => {
    const HTTPS_PROXY = 'http://127.0.0.1:1'; // where nothing listens
    const PROXY = /\/proxy\.js$|\/node_modules\//;

    test('a service on this machine: nothing of a proxy is loaded', async () => {
      const { own, foreign } = await loadsOf(key, publicKey, { HTTPS_PROXY });
      expect([...own, ...foreign].filter((url) => PROXY.test(`/${url}`))).toEqual([]);
    });

    test.each([
      ['NO_PROXY names the host', { NO_PROXY: '.invalid' }, []],
      ['the proxy applies', {}, ['proxy.js', 'https-proxy-agent', 'agent-base', 'debug']],
    ])('a host that is nowhere: %s', async (_why, env, expected) => {
      // RFC 2606 §2: the request fails, after everything was loaded that it needs.
      const init = { endpoint: 'https://holdfast.invalid', attempts: 1 };
      const urls = await tracedLoads(key, publicKey, { HTTPS_PROXY, ...env }, init);
      const loaded = urls.filter((url) => PROXY.test(url));
      for (const name of expected) expect(loaded).toContainEqual(expect.stringContaining(`/${name}`));
      if (expected.length === 0) expect(loaded).toEqual([]);
      expect(urls).toContainEqual(expect.stringMatching(/\/http\.js$/));
    });
  });

  test('a package would be seen', async () => {
    const { own, foreign } = await loadsOf(key, publicKey, { HOLDFAST_TEST_ALSO: `${dist}pki.js` });
    expect(own.filter((path) => LATE.test(path))).toEqual(['pki.js']);
    expect(foreign).toContainEqual(expect.stringContaining('/node_modules/@peculiar/x509/'));
    expect(foreign).toContainEqual(expect.stringContaining('/node_modules/asn1js/'));
  });
});

describeSwtpm('a key in a TPM', () => {
  test('one CreateSession loads nothing besides: no other store, no administration', async () => {
    const tpm = await startTpm();
    try {
      const uri = await create(parseKeyUri(`tpm:file=${tpm.dir}/k.tpm?${tpm.query}`), { keyType: 'P-256' });
      const spki = Buffer.from(await readPublic(uri));
      const publicKey = createPublicKey({ key: spki, format: 'der', type: 'spki' });
      const { own, foreign, libraries } = await loadsOf(uri.toString(), publicKey);
      expect(foreign).toEqual([]);
      expect(libraries.filter((path) => path.endsWith('.node'))).toEqual([]);
      expect(own).toContain('stores/tpm/execute.js');
      const late = /^stores\/(file|pkcs11)\/|^stores\/tpm\/(list|look|make-commands|write-key-file)\.js$/;
      expect(own.filter((path) => LATE.test(path) || late.test(path))).toEqual([]);
    } finally {
      await tpm.remove();
    }
  });
});

describeSoftHsm('a key in a token', () => {
  test('one CreateSession loads the native binding besides, in a child or in place', async () => {
    const token = await makeToken();
    try {
      const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      const file = join(token.dir, 'key.pem');
      writeFileSync(file, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
      const place = ['--module', token.modulePath, '--token', token.tokenLabel, '--pin', token.pin];
      await run('softhsm2-util', [...place, '--import', file, '--label', 'web', '--id', '01'], {
        env: { ...process.env, ...token.env },
      });
      const pin = join(token.dir, 'pin');
      writeFileSync(pin, token.pin, { mode: 0o600 });
      const uri = token.uri({ object: 'web' }, { 'pin-source': `file:${pin}` });
      const inChild = await loadsOf(uri, publicKey, token.env);
      expect(inChild.foreign).toEqual([]);
      expect(inChild.libraries.filter((path) => /\.node$|softhsm/.test(path))).toEqual([]);
      expect(inChild.own).toContain('stores/pkcs11/box.js');
      expect(inChild.own.filter((path) => LATE.test(path) || /^stores\/(file|pkcs11\/in-place)/.test(path))).toEqual(
        [],
      );

      const inPlace = { isolation: 'in-place' };
      const { own, foreign, libraries } = await loadsOf(uri, publicKey, token.env, inPlace);
      expect(foreign.filter((url) => !url.includes('/node_modules/pkcs11js/'))).toEqual([]);
      expect(libraries.filter((path) => path.endsWith('.node'))).toEqual([expect.stringMatching(/pkcs11\.node$/)]);
      expect(libraries).toContainEqual(expect.stringContaining('softhsm'));
      expect(own).toContain('stores/pkcs11/index.js');
      expect(own.filter((path) => LATE.test(path) || path.startsWith('stores/file/'))).toEqual([]);
    } finally {
      await token.remove();
    }
  });
});
