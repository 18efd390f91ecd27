import { getEventListeners } from 'node:events';
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import { askPerson } from '../../src/secret.ts';
import { CKF } from '../../src/stores/pkcs11/cryptoki.ts';
import { makePlaces } from '../../src/stores/pkcs11/pool.ts';
import type { OpenKey, OpenOptions } from '../../src/stores/store.ts';
import { type Fake, fakeToken, openFake, returnValue } from '../helpers/fake-pkcs11.ts';
import { failure } from '../stores/conformance.ts';

const message = Buffer.from('message');
const opened = (fake: Fake, options: OpenOptions = {}): Promise<OpenKey> =>
  openFake(fake, { secret: fake.pin, ...options });
const count = (fake: Fake, call: string): number => fake.calls.filter((one) => one === call).length;

/** A token that keeps every signature back until it is told to go on. */
function slow(fake: Fake): ((error?: Error) => void)[] {
  const waiting: ((error?: Error) => void)[] = [];
  fake.onSign = (finish) => waiting.push(finish);
  return waiting;
}

describe('PKCS#11 sessions', () => {
  test('three signatures are in flight, the rest waits its turn', async () => {
    const fake = fakeToken();
    const waiting = slow(fake);
    const key = await opened(fake);
    const signing = Array.from({ length: 8 }, () => key.sign(message));
    for (let signed = 0; signed < 8; signed += 1) {
      await turn();
      expect(waiting.length).toBe(Math.min(3, 8 - signed));
      expect(fake.open.size).toBe(3);
      waiting.shift()?.();
    }
    await Promise.all(signing);
    expect(count(fake, 'C_OpenSession')).toBe(3);
    await key.close();
    expect(fake.open.size).toBe(0);
    expect(fake.calls.at(-1)).toBe('released');
  });

  test('all keys of the process share the three places', async () => {
    const places = makePlaces(3);
    const fakes = [fakeToken('', places), fakeToken('', places)];
    const waiting = fakes.map(slow);
    const keys = await Promise.all(fakes.map((fake) => opened(fake)));
    const signing = keys.flatMap((key) => [key.sign(message), key.sign(message), key.sign(message)]);
    for (let signed = 0; signed < 6; signed += 1) {
      await turn();
      const inFlight = waiting.flat();
      expect(inFlight).toHaveLength(Math.min(3, 6 - signed));
      waiting.find((one) => one.length > 0)?.shift()?.();
    }
    await Promise.all(signing);
    for (const key of keys) await key.close();
  });

  test('are used again, one for each signature in flight', async () => {
    const fake = fakeToken();
    const key = await opened(fake);
    for (let i = 0; i < 5; i += 1) await key.sign(message);
    expect(count(fake, 'C_OpenSession')).toBe(1);
    await key.close();
  });

  test('are given up after an error, and the next signature works', async () => {
    const fake = fakeToken();
    const waiting = slow(fake);
    const key = await opened(fake);
    const failing = key.sign(message);
    await turn();
    waiting.shift()?.(returnValue(0x20));
    const error = await failure(failing);
    expect(error.code).toBe('ERR_SIGNING_FAILED');
    expect(error.message).toMatch(/^key "web" .* did not sign: .* \(CKR_DATA_INVALID\)$/);
    expect(error.hint).toMatch(/pkcs11-tool/);
    expect(fake.open.size).toBe(0);
    fake.onSign = undefined;
    await key.sign(message);
    expect(count(fake, 'C_OpenSession')).toBe(2);
    await key.close();
  });

  test('a token that opens none fails the signature, not the key', async () => {
    const fake = fakeToken();
    const key = await opened(fake);
    fake.onCall = (call) => {
      if (call === 'C_OpenSession') throw returnValue(0xb1);
    };
    expect((await failure(key.sign(message))).message).toContain('(CKR_SESSION_COUNT)');
    fake.onCall = () => {};
    await key.sign(message);
    await key.close();
  });

  test('values of later versions keep their number', async () => {
    const fake = fakeToken();
    const waiting = slow(fake);
    const key = await opened(fake);
    for (const [code, text] of [
      [0x201, '(CKR_TOKEN_RESOURCE_EXCEEDED)'],
      [0x80001234, '(CKR_VENDOR_DEFINED 0x80001234)'],
    ] as const) {
      const failing = key.sign(message);
      await turn();
      waiting.shift()?.(returnValue(code));
      expect((await failure(failing)).message).toContain(text);
    }
    await key.close();
  });
});

test('a search that fails without a number of its own is understood', async () => {
  const fake = fakeToken();
  fake.onCall = (call) => {
    // C_FindObjects alone is not wrapped by the driver.
    if (call === 'C_FindObjects') throw new Error('CKR_DEVICE_REMOVED:50\n    at PKCS11.C_FindObjects');
  };
  const error = await failure(opened(fake));
  expect(error).toMatchObject({ code: 'ERR_TOKEN_FAILED', message: expect.stringMatching(/\(CKR_DEVICE_REMOVED\)$/) });
});

