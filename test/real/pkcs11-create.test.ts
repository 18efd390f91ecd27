import { createPublicKey, verify, X509Certificate } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import pkcs11js from 'pkcs11js';
import * as pkcs11 from '../../src/stores/pkcs11/in-place.ts';
import type { KeySpec } from '../../src/stores/store.ts';
import { type KeyUri, parseKeyUri } from '../../src/uri.ts';
import { shown } from '../helpers/canaries.ts';
import { makeIdentity, type TestIdentity } from '../helpers/certificates.ts';
import { start } from '../helpers/cli.ts';
import { rawPkcs11 } from '../helpers/raw-pkcs11.ts';
import { describeSoftHsm, makeToken, setRealEnvironment, type TestToken } from '../helpers/softhsm.ts';
import { failure } from '../stores/conformance.ts';

const TYPES: readonly KeySpec[] = ['RSA-2048', 'RSA-3072', 'RSA-4096', 'P-256', 'P-384', 'P-521'];
const message = Buffer.from('message');
const PROGRAM = fileURLToPath(new URL('../helpers/make-keys.mjs', import.meta.url));

describeSoftHsm('keys and certificates made in a token', () => {
  let token: TestToken;
  const secret = (): { secret: string } => ({ secret: token.pin });
  const create = (path: Record<string, string | Uint8Array>, keyType: KeySpec = 'P-256'): Promise<KeyUri> =>
    pkcs11.create(parseKeyUri(token.uri(path)), { keyType, ...secret() });
  const publicKeyOf = async (uri: KeyUri): Promise<Uint8Array> => {
    const key = await pkcs11.open(uri, secret());
    await key.close();
    return key.publicKey as Uint8Array;
  };
  /** A certificate for a key in the token, with two intermediates above it. */
  const certify = async (uri: KeyUri, intermediates = 2): Promise<TestIdentity> => {
    const publicKey = await publicKeyOf(uri);
    return makeIdentity({ intermediates, keyPair: { publicKey, privateKey: undefined as never, pem: '' } });
  };

  beforeAll(async () => {
    token = await makeToken({ pin: shown });
    setRealEnvironment(token.env);
  });
  afterAll(() => token.remove());

  test.each(TYPES)(
    '%s: made, found again, signs',
    async (keyType) => {
      const uri = await create({ object: `made-${keyType}` }, keyType);
      expect(uri.path.get('id')?.length).toBeGreaterThan(0);
      const key = await pkcs11.open(uri, secret());
      const publicKey = createPublicKey({ key: Buffer.from(key.publicKey as Uint8Array), format: 'der', type: 'spki' });
      const bits = publicKey.asymmetricKeyDetails?.modulusLength ?? publicKey.asymmetricKeyDetails?.namedCurve;
      const curves: Record<string, string> = { 'P-256': 'prime256v1', 'P-384': 'secp384r1', 'P-521': 'secp521r1' };
      expect(bits).toBe(curves[keyType] ?? Number(keyType.slice(4)));
      for (const hash of ['SHA-256', 'SHA-384', 'SHA-512'] as const) {
        const signature = await key.sign(message, hash);
        expect(verify(hash.replace('-', ''), message, publicKey, signature)).toBe(true);
      }
      await key.close();
    },
    60_000,
  );

  test('the private half is sensitive, was never anything else, and does not come out', async () => {
    const id = Buffer.from('00ff10', 'hex');
    await create({ id });
    const raw = rawPkcs11(token);
    const [handle] = raw.find([
      { type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_PRIVATE_KEY },
      { type: pkcs11js.CKA_ID, value: id },
    ]);
    const is = (type: number): number | undefined =>
      raw.pkcs11.C_GetAttributeValue(raw.session, handle as Buffer, [{ type }])[0]?.value[0];
    const attributes = {
      token: is(pkcs11js.CKA_TOKEN),
      private: is(pkcs11js.CKA_PRIVATE),
      sensitive: is(pkcs11js.CKA_SENSITIVE),
      alwaysSensitive: is(pkcs11js.CKA_ALWAYS_SENSITIVE),
      neverExtractable: is(pkcs11js.CKA_NEVER_EXTRACTABLE),
      local: is(pkcs11js.CKA_LOCAL),
      extractable: is(pkcs11js.CKA_EXTRACTABLE),
      sign: is(pkcs11js.CKA_SIGN),
    };
    raw.close();
    raw.finalise();
    expect(attributes).toEqual({
      token: 1,
      private: 1,
      sensitive: 1,
      alwaysSensitive: 1,
      neverExtractable: 1,
      local: 1,
      extractable: 0,
      sign: 1,
    });
  });

  test('a name that is taken: ERR_KEY_EXISTS, and nothing is made', async () => {
    const uri = await create({ object: 'taken', id: 'taken-id' });
    for (const path of [{ object: 'taken' }, { id: 'taken-id' }, { object: 'other', id: 'taken-id' }]) {
      expect((await failure(create(path))).code).toBe('ERR_KEY_EXISTS');
    }
    await (await pkcs11.open(uri, secret())).close();
    await (await pkcs11.open(parseKeyUri(token.uri({ object: 'taken' })), secret())).close();
    expect((await failure(pkcs11.open(parseKeyUri(token.uri({ object: 'other' })), secret()))).code).toBe(
      'ERR_KEY_NOT_FOUND',
    );
  });

  test('six processes that want the same names at once: each name is made once', async () => {
    const names = ['race 1', 'race 2', 'race 3'];
    const uris = names.map((object) => token.uri({ object }, { 'pin-value': token.pin }));
    const env = { ...token.env, HOLDFAST_TEST_DIST: process.env.HOLDFAST_TEST_DIST };
    const children = names.concat(names).map(() => start([PROGRAM, ...uris], { env, keepInput: true }));
    await Promise.all(children.map((child) => child.saw('ready')));
    for (const { child } of children) child.stdin?.end();
    const finished = await Promise.all(children.map((child) => child.finished));
    const outcomes = finished.map(({ stdout }) => JSON.parse(stdout.split('\n')[1] ?? '') as string[]);
    for (const at of names.keys()) {
      const of = (what: string): number => outcomes.filter((one) => one[at] === what).length;
      expect([of('made'), of('ERR_KEY_EXISTS')]).toEqual([1, 5]);
    }
    for (const object of names) {
      expect(await pkcs11.list(parseKeyUri(token.uri({ object })), { login: true, ...secret() })).toHaveLength(1);
    }
  });

  test('three in this process: one is made', async () => {
    const outcomes = await Promise.allSettled([1, 2, 3].map(() => create({ object: 'at once' })));
    expect(outcomes.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected', 'rejected']);
  });

  test('a label that is not UTF-8, and the type of a certificate: ERR_URI_INVALID, and nothing is made', async () => {
    const howMany = async () => (await pkcs11.list(parseKeyUri(token.uri()), { login: true, ...secret() })).length;
    const before = await howMany();
    const odd = await failure(create({ object: Buffer.from('fffe', 'hex') }));
    expect([odd.code, odd.message]).toEqual(['ERR_URI_INVALID', expect.stringContaining('UTF-8')]);
    expect((await failure(create({ object: 'of a certificate', type: 'cert' }))).code).toBe('ERR_URI_INVALID');
    expect(await howMany()).toBe(before);
    const name = '\u00fcml\u00e4ut \u{1f511}';
    expect(Buffer.from((await create({ object: name, type: 'private' })).path.get('object') ?? []).toString()).toBe(
      name,
    );
  });

  test('refuses a key type that does not exist, a missing PIN, an unnamed token', async () => {
    const uri = parseKeyUri(token.uri({ object: 'never' }));
    const keyType = 'RSA-1024' as KeySpec;
    expect((await failure(pkcs11.create(uri, { keyType, ...secret() }))).code).toBe('ERR_OPTION_INVALID');
    expect((await failure(pkcs11.create(uri, { keyType: 'P-256' }))).code).toBe('ERR_SECRET_REQUIRED');
    const nowhere = parseKeyUri(`pkcs11:?module-path=${token.modulePath}`);
    expect((await failure(pkcs11.create(nowhere, { keyType: 'P-256', ...secret() }))).code).toBe('ERR_TOKEN_AMBIGUOUS');
  });

  test('the URI it returns keeps the way to the PIN, and does not print it', async () => {
    const uri = await pkcs11.create(parseKeyUri(token.uri({ object: 'carry' }, { 'pin-value': token.pin })), {
      keyType: 'P-256',
    });
    await (await pkcs11.open(uri, {})).close();
    expect(String(uri)).not.toContain(token.pin);
  });

  describe('certificates', () => {
    let uri: KeyUri;
    let identity: TestIdentity;

    beforeAll(async () => {
      uri = await create({ object: 'certified' }, 'P-384');
      identity = await certify(uri);
      await pkcs11.putCertificate(uri, [identity.certificate, ...identity.intermediates], secret());
    });

    const hexOf = (ders: readonly Uint8Array[]): string[] => ders.map((der) => Buffer.from(der).toString('hex'));

    test('stand beside the key, its own first', async () => {
      const key = await pkcs11.open(uri, secret());
      await key.close();
      expect(hexOf(key.certificates)[0]).toBe(hexOf([identity.certificate])[0]);
      expect(hexOf(key.certificates).sort()).toEqual(hexOf([identity.certificate, ...identity.intermediates]).sort());
      const leaf = new X509Certificate(key.certificates[0] as Uint8Array);
      expect(leaf.publicKey.export({ type: 'spki', format: 'der' })).toEqual(Buffer.from(key.publicKey as Uint8Array));
    });

    test('are read without a PIN', async () => {
      const found = await pkcs11.readCertificates(uri, {});
      expect(hexOf(found)[0]).toBe(hexOf([identity.certificate])[0]);
      expect(found).toHaveLength(3);
      const byLabel = parseKeyUri(token.uri({ object: 'certified', type: 'cert' }));
      expect(hexOf(await pkcs11.readCertificates(byLabel, {}))[0]).toBe(hexOf(found)[0]);
    });

    test('are not written twice', async () => {
      await pkcs11.putCertificate(uri, [identity.certificate, ...identity.intermediates], secret());
      expect(await pkcs11.readCertificates(uri, {})).toHaveLength(3);
    });

    test('another one for the same key is refused', async () => {
      const renewed = await certify(uri, 0);
      const error = await failure(pkcs11.putCertificate(uri, [renewed.certificate], secret()));
      expect(error.code).toBe('ERR_KEY_EXISTS');
      expect(await pkcs11.readCertificates(uri, {})).toHaveLength(3);
    });

    test('that of another key, rubbish, and none are refused', async () => {
      const bare = await create({ object: 'bare' });
      const put = (chain: readonly Uint8Array[]): Promise<unknown> =>
        failure(pkcs11.putCertificate(bare, chain, secret()));
      expect(await put([identity.certificate])).toMatchObject({ code: 'ERR_CERTIFICATE_MISMATCH' });
      expect(await put([Buffer.from('rubbish')])).toMatchObject({ code: 'ERR_CERTIFICATE_INVALID' });
      expect(await put([])).toMatchObject({ code: 'ERR_CERTIFICATE_REQUIRED' });
      expect(await pkcs11.readCertificates(bare, {})).toEqual([]);
    });

    test('a URI that only names the token: its one leaf, or ERR_CERTIFICATE_AMBIGUOUS', async () => {
      const whole = parseKeyUri(token.uri());
      expect(hexOf(await pkcs11.readCertificates(whole, {}))[0]).toBe(hexOf([identity.certificate])[0]);
      const second = await create({ object: 'second' });
      await pkcs11.putCertificate(second, [(await certify(second, 0)).certificate], secret());
      const error = await failure(pkcs11.readCertificates(whole, {}));
      expect(error.code).toBe('ERR_CERTIFICATE_AMBIGUOUS');
      const uris = error.hint?.match(/pkcs11:\S+/g) ?? [];
      expect(uris).toHaveLength(2);
      for (const one of uris) {
        expect((await pkcs11.readCertificates(parseKeyUri(one), {})).length).toBeGreaterThan(0);
      }
    });
  });
});
