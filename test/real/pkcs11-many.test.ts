import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import * as pkcs11 from '../../src/stores/pkcs11/in-place.ts';
import type { KeyInfo } from '../../src/stores/store.ts';
import { type KeyUri, parseKeyUri } from '../../src/uri.ts';
import { addKeyPairs } from '../helpers/many-keys.ts';
import { describeSpied, type Spy, spyOn } from '../helpers/pkcs11-spy.ts';
import { makeToken, type TestToken } from '../helpers/softhsm.ts';
import { failure } from '../stores/conformance.ts';

type Counts = Readonly<Record<string, number>>;

describeSpied('the number of calls does not depend on what else the token holds', () => {
  let token: TestToken;
  let spy: Spy;

  const at = (path: Record<string, string>): KeyUri =>
    parseKeyUri(token.uri(path).replace(/module-path=[^&]+/, () => `module-path=${spy.modulePath}`));
  const sign = async (path: Record<string, string>): Promise<void> => {
    const key = await pkcs11.open(at(path), { secret: token.pin });
    expect(key.certificates).toHaveLength(1);
    await key.sign(Buffer.from('message'));
    await key.close();
  };
  const list = async (path: Record<string, string>, login: boolean): Promise<readonly KeyInfo[]> =>
    pkcs11.list(at(path), { login, ...(login && { secret: token.pin }) });

  /** What is done with one key among the others, by name. */
  const DEEDS: Readonly<Record<string, () => Promise<unknown>>> = {
    'open by id and sign': () => sign({ id: 'id 7' }),
    'open by label and sign': () => sign({ object: 'pair 7' }),
    'open by both and sign': () => sign({ id: 'id 7', object: 'pair 7' }),
    'read certificates by id': () => pkcs11.readCertificates(at({ id: 'id 7' }), {}),
    'read certificates by label': () => pkcs11.readCertificates(at({ object: 'pair 7' }), {}),
    'look for a key that is not there': () => failure(pkcs11.open(at({ id: 'nobody' }), { secret: token.pin })),
    'look for a certificate that is not there': () => pkcs11.readCertificates(at({ object: 'nobody' }), {}),
    'list by id': () => list({ id: 'id 7' }, false),
    'list by label, logged in': () => list({ object: 'pair 7' }, true),
    'list its private half': () => list({ id: 'id 7', type: 'private' }, true),
    'list its certificate': () => list({ object: 'pair 7', type: 'cert' }, false),
  };

  async function counts(): Promise<Record<string, Counts>> {
    const counted: Record<string, Counts> = {};
    for (const [deed, act] of Object.entries(DEEDS)) {
      spy.taken();
      await act();
      counted[deed] = spy.taken();
    }
    return counted;
  }

  let few: Record<string, Counts>;
  let many: Record<string, Counts>;
  let ambiguous: Counts;

  beforeAll(async () => {
    token = await makeToken();
    spy = spyOn(token);
    addKeyPairs(token, 1, 10);
    await list({}, false); // the module is loaded once
    few = await counts();
    addKeyPairs(token, 11, 1000);
    many = await counts();
    spy.taken();
  }, 120_000);
  afterAll(() => token.remove());

  test.each(Object.keys(DEEDS))('%s', (deed) => {
    expect(few[deed]?.C_FindObjectsInit).toBeGreaterThan(0);
    expect(many[deed]).toEqual(few[deed]);
  });

  test('one credential: one login, one signature', () => {
    expect(many['open by id and sign']).toMatchObject({ C_Login: 1, C_SignInit: 1, C_Sign: 1 });
  });

  test('listing logs in when told to, and only then', () => {
    const logins = Object.entries(many).map(([deed, calls]) => [deed, calls.C_Login ?? 0]);
    expect(Object.fromEntries(logins)).toMatchObject({
      'list by id': 0,
      'list its certificate': 0,
      'list by label, logged in': 1,
      'list its private half': 1,
    });
  });

  test('what fits more than can be chosen from is not described one by one', async () => {
    const error = await failure(pkcs11.open(at({}), { secret: token.pin }));
    ambiguous = spy.taken();
    expect(error).toMatchObject({ code: 'ERR_KEY_AMBIGUOUS', message: expect.stringContaining('more than 10') });
    expect(error.hint?.match(/pkcs11:\S+/g)).toHaveLength(10);
    expect(ambiguous.C_GetAttributeValue).toBeLessThanOrEqual(20);
    const certificates = await failure(pkcs11.readCertificates(at({}), {}));
    expect(certificates.code).toBe('ERR_CERTIFICATE_AMBIGUOUS');
    expect(spy.taken().C_GetAttributeValue ?? 0).toBeLessThanOrEqual(200);
  });

  describe('list of the whole token', () => {
    test('has all of them', async () => {
      const found = await list({}, true);
      const kinds = (kind: string) => found.filter((one) => one.kind === kind).length;
      expect([kinds('token'), kinds('key'), kinds('certificate')]).toEqual([1, 1000, 1000]);
      expect(found.every((one) => one.kind !== 'key' || (one.type === 'P-256' && one.certificate))).toBe(true);
    }, 60_000);
  });
});
