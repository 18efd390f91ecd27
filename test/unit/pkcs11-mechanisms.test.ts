import { createHash } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import type { HashName } from '../../src/signer.ts';
import { CK } from '../../src/stores/pkcs11/cryptoki.ts';
import type { PrivateKey } from '../../src/stores/pkcs11/keys.ts';
import { type Way, waysToSign } from '../../src/stores/pkcs11/sign.ts';
import type { OpenKey } from '../../src/stores/store.ts';
import { type Fake, fakeToken, openFake } from '../helpers/fake-pkcs11.ts';
import { failure } from '../stores/conformance.ts';

const message = Buffer.from('message');
const opened = (fake: Fake): Promise<OpenKey> => openFake(fake, { secret: fake.pin });
const count = (fake: Fake, call: string): number => fake.calls.filter((one) => one === call).length;

describe('what the token is given', () => {
  const key = { type: 'EC', orderSize: 32, description: 'key "web"' } as PrivateKey;
  const every = { offers: () => true, forget: () => {} };
  const sha256 = createHash('sha256').update(message).digest();

  test('ECDSA: the leftmost octets of a digest that is longer than the order', () => {
    const digest = createHash('sha512').update(message).digest();
    const given = (orderSize: number | undefined) =>
      waysToSign({ ...key, orderSize }, every, message, 'SHA-512')[0] as Way;
    expect(given(32).mechanism).toBe(CK.CKM_ECDSA);
    expect(given(32).input).toEqual(digest.subarray(0, 32));
    expect(given(66).input).toEqual(digest);
    // A curve that we do not know: the token cuts.
    expect(given(undefined).input).toEqual(digest);
  });

  const rsa = { ...key, type: 'RSA', orderSize: undefined } as PrivateKey;
  const digestInfo = Buffer.concat([Buffer.from('3031300d060960864801650304020105000420', 'hex'), sha256]);
  test.each([
    [
      'RSA, every mechanism',
      rsa,
      [0x1, 0x40],
      [
        [0x40, message],
        [0x1, digestInfo],
      ],
    ],
    [
      'RSA, without CKM_RSA_PKCS',
      rsa,
      [0x40, 0x41],
      [
        [0x40, message],
        [0x1, digestInfo],
      ],
    ],
    ['RSA, without CKM_SHA256_RSA_PKCS', rsa, [0x1, 0x41], [[0x1, digestInfo]]],
    [
      'EC, every mechanism',
      key,
      [0x1041, 0x1044],
      [
        [0x1041, sha256],
        [0x1044, message],
      ],
    ],
    [
      'EC, without CKM_ECDSA',
      key,
      [0x1044],
      [
        [0x1044, message],
        [0x1041, sha256],
      ],
    ],
    ['EC, only CKM_ECDSA', key, [0x1041, 0x1045], [[0x1041, sha256]]],
  ] as const)('%s', (_, which, offered, expected) => {
    const ways = waysToSign(which, { ...every, offers: (one) => offered.includes(one as never) }, message, 'SHA-256');
    expect(ways.map(({ mechanism, input }) => [mechanism, input])).toEqual(expected);
  });

  test.each([
    ['SHA-256', key, 'CKM_ECDSA nor CKM_ECDSA_SHA256'],
    ['SHA-384', key, 'CKM_ECDSA nor CKM_ECDSA_SHA384'],
    ['SHA-512', rsa, 'CKM_RSA_PKCS nor CKM_SHA512_RSA_PKCS'],
  ] as const)('%s without any that fits: ERR_KEY_UNSUPPORTED', async (hash, which, missing) => {
    const nothing = { offers: () => false, forget: () => {} };
    const error = await failure((async () => waysToSign(which, nothing, message, hash))());
    expect(error).toMatchObject({ code: 'ERR_KEY_UNSUPPORTED', message: expect.stringContaining(missing) });
  });

  const signed = async (fake: Fake): Promise<string[]> => {
    const open = await opened(fake);
    await open.sign(message);
    await open.sign(message);
    await open.close();
    return fake.calls.filter((call) => call.startsWith('mechanism'));
  };

  test('the list is read once, and the message goes to a token that hashes by itself', async () => {
    const fake = fakeToken();
    fake.mechanisms = [CK.CKM_ECDSA_SHA256];
    expect(await signed(fake)).toEqual(Array(2).fill(`mechanism ${CK.CKM_ECDSA_SHA256}`));
    expect(fake.given).toEqual(message);
    expect(count(fake, 'C_GetMechanismList')).toBe(1);
  });

  test.each([
    ['fails', undefined],
    ['is empty', []],
  ])('a list that %s: the mechanism that every token has', async (_, mechanisms) => {
    const fake = fakeToken();
    fake.mechanisms = mechanisms;
    expect(await signed(fake)).toEqual(Array(2).fill(`mechanism ${CK.CKM_ECDSA}`));
    expect(fake.given).toEqual(sha256);
  });

  test.each([
    ['leaves out what works', [CK.CKM_ECDSA_SHA256], CK.CKM_ECDSA, sha256],
    ['promises what does not', [CK.CKM_ECDSA, CK.CKM_ECDSA_SHA256], CK.CKM_ECDSA_SHA256, message],
  ])('a list that %s is found out once', async (_, mechanisms, works, input) => {
    const fake = fakeToken();
    fake.mechanisms = mechanisms;
    fake.knows = (mechanism) => mechanism === works;
    const lie = works === CK.CKM_ECDSA ? CK.CKM_ECDSA_SHA256 : CK.CKM_ECDSA;
    expect(await signed(fake)).toEqual([lie, works, works].map((one) => `mechanism ${one}`));
    expect(fake.given).toEqual(input);
  });

  test('a token that takes none of them: ERR_SIGNING_FAILED', async () => {
    const fake = fakeToken();
    fake.knows = () => false;
    const open = await opened(fake);
    for (let i = 0; i < 2; i += 1) {
      const error = await failure(open.sign(message));
      expect(error).toMatchObject({
        code: 'ERR_SIGNING_FAILED',
        message: expect.stringContaining('MECHANISM_INVALID'),
      });
    }
    await open.close();
  });

  test('without a mechanism that fits nobody is asked for a PIN', async () => {
    const fake = fakeToken();
    fake.alwaysAuthenticate = true;
    fake.mechanisms = [CK.CKM_RSA_PKCS];
    const open = await opened(fake);
    expect((await failure(open.sign(message))).code).toBe('ERR_KEY_UNSUPPORTED');
    expect(count(fake, 'login 2')).toBe(0);
    expect(count(fake, 'C_SignInit')).toBe(0);
    await open.close();
  });

  test('a hash that does not exist: ERR_OPTION_INVALID', async () => {
    const open = await opened(fakeToken());
    for (const hash of ['MD5', 'constructor', '__proto__', 'toString', 256, null, Symbol('hash')]) {
      expect((await failure(open.sign(message, hash as HashName))).code).toBe('ERR_OPTION_INVALID');
    }
    await open.close();
  });
});
