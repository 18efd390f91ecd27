import { randomBytes, verify } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import pkcs11js from 'pkcs11js';
import * as pkcs11 from '../../src/stores/pkcs11/in-place.ts';
import type { LimitedKey } from '../../src/stores/pkcs11/open.ts';
import type { OpenKey, OpenOptions } from '../../src/stores/store.ts';
import { type KeyUri, parseKeyUri } from '../../src/uri.ts';
import { shown } from '../helpers/canaries.ts';
import { driveElsewhere } from '../helpers/drive-elsewhere.ts';
import { describeFaulty, type FaultModule, faultOn } from '../helpers/fault-module.ts';
import { type RawPkcs11, rawPkcs11 } from '../helpers/raw-pkcs11.ts';
import { makeToken, type TestToken } from '../helpers/softhsm.ts';
import { failure } from '../stores/conformance.ts';

const message = Buffer.from('message');

const verifies = (key: OpenKey, signature: Uint8Array): boolean =>
  verify('sha256', message, { key: Buffer.from(key.publicKey as Uint8Array), format: 'der', type: 'spki' }, signature);

describeFaulty('a key that is lost while it is open', () => {
  let token: TestToken;
  let fault: FaultModule;
  let uri: KeyUri;
  let open: OpenKey[] = [];

  const through = (object: string): KeyUri =>
    parseKeyUri(token.uri({ object }).replace(/module-path=[^&]+/, () => `module-path=${fault.modulePath}`));
  const opened = async (options: OpenOptions = {}, of: KeyUri = uri): Promise<LimitedKey> => {
    const key = await pkcs11.open(of, { secret: token.pin, ...options });
    open.push(key);
    fault.reset();
    return key;
  };
  const came = (...names: readonly string[]): number[] => names.map((name) => fault.calls(name).came);

  const elsewhere = (code: string): void => driveElsewhere(token, code);
  /** Somebody else in this process. */
  const somebody = (work: (raw: RawPkcs11) => void): void => work(rawPkcs11(token));

  beforeAll(async () => {
    token = await makeToken({ pin: shown });
    fault = faultOn(token);
    uri = await pkcs11.create(through('web'), { keyType: 'P-256', secret: token.pin });
  });
  afterAll(() => token.remove());
  afterEach(async () => {
    fault.rules();
    for (const key of open) await key.close();
    open = [];
    fault.reset();
  });

  describe('a new login', () => {
    const codes = ['0x3', '0x30', '0x32', '0x60', '0x82', '0xb0', '0xb3', '0xe0', '0x101', '0x190'];
    test.each(codes.flatMap((code) => ['C_SignInit', 'C_Sign'].map((name) => [name, code])))(
      '%s answers %s once: one login, one signature more, and nobody learns of it',
      async (name, code) => {
        const key = await opened();
        fault.rules(`${name} rv=${code} count=1`);
        expect(verifies(key, await key.sign(message))).toBe(true);
        expect(came('C_Login', 'C_SignInit', 'C_Initialize')).toEqual([1, 2, 0]);
        await key.sign(message);
        expect(came('C_Login', 'C_SignInit')).toEqual([1, 3]);
      },
    );

    test('a token that opens no PKCS#11 session: as if it had not signed', async () => {
      const key = await opened();
      fault.rules('C_OpenSession rv=0xe0 count=1');
      expect(verifies(key, await key.sign(message))).toBe(true);
      expect(came('C_Login', 'C_SignInit', 'C_Initialize')).toEqual([1, 1, 0]);
    });

    test.each(['0x5', '0x6'])('%s is too little to go by, but of OpenSC', async (code) => {
      const key = await opened();
      fault.rules(`C_Sign rv=${code} count=1`);
      expect((await failure(key.sign(message))).code).toBe('ERR_SIGNING_FAILED');
      expect(came('C_Login', 'C_Sign')).toEqual([0, 1]);
      fault.reset();
      fault.rules(`C_Sign rv=${code} count=1`, 'maker OpenSC Project');
      expect(verifies(key, await key.sign(message))).toBe(true);
      expect(came('C_Login', 'C_Sign')).toEqual([1, 2]);
    });

    test.each(['0x20', '0x68', '0x54', '0x80000001'])('%s is an answer, not a loss', async (code) => {
      const key = await opened();
      fault.rules(`C_Sign rv=${code}`);
      expect((await failure(key.sign(message))).code).toBe('ERR_SIGNING_FAILED');
      expect(came('C_Login', 'C_Sign')).toEqual([0, 1]);
    });

    test('eight signatures at once: those in flight fail, one login has the key back for all', async () => {
      const key = await opened();
      fault.rules('C_Sign rv=0x30 delay=20 count=3');
      const signatures = await Promise.all(Array.from({ length: 8 }, () => key.sign(message)));
      expect(signatures.filter((one) => verifies(key, one))).toHaveLength(8);
      expect(came('C_Login', 'C_Sign', 'C_Initialize')).toEqual([1, 11, 0]);
    });

    test('an hour later it is lost once more: from the first rung on', async () => {
      const key = await opened();
      for (let times = 0; times < 3; times += 1) {
        fault.reset();
        fault.rules('C_Sign rv=0xb3 count=1');
        expect(verifies(key, await key.sign(message))).toBe(true);
        expect(came('C_Login', 'C_Initialize')).toEqual([1, 0]);
      }
    });

    test('no PKCS#11 session is left behind', async () => {
      const key = await opened();
      const before = fault.calls('C_CloseSession').passed;
      fault.rules('C_Sign rv=0x30 count=2');
      await key.sign(message);
      await key.close();
      // The first of all, from before the counters were set back, is closed besides.
      expect(fault.calls('C_CloseSession').passed - before).toBe(fault.calls('C_OpenSession').passed + 1);
      expect(came('C_Finalize')).toEqual([2]);
    });
  });

  describe('a new start of the module', () => {
    test('after a login that did not help', async () => {
      const key = await opened();
      fault.rules('C_Sign rv=0x30 count=2');
      expect(verifies(key, await key.sign(message))).toBe(true);
      expect(came('C_Login', 'C_Sign', 'C_Finalize', 'C_Initialize')).toEqual([2, 3, 1, 1]);
    });

    test('after a login that did not come about, which costs no signature', async () => {
      const key = await opened();
      fault.rules('C_Sign rv=0x32 count=1', 'C_Login rv=0x32 count=1');
      expect(verifies(key, await key.sign(message))).toBe(true);
      expect(came('C_Login', 'C_Sign', 'C_Initialize')).toEqual([2, 2, 1]);
    });

    test('that is all: the error says what was tried, and the next signature may try again', async () => {
      const key = await opened();
      fault.rules('C_Sign rv=0x30');
      const error = await failure(key.sign(message));
      expect(error.code).toBe('ERR_SIGNING_FAILED');
      expect(error.message).toMatch(
        /^key "web" .* did not sign, also after a new login and a new start of the module: .* \(CKR_DEVICE_ERROR\)$/,
      );
      expect(came('C_Login', 'C_Sign', 'C_Initialize')).toEqual([2, 3, 1]);
      fault.rules();
      expect(verifies(key, await key.sign(message))).toBe(true);
    });

    test('not where another key of this process uses the module', async () => {
      const [key, other] = [await opened(), await opened()];
      fault.rules('C_Sign rv=0x30 count=2');
      const error = await failure(key.sign(message));
      expect(error.message).toMatch(/did not sign, also after a new login: .* \(CKR_DEVICE_ERROR\)$/);
      expect(error.hint).toMatch(/^close what else uses the module/);
      expect(came('C_Login', 'C_Sign', 'C_Finalize')).toEqual([1, 2, 0]);
      expect(verifies(other, await other.sign(message))).toBe(true);
      expect(verifies(key, await key.sign(message))).toBe(true);
    });

    test('a token that went and came back', async () => {
      const key = await opened();
      fault.rules('absent', 'C_Sign rv=0x32', 'C_OpenSession rv=0xe0');
      for (let times = 0; times < 2; times += 1) {
        const error = await failure(key.sign(message));
        expect(error.code).toBe('ERR_TOKEN_NOT_FOUND');
        expect(error.message).toMatch(
          /^key "web" .* was lost \(CKR_[A-Z_]+\) and did not come back with a new login and a new start of the module: no token/,
        );
      }
      expect(came('C_Login')).toEqual([0]);
      fault.rules();
      expect(verifies(key, await key.sign(message))).toBe(true);
      expect(came('C_Login')).toEqual([1]);
    });
  });

  describe('others', () => {
    test.each<[string, (raw: RawPkcs11) => void]>([
      ['C_CloseAllSessions', ({ pkcs11: driver, session }) => driver.C_CloseAllSessions(slotOf(driver, session))],
      ['C_Logout', ({ pkcs11: driver, session }) => driver.C_Logout(session)],
      ['C_Finalize', ({ pkcs11: driver }) => driver.C_Finalize()],
    ])('somebody in this process calls %s', async (_name, spoil) => {
      const key = await opened();
      await key.sign(message);
      somebody(spoil);
      expect(verifies(key, await key.sign(message))).toBe(true);
      expect(came('C_Login')).toEqual([1]);
    });

    test('the key is deleted by another process: it is missing', async () => {
      await pkcs11.create(through('brief'), { keyType: 'P-256', secret: token.pin });
      const key = await opened({}, through('brief'));
      elsewhere(`for (const one of find(${pkcs11js.CKA_LABEL}, 'brief')) driver.C_DestroyObject(session, one);`);
      const error = await failure(key.sign(message));
      expect(error.code).toBe('ERR_KEY_NOT_FOUND');
      expect(error.message).toMatch(/^key "brief" .* was lost \(CKR_[A-Z_]+\) and did not come back with a new login:/);
      expect(came('C_Login', 'C_Initialize')).toEqual([1, 0]);
    });

    test('another key has its label and identifier: it does not sign', async () => {
      const id = randomBytes(4).toString('hex');
      const make = `const common = [{ type: ${pkcs11js.CKA_TOKEN}, value: true },
        { type: ${pkcs11js.CKA_LABEL}, value: 'twin' }, { type: ${pkcs11js.CKA_ID}, value: Buffer.from('${id}', 'hex') }];
        for (const one of find(${pkcs11js.CKA_LABEL}, 'twin')) driver.C_DestroyObject(session, one);
        driver.C_GenerateKeyPair(session, { mechanism: ${pkcs11js.CKM_EC_KEY_PAIR_GEN} },
          [...common, { type: ${pkcs11js.CKA_EC_PARAMS}, value: Buffer.from('06082a8648ce3d030107', 'hex') }],
          [...common, { type: ${pkcs11js.CKA_PRIVATE}, value: true }, { type: ${pkcs11js.CKA_SIGN}, value: true }]);`;
      elsewhere(make);
      const key = await opened({}, through('twin'));
      elsewhere(make);
      for (let times = 0; times < 2; times += 1) {
        const error = await failure(key.sign(message));
        expect(error.code).toBe('ERR_KEY_NOT_FOUND');
        expect(error.message).toContain('another key has its name now');
      }
      expect(fault.calls('C_Sign').came).toBe(0);
    });

    test('the PIN was changed meanwhile: refused once, remembered, not sent again', async () => {
      const key = await opened();
      const setPin = (from: string, to: string): void => elsewhere(`driver.C_SetPIN(session, '${from}', '${to}');`);
      setPin(token.pin, 'another-pin');
      try {
        fault.rules('C_Sign rv=0x30 count=2'); // SoftHSM hears of it at its next start only
        const error = await failure(key.sign(message));
        expect(error.code).toBe('ERR_SECRET_WRONG');
        expect(error.message).toMatch(
          /^key "web" .* was lost .* start of the module: the token "test" refused the PIN/,
        );
        for (let times = 0; times < 3; times += 1) {
          expect((await failure(key.sign(message))).code).toBe('ERR_SECRET_WRONG');
        }
        expect(came('C_Login', 'C_Sign', 'C_Initialize')).toEqual([2, 2, 1]);
      } finally {
        const pin = token.pin;
        (token as { pin: string }).pin = 'another-pin';
        setPin('another-pin', pin);
        (token as { pin: string }).pin = pin;
      }
      await key.close();
      await pkcs11.retryPin(uri, {});
      await opened();
    });
  });

  test('a key that needs a person does not sign again by itself; the next signature has it back', async () => {
    const id = randomBytes(4).toString('hex');
    elsewhere(`const common = [{ type: ${pkcs11js.CKA_TOKEN}, value: true },
      { type: ${pkcs11js.CKA_LABEL}, value: 'strict' }, { type: ${pkcs11js.CKA_ID}, value: Buffer.from('${id}', 'hex') }];
      driver.C_GenerateKeyPair(session, { mechanism: ${pkcs11js.CKM_EC_KEY_PAIR_GEN} },
        [...common, { type: ${pkcs11js.CKA_EC_PARAMS}, value: Buffer.from('06082a8648ce3d030107', 'hex') }],
        [...common, { type: ${pkcs11js.CKA_PRIVATE}, value: true },
          { type: ${pkcs11js.CKA_ALWAYS_AUTHENTICATE}, value: true }]);`);
    const key = await opened({}, through('strict'));
    expect(key.attended).toBe(true);
    fault.rules('C_Sign rv=0x30 count=1');
    const error = await failure(key.sign(message));
    expect([error.code, error.hint]).toEqual(['ERR_SIGNING_FAILED', expect.stringMatching(/sign again yourself/)]);
    expect(came('C_Login', 'C_Sign')).toEqual([1, 1]);
    expect(verifies(key, await key.sign(message))).toBe(true);
    expect(came('C_Login', 'C_Sign', 'C_Initialize')).toEqual([3, 2, 0]);
  });
});

function slotOf(driver: pkcs11js.PKCS11, session: Buffer): Buffer {
  return driver.C_GetSessionInfo(session).slotID;
}
