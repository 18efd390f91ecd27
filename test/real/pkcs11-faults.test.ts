import { verify } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { askPerson } from '../../src/secret.ts';
import * as pkcs11 from '../../src/stores/pkcs11/in-place.ts';
import type { Notice, OpenOptions } from '../../src/stores/store.ts';
import { type KeyUri, parseKeyUri } from '../../src/uri.ts';
import { describeFaulty, type FaultModule, faultOn } from '../helpers/fault-module.ts';
import { makeToken, type TestToken } from '../helpers/softhsm.ts';
import { failure } from '../stores/conformance.ts';

const COUNT_LOW = 'token or=0x10000';
const FINAL_TRY = 'token or=0x20000';
const LOCKED = 'token or=0x40000';
const KEYPAD = 'token or=0x100';

describeFaulty('a token that misbehaves', () => {
  let token: TestToken;
  let fault: FaultModule;
  let uri: KeyUri;
  const message = Buffer.from('message');

  const open = (options: OpenOptions = {}): ReturnType<typeof pkcs11.open> =>
    pkcs11.open(uri, { secret: token.pin, ...options });
  const person = (pin: string): OpenOptions => ({ secret: askPerson(() => pin) });
  const logins = (): number => fault.calls('C_Login').came;

  beforeAll(async () => {
    token = await makeToken();
    fault = faultOn(token);
    const behind = token.uri({ object: 'web' }).replace(/module-path=[^&]+/, () => `module-path=${fault.modulePath}`);
    uri = await pkcs11.create(parseKeyUri(behind), { keyType: 'P-256', secret: token.pin });
  });
  afterAll(() => token.remove());
  afterEach(() => {
    fault.rules();
    fault.reset();
  });

  test('without a rule it is the module behind', async () => {
    const key = await open();
    const spki = { key: Buffer.from(key.publicKey as Uint8Array), format: 'der', type: 'spki' } as const;
    expect(verify('sha256', message, spki, await key.sign(message))).toBe(true);
    await key.close();
    expect(fault.calls('C_Sign')).toEqual({ came: 1, passed: 1 });
  });

  describe('PIN flags', () => {
    test('at the last try a stored PIN is not sent, and one that a person gives is', async () => {
      fault.rules(FINAL_TRY);
      const refused = await failure(open());
      expect([refused.code, logins()]).toEqual(['ERR_SECRET_LAST_TRY', 0]);
      await (await open(person(token.pin))).close();
      expect(logins()).toBe(1);
    });

    test('a locked token gets no PIN from anybody', async () => {
      fault.rules(LOCKED);
      for (const options of [{}, person(token.pin)]) {
        expect((await failure(open(options))).code).toBe('ERR_SECRET_LOCKED');
      }
      expect(logins()).toBe(0);
    });

    test('a low count is a warning', async () => {
      fault.rules(COUNT_LOW);
      const notices: Notice[] = [];
      await (await open({ notify: (notice) => notices.push(notice) })).close();
      expect(notices.map(({ kind }) => kind)).toEqual(['warning']);
    });

    test('a keypad is told from a missing PIN, before anybody is asked', async () => {
      fault.rules(KEYPAD);
      let asked = 0;
      const refused = await failure(
        open({
          secret: askPerson(() => {
            asked += 1;
            return token.pin;
          }),
        }),
      );
      expect(refused.message).toContain('keypad');
      expect([asked, logins()]).toEqual([0, 0]);
    });

    test('a token that needs no login gets none', async () => {
      fault.rules('token clear=0x4');
      const refused = await failure(open()); // SoftHSM shows private keys to nobody else
      expect([refused.code, logins()]).toEqual(['ERR_KEY_NOT_FOUND', 0]);
    });

    test('like a card with three tries: two people mistype, the third try is left alone', async () => {
      fault.rules('tries 3');
      for (const pin of ['mistyped-1', 'mistyped-2']) {
        expect((await failure(open(person(pin)))).code).toBe('ERR_SECRET_WRONG');
      }
      expect((await failure(open())).code).toBe('ERR_SECRET_LAST_TRY');
      expect(fault.wrongPins()).toBe(2);
      await (await open(person(token.pin))).close();
      expect(fault.wrongPins()).toBe(0);
      await (await open()).close();
    });
  });

  describe('return codes', () => {
    test.each([
      ['C_Initialize', '0x5', 'ERR_MODULE_FAILED'],
      ['C_GetSlotList', '0x30', 'ERR_TOKEN_FAILED'],
      ['C_OpenSession', '0xb1', 'ERR_TOKEN_FAILED'],
      ['C_Login', '0x30', 'ERR_TOKEN_FAILED'],
      ['C_Login', '0xa0', 'ERR_SECRET_WRONG'],
      ['C_Login', '0xa4', 'ERR_SECRET_LOCKED'],
      ['C_FindObjectsInit', '0x30', 'ERR_TOKEN_FAILED'],
      ['C_FindObjects', '0x30', 'ERR_TOKEN_FAILED'],
      ['C_GetAttributeValue', '0x30', 'ERR_TOKEN_FAILED'],
    ])('%s answers %s: %s, and once it works again so does the key', async (name, value, code) => {
      fault.rules(`${name} rv=${value}`);
      // Another PIN each time: a refused one is remembered, which is tested elsewhere.
      const secret = code.startsWith('ERR_SECRET') ? `wrong-${name}-${value}` : token.pin;
      const error = await failure(open({ secret }));
      expect(error.code).toBe(code);
      expect(error.message).not.toContain(secret);
      fault.rules();
      const key = await open();
      await key.sign(message);
      await key.close();
    });

    test.each([
      ['C_SignInit', '0x31'],
      ['C_Sign', '0x5'],
      ['C_Sign', '0x20'],
    ])('%s answers %s once: that signature fails, the next is made on a fresh PKCS#11 session', async (name, value) => {
      const key = await open();
      const opened = fault.calls('C_OpenSession').came;
      fault.rules(`${name} rv=${value}`);
      expect((await failure(key.sign(message))).code).toBe('ERR_SIGNING_FAILED');
      fault.rules();
      await key.sign(message);
      // A C_Sign that failed on its way leaves its operation active: on the old one C_SignInit would answer 0x90.
      expect(fault.calls('C_OpenSession').came - opened).toBe(2);
      await key.close();
    });
  });

  describe('a token that is gone', () => {
    test('before open: it is not found; back again: it works', async () => {
      fault.rules('absent');
      expect((await failure(open())).code).toBe('ERR_TOKEN_NOT_FOUND');
      expect(logins()).toBe(0);
      fault.rules();
      await (await open()).close();
    });

    test('while it is open: signing fails, closing does not', async () => {
      const key = await open();
      fault.rules('absent', 'C_SignInit rv=0x32', 'C_Sign rv=0x32', 'C_OpenSession rv=0xe0', 'C_CloseSession rv=0x32');
      expect((await failure(key.sign(message))).code).toBe('ERR_TOKEN_NOT_FOUND');
      await key.close();
      fault.rules();
      await (await open()).close();
    });
  });

  describe('a slow token', () => {
    test('at most three signatures are in flight; the rest waits and none is lost', async () => {
      const key = await open();
      fault.rules('C_Sign delay=20');
      const before = fault.calls('C_OpenSession').came;
      const signatures = await Promise.all(Array.from({ length: 20 }, () => key.sign(message)));
      expect(signatures).toHaveLength(20);
      expect(fault.calls('C_OpenSession').came - before).toBe(3);
      await key.close();
    });

    test('a signature past its deadline frees its caller; the call keeps its place until it returns', async () => {
      const key = await open({ deadline: 50 });
      fault.rules('C_Sign delay=600');
      expect((await failure(key.sign(message))).code).toBe('ERR_SIGNING_TIMEOUT');
      fault.rules();
      await key.close();
      await (await open()).close();
    });

    test('a signal frees the caller', async () => {
      const stop = new AbortController();
      const key = await open({ signal: stop.signal });
      fault.rules('C_Sign delay=600');
      const signing = failure(key.sign(message));
      stop.abort();
      expect((await signing).code).toBe('ERR_INTERRUPTED');
      fault.rules();
      await key.close();
    });
  });
});
