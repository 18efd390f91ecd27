import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { HoldfastError } from '../../src/errors.ts';
import { fromRolesAnywhere, getCredentials, type RolesAnywhereInit } from '../../src/provider.ts';
import type { SecretRequest } from '../../src/secret.ts';
import { vend } from '../helpers/canaries.ts';
import { makeIdentity } from '../helpers/certificates.ts';
import { ARNS, granted, refused } from '../helpers/create-session.ts';
import { place } from '../helpers/key-files.ts';
import { DOWN, MINUTE, makeWorld, SECOND, SILENT, START, type World } from '../helpers/provider-world.ts';
import { thrownBy } from '../helpers/thrown.ts';

const VALID = { notBefore: new Date(START - MINUTE), notAfter: new Date(START + 60 * MINUTE) };
const files = place();
let world: World;
beforeEach(async () => {
  world = await makeWorld();
});
afterEach(() => {
  jest.useRealTimers();
  jest.restoreAllMocks();
});

describe('a provider', () => {
  test('50 concurrent calls cause one CreateSession and one signature', async () => {
    const provider = world.provider();
    const all = await Promise.all(Array.from({ length: 50 }, () => provider()));
    expect(new Set(all).size).toBe(1);
    expect(await provider()).toBe(all[0]);
    expect([world.requests, world.signer.calls]).toEqual([1, 1]);
  });

  test('gives what an SDK client needs', async () => {
    expect(await world.provider()()).toEqual({
      accessKeyId: 'ASIAEXAMPLE',
      ...vend,
      expiration: new Date(START + 60 * MINUTE),
      accountId: '111122223333',
    });
  });

  test('asks nobody before it is called', () => {
    world.provider();
    expect([world.requests, world.signer.calls]).toEqual([0, 0]);
  });

  test.each<[what: string, init: Partial<RolesAnywhereInit>, code: string]>([
    ['an ARN', { profileArn: 'arn:aws:rolesanywhere:eu-central-1:111122223333:profile/1' }, 'ERR_ARN_INVALID'],
    ['ARNs that do not agree', { region: 'us-east-1' }, 'ERR_ARN_MISMATCH'],
    ['a duration', { durationSeconds: 60 }, 'ERR_OPTION_INVALID'],
    ['an endpoint', { endpoint: 'ftp://127.0.0.1' }, 'ERR_ENDPOINT_INVALID'],
  ])('refuses %s at once', (_what, init, code) => {
    expect(thrownBy(() => world.provider(init))).toMatchObject({ code });
  });

  test('shows a failure to everybody who waits, stops the chain of providers, and tries anew when called again', async () => {
    world.failure = async () => refused('Certificate revoked');
    const provider = world.provider();
    const thrown = await Promise.all([1, 2, 3].map(() => provider().catch((error: unknown) => error)));
    for (const error of thrown) {
      expect(error).toBeInstanceOf(HoldfastError);
      expect(error).toMatchObject({ code: 'ERR_SERVICE_REFUSED', tryNextLink: false });
    }
    expect(world.requests).toBe(1);
    world.failure = undefined;
    await world.pass(2 * SECOND);
    expect(await provider()).toMatchObject({ accessKeyId: 'ASIAEXAMPLE' });
    expect(world.requests).toBe(2);
  });

  test('forceRefresh: asks again, shares the refresh, and falls back to credentials that are still valid', async () => {
    const provider = world.provider();
    const first = await provider();
    await world.pass(SECOND);
    const [second, third] = await Promise.all([
      provider({ forceRefresh: true }),
      provider({ forceRefresh: true }),
      provider({ forceRefresh: false }),
    ]);
    expect(second).not.toBe(first);
    expect(third).toBe(second);
    expect(world.requests).toBe(2);
    world.failure = DOWN;
    expect(await provider({ forceRefresh: true })).toBe(second);
    expect(world.requests).toBe(3);
  });

  test('tells the person at the key what it is for', async () => {
    const { certificate, privateKey } = await makeIdentity(VALID);
    const pem = privateKey.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'open sesame' });
    const key = await files.write('key.pem', pem);
    const seen: (string | undefined)[] = [];
    const secret = (request: SecretRequest): string => {
      seen.push(request.purpose);
      return 'wrong';
    };
    for (const purpose of [undefined, 'deploy the site']) {
      const init = { signer: undefined, key, certificate, secret, purpose };
      await expect(world.provider(init)()).rejects.toMatchObject({ code: 'ERR_SECRET_WRONG' });
      await expect(getCredentials({ ...ARNS, ...init })).rejects.toMatchObject({ code: 'ERR_SECRET_WRONG' });
    }
    const unsaid = 'sign in as role deploy';
    expect(seen).toEqual([unsaid, unsaid, 'deploy the site', 'deploy the site']);
  });
});

