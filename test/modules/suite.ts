import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import pkcs11js from 'pkcs11js';
import { askPerson } from '../../src/secret.ts';
import * as pkcs11 from '../../src/stores/pkcs11/in-place.ts';
import type { KeySpec } from '../../src/stores/store.ts';
import { type KeyUri, parseKeyUri } from '../../src/uri.ts';
import { inChild } from '../helpers/in-child.ts';
import { setRealEnvironment } from '../helpers/softhsm.ts';
import { conformance, failure, type TestKey } from '../stores/conformance.ts';
import {
  attempt,
  authenticatesAlways,
  makes,
  putsCertificates,
  removesCertificates,
  sendWrongPins,
  signsWith,
  type WrongPin,
  YES,
} from './abilities.ts';
import { type Ability, gapsOf, keyTypesOf, MECHANISMS, type ModuleName } from './gaps.ts';
import { KEY_TYPES, type TestModule, uriOn } from './module.ts';

/** Everything that is asked of a PKCS#11 module, inside of a `describe`. One module for each test file. */
export function moduleSuite(name: ModuleName, setUp: () => Promise<TestModule>): void {
  const types = keyTypesOf(name);
  const someType = types.find((type) => type === 'P-256') ?? (types[0] as KeySpec);
  const keys = new Map<KeySpec, TestKey>();
  let module: TestModule;

  beforeAll(async () => {
    module = await setUp();
    setRealEnvironment(module.env);
    // Before the module is loaded here: a TPM has one user at a time, and others see new keys late.
    for (const type of types) {
      const { path, publicKey } = await module.makeKey(type);
      keys.set(type, { uri: uriOn(module, path), publicKey, secret: module.pin });
    }
  }, 120_000);
  afterAll(() => module?.remove());

  const keyOf = (type: KeySpec): TestKey => keys.get(type) as TestKey;

  for (const [how, store] of [
    ['in a child', inChild],
    ['in place', pkcs11],
  ] as const) {
    conformance(`pkcs11 ${how}`, {
      store: async () => store,
      keyTypes: types,
      key: async (type) => keyOf(type),
      protectedKey: async () => ({ ...keyOf(someType), secret: module.pin }),
      missingKey: async () => ({ uri: uriOn(module, { object: 'nobody' }), secret: module.pin }),
      ambiguousKey: async () => ({ uri: uriOn(module), secret: module.pin }),
      parallel: 200,
    });
  }

  test('lists its keys, each with a URI that opens it', async () => {
    const listed = await pkcs11.list(parseKeyUri(uriOn(module)), { login: true, secret: module.pin });
    const uris = listed.flatMap((one) => (one.kind === 'key' ? [parseKeyUri(one.uri)] : []));
    for (const [type, { uri, publicKey }] of keys) {
      const id = Buffer.from(parseKeyUri(uri).path.get('id') as Uint8Array);
      const [found, ...others] = uris.filter((one) => id.equals(one.path.get('id') ?? Buffer.alloc(0)));
      expect([type, found, others]).toEqual([type, expect.anything(), []]);
      const key = await pkcs11.open(found as KeyUri, { secret: module.pin });
      await key.close();
      const spki = publicKey.export({ type: 'spki', format: 'der' }).toString('hex');
      expect(Buffer.from(key.publicKey as Uint8Array).toString('hex')).toBe(spki);
    }
  });

  describe('what the module itself can do', () => {
    const gaps = gapsOf(name);
    const can = (ability: Ability, probe: () => unknown): void => {
      const gap = gaps[ability];
      test(gap === undefined ? ability : `no ${ability}: ${gap}`, async () => {
        const answer = await attempt(probe);
        await module.settle?.();
        expect(answer).toBe(gap ?? YES);
      });
    };

    for (const type of KEY_TYPES) can(`make ${type}`, () => makes(module, type));
    for (const mechanism of MECHANISMS) {
      const type = mechanism.includes('RSA') ? 'RSA-2048' : 'P-256';
      can(mechanism, () => {
        const key = keys.get(type);
        return key ? signsWith(module, mechanism, key) : `holds no ${type} key`;
      });
    }
    can('put certificates', () => putsCertificates(module, someType));
    can('remove certificates', () => removesCertificates(module));
    can('authenticate always', () => authenticatesAlways(module, someType.startsWith('RSA') ? 'RSA' : 'EC'));

    test('a wrong stored PIN is sent once, however often the key is opened', async () => {
      const { uri } = keyOf(someType);
      for (let tries = 0; tries < 8; tries += 1) {
        const error = await failure(pkcs11.open(parseKeyUri(uri), { secret: `wrong${module.pin.slice(5)}` }));
        expect(error.code).toBe('ERR_SECRET_WRONG');
      }
      // It would be locked by now where it locks, and the right PIN refused.
      await (await pkcs11.open(parseKeyUri(uri), { secret: module.pin })).close();
      await module.settle?.();
    });

    // From here on wrong PINs: in the end the token is locked where it locks.
    if (gaps['flag the last try'] === undefined) {
      test('a stored PIN is not spent on the last try, that of a person is', async () => {
        sendWrongPins(module, ({ flags }) => (flags & pkcs11js.CKF_USER_PIN_FINAL_TRY) !== 0);
        const uri = parseKeyUri(keyOf(someType).uri);
        expect((await failure(pkcs11.open(uri, { secret: module.pin }))).code).toBe('ERR_SECRET_LAST_TRY');
        await (await pkcs11.open(uri, { secret: askPerson(() => module.pin) })).close();
        await (await pkcs11.open(uri, { secret: module.pin })).close();
      });
    }

    let sent: readonly WrongPin[] | undefined;
    const seen = (): readonly WrongPin[] => {
      sent ??= sendWrongPins(module, ({ answer }) => answer === pkcs11js.CKR_PIN_LOCKED);
      return sent;
    };
    const isFlagged = (flag: number): string => (seen().some(({ flags }) => flags & flag) ? YES : 'no flag');
    can('flag a wrong PIN', () => isFlagged(pkcs11js.CKF_USER_PIN_COUNT_LOW));
    can('flag the last try', () => isFlagged(pkcs11js.CKF_USER_PIN_FINAL_TRY));
    can('flag the lock', () => isFlagged(pkcs11js.CKF_USER_PIN_LOCKED));
    can('lock', () => (seen().at(-1)?.answer === pkcs11js.CKR_PIN_LOCKED ? YES : 'never'));

    if (gaps['flag the lock'] === undefined) {
      test('a locked token is reported', async () => {
        const error = await failure(pkcs11.open(parseKeyUri(keyOf(someType).uri), { secret: module.pin }));
        expect(error.code).toBe('ERR_SECRET_LOCKED');
      });
    }
  });
}
