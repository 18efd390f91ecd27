import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { parseCertificate } from '../../src/certificate.ts';
import { checkSession, type SessionOptions } from '../../src/check-session.ts';
import { fromRolesAnywhere, getCredentials } from '../../src/provider.ts';
import { createSession } from '../../src/session.ts';
import type { Credentials } from '../../src/session-answer.ts';
import { makeIdentity, type TestIdentity } from '../helpers/certificates.ts';
import { ARNS, granted } from '../helpers/create-session.ts';
import { connectProxy, type TestProxy } from '../helpers/proxies.ts';
import { PASSWORD, up } from '../helpers/proxy-world.ts';
import { unusedPort } from '../helpers/servers.ts';

const NAMES = ['HTTPS_PROXY', 'https_proxy', 'NO_PROXY', 'no_proxy'];
let former: NodeJS.ProcessEnv;
beforeEach(() => {
  former = Object.fromEntries(NAMES.map((name) => [name, process.env[name]]));
  for (const name of NAMES) delete process.env[name];
});
afterEach(() => {
  for (const name of NAMES) {
    const value = former[name];
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
});

const makeKey = makeIdentity();
/** A session with a key of its own. */
async function run(options: Partial<SessionOptions>): Promise<{ key: TestIdentity; outcome: Credentials | Error }> {
  const key = { ...(await makeKey), signer: { ...(await makeKey).signer, calls: 0 } };
  const signer = {
    sign: (message: Uint8Array) => {
      key.signer.calls += 1;
      return key.signer.sign(message);
    },
  };
  const identity = { certificate: parseCertificate(key.certificate), chain: [], signer };
  const outcome = await createSession(identity, { ...ARNS, wait: async () => undefined, ...options }).catch(
    (error: Error) => error,
  );
  return { key, outcome };
}

describe('the proxy of a session', () => {
  const used = async (options: Partial<SessionOptions> = {}): Promise<string | undefined> => {
    let seen: string | undefined;
    await run({
      send: async (_request, { proxy }) => {
        seen = proxy?.description;
        return granted(new Date(Date.now() + 3_600_000));
      },
      ...options,
    });
    return seen;
  };

  test('is the one of the environment at the time, of the option, or none', async () => {
    expect(await used()).toBeUndefined();
    process.env.HTTPS_PROXY = 'http://proxy.example:3128';
    expect(await used()).toBe('proxy.example:3128 (from HTTPS_PROXY)');
    expect(await used({ proxy: false })).toBeUndefined();
    expect(await used({ proxy: 'https://mine.example' })).toBe('mine.example:443 (from the proxy option)');
    expect(await used({ endpoint: 'https://127.0.0.1:8443' })).toBeUndefined();
    process.env.NO_PROXY = 'eu-central-1.amazonaws.com';
    expect(await used()).toBeUndefined();
    expect(await used({ proxy: 'https://mine.example' })).toBe('mine.example:443 (from the proxy option)');
    delete process.env.HTTPS_PROXY;
    expect(await used({ endpoint: 'https://other.example' })).toBeUndefined();
  });

  test('is known before anything happens', () => {
    process.env.https_proxy = `http://me:${encodeURIComponent(PASSWORD)}@proxy.example`;
    expect(checkSession(ARNS).proxy).toMatchObject({ description: 'proxy.example:80 (from https_proxy)' });
    expect(JSON.stringify(checkSession(ARNS))).not.toContain(encodeURIComponent(PASSWORD));
  });

  test('a wrong one is refused before a key is touched', async () => {
    process.env.HTTPS_PROXY = `socks5://me:${PASSWORD}@proxy.example`;
    const init = { ...ARNS, key: '/no/such/file', certificate: '/no/such/file' };
    const refused = { code: 'ERR_OPTION_INVALID', message: 'HTTPS_PROXY is no http or https proxy' };
    await expect(getCredentials(init)).rejects.toMatchObject(refused);
    expect(() => fromRolesAnywhere(init)).toThrow(expect.objectContaining(refused));
    await expect(getCredentials({ ...init, proxy: false })).rejects.toMatchObject({ code: 'ERR_FILE_NOT_FOUND' });
  });
});

describe('sending again through a proxy', () => {
  const answering = (status: number): Promise<TestProxy> =>
    up(connectProxy({ answer: (socket) => void socket.end(`HTTP/1.1 ${status} x\r\n\r\n`) }));

  test.each<[status: number, times: number, code: string]>([
    // A wrong password too often locks the account of whoever owns it.
    [407, 1, 'ERR_PROXY_REFUSED'],
    [403, 1, 'ERR_PROXY_REFUSED'],
    [502, 3, 'ERR_SERVICE_UNREACHABLE'],
    [503, 3, 'ERR_SERVICE_UNREACHABLE'],
  ])('that answers %d: %d times in all, with one signature', async (status, times, code) => {
    const proxy = await answering(status);
    const { key, outcome } = await run({ proxy: proxy.at('me', PASSWORD) });
    expect(outcome).toMatchObject({ code });
    expect([proxy.asked.length, key.signer.calls]).toEqual([times, 1]);
  });

  test('that is not there', async () => {
    let waits = 0;
    const { key, outcome } = await run({
      proxy: `http://127.0.0.1:${await unusedPort()}`,
      wait: async () => {
        waits += 1;
      },
    });
    expect(outcome).toMatchObject({ code: 'ERR_SERVICE_UNREACHABLE', message: expect.stringContaining('the proxy') });
    expect([waits, key.signer.calls]).toEqual([2, 1]);
  });
});