describe('once', () => {
  test('checks, signs, asks; and asks anew each time', async () => {
    const { signer } = world;
    const { certificate, signer: own } = await makeIdentity(VALID);
    const send = async () => granted(new Date(START + MINUTE));
    await expect(getCredentials({ ...ARNS, signer, certificate, send, durationSeconds: 1 })).rejects.toMatchObject({
      code: 'ERR_OPTION_INVALID',
    });
    await expect(getCredentials({ ...ARNS, signer, certificate, send })).rejects.toMatchObject({
      code: 'ERR_CERTIFICATE_MISMATCH',
    });
    for (const calls of [1, 2]) {
      await getCredentials({ ...ARNS, signer: own, certificate, send });
      expect(own.calls).toBe(calls);
    }
  });
});

describe('closing', () => {
  test('ends what is under way, for everybody who waits', async () => {
    world.failure = SILENT;
    const provider = world.provider();
    const waiting = [provider(), provider()].map((call) => call.catch((error: unknown) => error));
    await world.pass(SECOND);
    await provider.close();
    for (const error of await Promise.all(waiting)) expect(error).toMatchObject({ code: 'ERR_KEY_CLOSED' });
    await expect(provider()).rejects.toMatchObject({ code: 'ERR_KEY_CLOSED' });
    expect(world.requests).toBe(1);
  });

  test('does not wait for a signer that hangs', async () => {
    world.signer.sign = () => new Promise(() => undefined);
    const provider = world.provider();
    const call = provider().catch((error: unknown) => error);
    await world.pass(SECOND);
    await provider.close();
    expect(await call).toMatchObject({ code: 'ERR_KEY_CLOSED' });
  });

  test('forgets, also what arrives in that very moment', async () => {
    const provider = world.provider();
    await provider();
    let arrive: (() => void) | undefined;
    world.failure = () =>
      new Promise((resolve) => {
        arrive = () => resolve(granted(new Date(Date.now() + MINUTE)));
      });
    const call = provider({ forceRefresh: true }).catch((error: unknown) => error);
    await world.pass(0);
    arrive?.();
    await provider.close();
    expect(await call).toMatchObject({ code: 'ERR_KEY_CLOSED' });
    await expect(provider()).rejects.toMatchObject({ code: 'ERR_KEY_CLOSED' });
  });

  test('twice is fine, and there is nothing left to happen', async () => {
    const provider = world.provider();
    await provider();
    await Promise.all([provider.close(), provider.close()]);
    await provider.close();
    expect(jest.getTimerCount()).toBe(0);
    await world.pass(3 * 60 * MINUTE);
    expect(world.requests).toBe(1);
  });

  test('happens at the end of `await using`', async () => {
    const provider = world.provider();
    await provider[Symbol.asyncDispose]();
    await expect(provider()).rejects.toMatchObject({ code: 'ERR_KEY_CLOSED' });
  });
});

describe("the caller's signal", () => {
  test('aborted: no refresh any more, but valid credentials until they expire', async () => {
    const abort = new AbortController();
    const provider = world.provider({ signal: abort.signal });
    const first = await provider();
    abort.abort();
    await world.pass(55 * MINUTE);
    expect(await provider()).toBe(first);
    expect(await provider({ forceRefresh: true })).toBe(first);
    await world.pass(5 * MINUTE);
    await expect(provider()).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
    expect([world.requests, world.signer.calls, jest.getTimerCount()]).toEqual([1, 1, 0]);
    await provider.close();
    await expect(provider()).rejects.toMatchObject({ code: 'ERR_KEY_CLOSED' });
  });

  test('aborted while callers wait', async () => {
    const abort = new AbortController();
    world.failure = SILENT;
    const call = world
      .provider({ signal: abort.signal })()
      .catch((error: unknown) => error);
    await world.pass(SECOND);
    abort.abort();
    expect(await call).toMatchObject({ code: 'ERR_INTERRUPTED' });
  });
});

test('the timer of the next refresh does not keep the process alive', async () => {
  jest.useRealTimers();
  const { signer, certificate } = await makeIdentity();
  const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
  const send = async () => granted(new Date(Date.now() + 60 * MINUTE));
  const provider = fromRolesAnywhere({ ...ARNS, signer, certificate, send });
  try {
    const before = timers();
    await provider();
    expect(timers()).toBeLessThanOrEqual(before);
  } finally {
    await provider.close();
  }
});
