import { randomBytes, verify } from 'node:crypto';
import { inspect } from 'node:util';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import pkcs11js, { type Attribute, type PKCS11 } from 'pkcs11js';
import { askPerson } from '../../src/secret.ts';
import * as pkcs11 from '../../src/stores/pkcs11/in-place.ts';
import type { OpenKey, OpenOptions } from '../../src/stores/store.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { rawPkcs11 } from '../helpers/raw-pkcs11.ts';
import { describeSoftHsm, makeToken, setRealEnvironment, type TestToken } from '../helpers/softhsm.ts';
import { failure } from '../stores/conformance.ts';

const registry = (): { modules: Map<string, unknown> } =>
  (globalThis as unknown as Record<symbol, { modules: Map<string, unknown> }>)[
    Symbol.for('holdfast.pkcs11.modules.v1')
  ] as { modules: Map<string, unknown> };

describeSoftHsm('modules, sessions and logins over time', () => {
  let token: TestToken;
  const message = Buffer.from('message');

  const open = (object: string, options: OpenOptions = { secret: token.pin }): Promise<OpenKey> =>
    pkcs11.open(parseKeyUri(token.uri({ object })), options);
  const verifies = (key: OpenKey, signature: Uint8Array): boolean =>
    verify(
      'sha256',
      message,
      { key: Buffer.from(key.publicKey as Uint8Array), format: 'der', type: 'spki' },
      signature,
    );

  beforeAll(async () => {
    token = await makeToken();
    setRealEnvironment(token.env);
    for (const [object, keyType] of [
      ['ec', 'P-256'],
      ['rsa', 'RSA-4096'],
    ] as const) {
      await pkcs11.create(parseKeyUri(token.uri({ object })), { keyType, secret: token.pin });
    }
  }, 60_000);
  afterAll(() => token.remove());

  test('the last of several users finalises the module', async () => {
    const [a, b] = [await open('ec'), await open('rsa')];
    const witness = rawPkcs11(token);
    await a?.close();
    expect(witness.initialised()).toBe(true);
    expect(verifies(b as OpenKey, await (b as OpenKey).sign(message))).toBe(true);
    await b?.close();
    expect(witness.initialised()).toBe(false);
  });

  test('a module that somebody else initialised is used, and left to them', async () => {
    const somebody = rawPkcs11(token);
    for (let cycle = 0; cycle < 3; cycle += 1) {
      const key = await open('ec');
      expect(verifies(key, await key.sign(message))).toBe(true);
      await key.close();
    }
    expect(somebody.initialised()).toBe(true);
    somebody.close();
    somebody.finalise();
    // Now it is ours again, with the last user's finalisation.
    const key = await open('ec');
    expect(verifies(key, await key.sign(message))).toBe(true);
    await key.close();
    expect(somebody.initialised()).toBe(false);
  });

  test('a wrong PIN beside an open key does not get in', async () => {
    const key = await open('ec');
    expect((await failure(open('ec', { secret: 'not-the-pin' }))).code).toBe('ERR_SECRET_WRONG');
    expect(verifies(key, await key.sign(message))).toBe(true);
    await key.close();
  });

  test('with the last open key the login and what was known of its PIN end', async () => {
    const remembers = (): boolean => inspect(registry(), { depth: 9 }).includes("accepted: '");
    const [a, b] = [await open('ec'), await open('rsa')];
    await a?.close();
    expect(remembers()).toBe(true);
    await b?.close();
    expect(remembers()).toBe(false);
  });

  test('three signatures are in flight in the whole process', async () => {
    const keys = [await open('rsa'), await open('rsa'), await open('ec')];
    const [{ pkcs11: driver }] = [...registry().modules.values()] as [{ pkcs11: PKCS11 }];
    const real = driver.C_SignAsync.bind(driver);
    let [inFlight, most] = [0, 0];
    driver.C_SignAsync = async (...args: Parameters<PKCS11['C_SignAsync']>) => {
      inFlight += 1;
      most = Math.max(most, inFlight);
      return real(...args).finally(() => (inFlight -= 1));
    };
    await Promise.all(keys.flatMap((key) => Array.from({ length: 4 }, () => key.sign(message))));
    driver.C_SignAsync = real;
    expect(most).toBe(3);
    for (const key of keys) await key.close();
  });

  test('close with RSA-4096 signatures in flight drains them, time and again', async () => {
    for (let round = 0; round < 10; round += 1) {
      const key = await open('rsa');
      const signing = Array.from({ length: 6 }, () => key.sign(message));
      await Promise.all([key.close(), ...signing]);
      for (const signature of await Promise.all(signing)) expect(verifies(key, signature)).toBe(true);
    }
  }, 60_000);

  test('signatures that are interrupted in flight leave the module whole', async () => {
    for (let round = 0; round < 5; round += 1) {
      const controller = new AbortController();
      const key = await open('rsa', { secret: token.pin, signal: controller.signal });
      const signing = Array.from({ length: 6 }, () => failure(key.sign(message)));
      await new Promise((resolve) => setImmediate(resolve));
      controller.abort();
      expect((await Promise.all(signing)).map(({ code }) => code)).toEqual(Array(6).fill('ERR_INTERRUPTED'));
      await key.close();
    }
    const key = await open('rsa');
    expect(verifies(key, await key.sign(message))).toBe(true);
    await key.close();
  }, 60_000);

  test('a key that goes away: ERR_KEY_NOT_FOUND, and the same when opened again', async () => {
    await pkcs11.create(parseKeyUri(token.uri({ object: 'brief' })), { keyType: 'P-256', secret: token.pin });
    const key = await open('brief');
    await key.sign(message);
    const somebody = rawPkcs11(token);
    for (const object of somebody.find([{ type: pkcs11js.CKA_LABEL, value: 'brief' }])) {
      somebody.pkcs11.C_DestroyObject(somebody.session, object);
    }
    somebody.close();
    const error = await failure(key.sign(message));
    expect(error.code).toBe('ERR_KEY_NOT_FOUND');
    expect(error.message).toMatch(/ was lost \(CKR_[A-Z_]+\) and did not come back with a new login: /);
    await key.close();
    expect((await failure(open('brief'))).code).toBe('ERR_KEY_NOT_FOUND');
  });

  test('a key that wants its PIN for every signature gets it, from the store in parallel, from a person one by one', async () => {
    const somebody = rawPkcs11(token);
    const common: Attribute[] = [
      { type: pkcs11js.CKA_TOKEN, value: true },
      { type: pkcs11js.CKA_LABEL, value: 'strict' },
      { type: pkcs11js.CKA_ID, value: randomBytes(4) },
    ];
    somebody.pkcs11.C_GenerateKeyPair(
      somebody.session,
      { mechanism: pkcs11js.CKM_EC_KEY_PAIR_GEN },
      [...common, { type: pkcs11js.CKA_EC_PARAMS, value: Buffer.from('06082a8648ce3d030107', 'hex') }],
      [...common, { type: pkcs11js.CKA_PRIVATE, value: true }, { type: pkcs11js.CKA_ALWAYS_AUTHENTICATE, value: true }],
    );
    somebody.close();
    somebody.finalise();

    const stored = await open('strict');
    expect(stored.attended).toBe(true);
    for (const signature of await Promise.all(Array.from({ length: 10 }, () => stored.sign(message)))) {
      expect(verifies(stored, signature)).toBe(true);
    }
    await stored.close();

    let asked = 0;
    const secret = askPerson(() => {
      asked += 1;
      // The third answer is a slip of the finger.
      return asked === 3 ? 'slip' : token.pin;
    });
    const person = await open('strict', { secret });
    expect(verifies(person, await person.sign(message))).toBe(true);
    expect((await failure(person.sign(message))).code).toBe('ERR_SECRET_WRONG');
    expect(verifies(person, await person.sign(message))).toBe(true);
    expect(asked).toBe(4);
    await person.close();
  });
});
