import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import pkcs11js, { type Attribute } from 'pkcs11js';
import type { HoldfastError } from '../../src/errors.ts';
import * as pkcs11 from '../../src/stores/pkcs11/in-place.ts';
import type { OpenKey, OpenOptions } from '../../src/stores/store.ts';
import { formatKeyUri, parseKeyUri } from '../../src/uri.ts';
import { makeIdentity } from '../helpers/certificates.ts';
import { destroyObjects, putRawCertificate, type RawPkcs11, withRaw } from '../helpers/raw-pkcs11.ts';
import { describeSoftHsm, makeToken, setRealEnvironment, type TestToken } from '../helpers/softhsm.ts';
import { failure, tellsOf } from '../stores/conformance.ts';

const { CKA_CLASS, CKA_ID, CKA_LABEL, CKA_TOKEN, CKO_PUBLIC_KEY } = pkcs11js;

describeSoftHsm('finding a key on a token', () => {
  let token: TestToken;
  let twin: TestToken;

  const open = (uri: string, options: OpenOptions = { secret: token.pin }): Promise<OpenKey> =>
    pkcs11.open(parseKeyUri(uri), options);
  const opens = async (uri: string, options?: OpenOptions): Promise<OpenKey> => {
    const key = await open(uri, options);
    await key.sign(Buffer.from('message'));
    await key.close();
    return key;
  };
  const refuses = (uri: string, options?: OpenOptions): Promise<HoldfastError> => failure(open(uri, options));
  const create = (path: Record<string, string>, keyType: 'P-256' | 'RSA-2048' = 'P-256') =>
    pkcs11.create(parseKeyUri(token.uri(path)), { keyType, secret: token.pin });
  const raw = <T>(use: (raw: RawPkcs11) => T): T => withRaw(token, use);
  const putCertificate = (value: Uint8Array, id: string, label: string): void =>
    putRawCertificate(token, value, id, label);
  const destroy = (template: Attribute[]): void => destroyObjects(token, template);
  const urisIn = (error: HoldfastError): string[] => error.hint?.match(/pkcs11:\S+/g) ?? [];

  beforeAll(async () => {
    token = await makeToken({ tokenLabel: 'prod' });
    setRealEnvironment(token.env);
    await create({ object: 'web', id: 'web-id' });
    await create({ object: 'mail', id: 'mail-id' }, 'RSA-2048');
  });
  afterAll(() => token.remove());

  test('by label, by id, by both, by neither of them together', async () => {
    for (const path of [{ object: 'web' }, { id: 'web-id' }, { object: 'web', id: 'web-id' }]) {
      expect((await opens(token.uri(path))).description).toBe('key "web" (id 7765622d6964) on token "prod"');
    }
    expect((await refuses(token.uri({ object: 'web', id: 'mail-id' }))).code).toBe('ERR_KEY_NOT_FOUND');
    expect((await refuses(token.uri({ object: '' }))).code).toBe('ERR_KEY_NOT_FOUND');
  });

  test('several that fit: ERR_KEY_AMBIGUOUS with a URI for each, without the PIN', async () => {
    const error = await refuses(token.uri({}, { 'pin-value': token.pin }), {});
    expect(error.code).toBe('ERR_KEY_AMBIGUOUS');
    expect(tellsOf(error, token.pin)).toBe(false);
    const found = await Promise.all(urisIn(error).map(async (uri) => (await opens(uri)).description));
    expect(found.sort()).toEqual([expect.stringContaining('"mail"'), expect.stringContaining('"web"')]);
  });

  test('type: private and cert, nothing else', async () => {
    await opens(token.uri({ object: 'web', type: 'private' }));
    await opens(token.uri({ object: 'web', type: 'cert' }));
    expect((await refuses(token.uri({ object: 'web', type: 'public' }))).code).toBe('ERR_URI_INVALID');
  });

  test('the label of the certificate leads to the key, the label of the key to the certificate', async () => {
    await create({ object: 'key of shop', id: 'shop-id' });
    const { publicKey } = await opens(token.uri({ object: 'key of shop' }));
    const keyPair = { publicKey: publicKey as Uint8Array, privateKey: undefined as never, pem: '' };
    const { certificate } = await makeIdentity({ keyPair });
    putCertificate(certificate, 'shop-id', 'certificate of shop');
    for (const object of ['key of shop', 'certificate of shop']) {
      const key = await opens(token.uri({ object }));
      expect(key.description).toContain('"key of shop"');
      expect(key.certificates[0]).toEqual(Buffer.from(certificate));
      const [leaf] = await pkcs11.readCertificates(parseKeyUri(token.uri({ object })), {});
      expect(leaf).toEqual(Buffer.from(certificate));
    }
  });

  test('a certificate under the id of the key that is not its own comes after it', async () => {
    // As with attestation certificates.
    await create({ object: 'attested', id: 'attested-id' });
    const { publicKey } = await opens(token.uri({ object: 'attested' }));
    const foreign = await makeIdentity();
    putCertificate(foreign.certificate, 'attested-id', 'attestation');
    const keyPair = { publicKey: publicKey as Uint8Array, privateKey: undefined as never, pem: '' };
    const { certificate } = await makeIdentity({ keyPair });
    putCertificate(certificate, 'attested-id', 'own');
    expect((await opens(token.uri({ object: 'attested' }))).certificates[0]).toEqual(Buffer.from(certificate));
  });

  test('a certificate that nobody can read harms nobody', async () => {
    putCertificate(Buffer.from('rubbish'), 'web-id', 'rubbish');
    await opens(token.uri({ object: 'web' }));
    await opens(token.uri({ object: 'mail' }));
  });

  test('without its public object: from the certificate, from an RSA private key, else unknown', async () => {
    await create({ object: 'half', id: 'half-id' });
    const { publicKey } = await opens(token.uri({ object: 'half' }));
    const rsa = await opens(token.uri({ object: 'mail' }));
    destroy([{ type: CKA_CLASS, value: CKO_PUBLIC_KEY }]);
    expect((await opens(token.uri({ object: 'half' }))).publicKey).toBeUndefined();
    expect((await opens(token.uri({ object: 'mail' }))).publicKey).toEqual(rsa.publicKey);
    const keyPair = { publicKey: publicKey as Uint8Array, privateKey: undefined as never, pem: '' };
    putCertificate((await makeIdentity({ keyPair })).certificate, 'half-id', 'half');
    expect((await opens(token.uri({ object: 'half' }))).publicKey).toEqual(publicKey);
  });

  test('keys that cannot do the work: ERR_KEY_UNSUPPORTED, saying why', async () => {
    raw(({ pkcs11: driver, session }) => {
      const both = (label: string, extra: Attribute[] = []): Attribute[] => [
        { type: CKA_TOKEN, value: true },
        { type: CKA_LABEL, value: label },
        { type: CKA_ID, value: Buffer.from(label) },
        ...extra,
      ];
      const curve = (oid: string): Attribute => ({ type: pkcs11js.CKA_EC_PARAMS, value: Buffer.from(oid, 'hex') });
      const p256 = curve('06082a8648ce3d030107');
      const never = { type: pkcs11js.CKA_SIGN, value: false };
      const ec = { mechanism: pkcs11js.CKM_EC_KEY_PAIR_GEN };
      driver.C_GenerateKeyPair(session, ec, both('no-sign', [p256]), both('no-sign', [never]));
      const ed25519 = curve('130c656477617264733235353139');
      driver.C_GenerateKeyPair(session, { mechanism: 0x1055 }, both('edwards', [ed25519]), both('edwards'));
    });
    const noSign = await refuses(token.uri({ object: 'no-sign' }));
    expect(noSign).toMatchObject({ code: 'ERR_KEY_UNSUPPORTED', message: expect.stringContaining('(CKA_SIGN)') });
    const edwards = await refuses(token.uri({ object: 'edwards' }));
    expect(edwards).toMatchObject({ code: 'ERR_KEY_UNSUPPORTED', message: expect.stringContaining('RSA') });
  });

  describe('the token', () => {
    const at = (path: [string, string][]): string =>
      formatKeyUri({ scheme: 'pkcs11', path, query: [['module-path', token.modulePath]] });

    test('alone there: what it shows of the key selects it, else it must be named; an empty URI selects nothing', async () => {
      await create({ object: 'alone', id: 'alone-id' });
      await opens(at([['object', 'alone']]));
      destroy([
        { type: CKA_CLASS, value: CKO_PUBLIC_KEY },
        { type: CKA_LABEL, value: 'alone' },
      ]);
      const stranger = await refuses(at([['object', 'alone']]));
      expect(stranger.code).toBe('ERR_TOKEN_AMBIGUOUS');
      await opens(urisIn(stranger)[0] as string);
      expect((await refuses(at([['id', 'alone-id']]))).code).toBe('ERR_TOKEN_AMBIGUOUS');
      await opens(at([['object', 'certificate of shop']]));
      const error = await refuses(at([]));
      expect(error.code).toBe('ERR_TOKEN_AMBIGUOUS');
      expect(urisIn(error)).toHaveLength(1);
      expect((await refuses(at([['type', 'private']]))).code).toBe('ERR_TOKEN_AMBIGUOUS');
    });

    test('that is not there: ERR_TOKEN_NOT_FOUND, listing those that are, uninitialised ones left out', async () => {
      const error = await refuses(
        at([
          ['token', 'nope'],
          ['object', 'web'],
        ]),
      );
      expect(error.code).toBe('ERR_TOKEN_NOT_FOUND');
      expect(urisIn(error)).toHaveLength(1);
      await opens(urisIn(error)[0] as string);
    });

    test('two of one label: ERR_TOKEN_AMBIGUOUS, and each URI in the list selects one', async () => {
      twin = await token.addToken({ tokenLabel: 'prod', pin: token.pin });
      const path = { object: 'web', id: 'web-id' };
      const error = await refuses(token.uri(path));
      expect(error.code).toBe('ERR_TOKEN_AMBIGUOUS');
      const uris = urisIn(error);
      expect(uris).toHaveLength(2);
      const codes = await Promise.all(
        uris.map((uri) =>
          open(uri).then(
            (key) => key.close(),
            ({ code }) => code,
          ),
        ),
      );
      expect(new Set(codes)).toEqual(new Set(['ERR_KEY_NOT_FOUND', undefined]));
      // The key alone does not choose between tokens: nobody logs in twice to look.
      expect((await refuses(at([['object', 'web']]))).code).toBe('ERR_TOKEN_AMBIGUOUS');
    });

    test('by serial, model, manufacturer and slot-id', async () => {
      const uris = urisIn(await refuses(twin.uri({ object: 'web' })));
      const serials = uris.map((uri) => parseKeyUri(uri).path.get('serial')?.toString() ?? '');
      const slots = raw(({ pkcs11: driver }) =>
        driver.C_GetSlotList(true).map((slot) => {
          const { serialNumber, model, manufacturerID } = driver.C_GetTokenInfo(slot);
          return { slot: String(slot.readBigUInt64LE()), serial: serialNumber.trim(), model, manufacturerID };
        }),
      );
      for (const serial of serials) {
        const info = slots.find((one) => one.serial === serial);
        const bySerial = await open(
          at([
            ['serial', serial],
            ['object', 'web'],
          ]),
        ).catch(({ code }) => code);
        const bySlot = await open(
          at([
            ['slot-id', info?.slot ?? ''],
            ['object', 'web'],
          ]),
        ).catch(({ code }) => code);
        expect(typeof bySerial).toBe(typeof bySlot);
        for (const key of [bySerial, bySlot]) await (key as OpenKey).close?.();
      }
      const model: [string, string] = ['model', slots[0]?.model.trim() ?? ''];
      const manufacturer: [string, string] = ['manufacturer', slots[0]?.manufacturerID.trim() ?? ''];
      expect((await refuses(at([model, manufacturer]))).code).toBe('ERR_TOKEN_AMBIGUOUS');
      expect((await refuses(at([model, ['manufacturer', 'nobody']]))).code).toBe('ERR_TOKEN_NOT_FOUND');
      expect((await refuses(at([['slot-id', 'first']]))).code).toBe('ERR_URI_INVALID');
    });
  });
});