describe('signal and deadline', () => {
  test('a queued signature that is interrupted never reaches the token', async () => {
    const fake = fakeToken();
    const waiting = slow(fake);
    const controller = new AbortController();
    const key = await opened(fake, { signal: controller.signal });
    const signing = Array.from({ length: 5 }, () => key.sign(message));
    await turn();
    controller.abort();
    for (const one of signing) expect((await failure(one)).code).toBe('ERR_INTERRUPTED');
    expect(count(fake, 'C_SignInit')).toBe(3);
    for (const finish of waiting.splice(0)) finish();
    await turn();
    expect(count(fake, 'C_SignInit')).toBe(3);
    expect(fake.open.size).toBe(0);
    await key.close();
  });

  test('a signal that lives long gathers no listeners', async () => {
    const { signal } = new AbortController();
    const key = await opened(fakeToken(), { signal });
    await Promise.all(Array.from({ length: 20 }, () => key.sign(message)));
    await key.close();
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
  });

  test('the call in the driver runs on, and its session is not used again', async () => {
    const fake = fakeToken();
    const waiting = slow(fake);
    const key = await opened(fake, { deadline: 5 });
    const error = await failure(key.sign(message));
    expect(error.code).toBe('ERR_SIGNING_TIMEOUT');
    expect(fake.open.size).toBe(1);
    waiting.shift()?.();
    await turn();
    expect(fake.open.size).toBe(0);
    await key.close();
  });

  test('close does not wait for a call that outlived its deadline, but the module does', async () => {
    const fake = fakeToken();
    const waiting = slow(fake);
    const key = await opened(fake, { deadline: 5 });
    await failure(key.sign(message));
    await key.close();
    expect(fake.calls).not.toContain('released');
    waiting.shift()?.();
    await turn();
    expect(fake.calls.at(-1)).toBe('released');
  });

  test('close waits for those who wait in the queue', async () => {
    const fake = fakeToken();
    const waiting = slow(fake);
    const key = await opened(fake);
    const signing = Array.from({ length: 6 }, () => key.sign(message));
    const closing = key.close();
    for (let left = 6; left > 0; left -= 1) {
      await turn();
      expect(fake.calls).not.toContain('released');
      waiting.shift()?.();
    }
    await Promise.all([...signing, closing]);
    expect(fake.calls.at(-1)).toBe('released');
  });
});

describe('a key that always authenticates', () => {
  const order = (fake: Fake): string[] => fake.calls.filter((call) => /C_Sign|login/.test(call)).slice(1);

  test('gets the stored PIN between C_SignInit and C_Sign, every time', async () => {
    const fake = fakeToken();
    fake.alwaysAuthenticate = true;
    const key = await opened(fake);
    expect(key.attended).toBe(true);
    await key.sign(message);
    await key.sign(message);
    expect(order(fake)).toEqual(Array(2).fill(['C_SignInit', 'login 2', 'C_SignAsync']).flat());
    await key.close();
  });

  test('asks a person for each signature, one at a time', async () => {
    const fake = fakeToken();
    fake.alwaysAuthenticate = true;
    let asked = 0;
    let answering = 0;
    const secret = askPerson(async () => {
      asked += 1;
      answering += 1;
      expect(answering).toBe(1);
      await turn();
      answering -= 1;
      return fake.pin;
    });
    const key = await opened(fake, { secret });
    await Promise.all([key.sign(message), key.sign(message), key.sign(message)]);
    expect(asked).toBe(4);
    await key.close();
  });

  test('a person who thinks keeps no place from others', async () => {
    const places = makePlaces(1);
    const [slowly, other] = [fakeToken('', places), fakeToken('', places)];
    slowly.alwaysAuthenticate = true;
    let answer: ((pin: string) => void) | undefined;
    let asked = 0;
    const secret = askPerson(() => {
      asked += 1;
      return asked === 1 ? slowly.pin : new Promise<string>((resolve) => (answer = resolve));
    });
    const attended = await opened(slowly, { secret });
    const waiting = attended.sign(message);
    await turn();
    const key = await opened(other);
    await key.sign(message);
    answer?.(slowly.pin);
    await waiting;
    for (const one of [attended, key]) await one.close();
  });

  test('a stored PIN that is refused meanwhile is sent once', async () => {
    const fake = fakeToken();
    fake.alwaysAuthenticate = true;
    const key = await opened(fake);
    fake.pin = 'changed elsewhere';
    expect((await failure(key.sign(message))).code).toBe('ERR_SECRET_WRONG');
    expect((await failure(key.sign(message))).code).toBe('ERR_SECRET_WRONG');
    expect(count(fake, 'login 2')).toBe(1);
    expect(fake.open.size).toBe(0);
    await key.close();
  });

  test('a stored PIN is not spent on the last try, here neither', async () => {
    const fake = fakeToken();
    fake.alwaysAuthenticate = true;
    const key = await opened(fake);
    fake.flags |= CKF.USER_PIN_FINAL_TRY;
    expect((await failure(key.sign(message))).code).toBe('ERR_SECRET_LAST_TRY');
    expect(count(fake, 'login 2')).toBe(0);
    await key.close();
  });

  test('without a PIN every time it is not attended', async () => {
    const key = await opened(fakeToken());
    expect(key.attended).toBe(false);
    await key.close();
  });
});
