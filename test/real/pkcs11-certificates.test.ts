import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import pkcs11js from 'pkcs11js';
import * as pkcs11 from '../../src/stores/pkcs11/index.ts';
import type { OpenKey, OpenOptions } from '../../src/stores/store.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { makeIdentity } from '../helpers/certificates.ts';
import { destroyObjects, putRawCertificate, withRaw } from '../helpers/raw-pkcs11.ts';
import { describeSoftHsm, makeToken, setRealEnvironment, type TestToken } from '../helpers/softhsm.ts';

const { CKA_CLASS, CKA_ID, CKA_LABEL, CKO_PUBLIC_KEY } = pkcs11js;

describeSoftHsm('which certificate belongs to which key', () => {
  let token: TestToken;

  const opens = async (uri: string, options: OpenOptions = { secret: token.pin }): Promise<OpenKey> => {
    const key = await pkcs11.open(parseKeyUri(uri), options);
    await key.sign(Buffer.from('message'));
    await key.close();
    return key;
  };
  const create = (path: Record<string, string>) =>
    pkcs11.create(parseKeyUri(token.uri(path)), { keyType: 'P-256', secret: token.pin });

  beforeAll(async () => {
    token = await makeToken({ tokenLabel: 'prod' });
    setRealEnvironment(token.env);
  });
  afterAll(() => token.remove());

  test('of several certificates of one key the one that is valid comes first, by the clock that is given', async () => {
    await create({ object: 'renewed', id: 'renewed-id' });
    const { publicKey } = await opens(token.uri({ object: 'renewed' }));
    const keyPair = { publicKey: publicKey as Uint8Array, privateKey: undefined as never, pem: '' };
    const until = async (notBefore: Date, notAfter: Date, label: string): Promise<Buffer> => {
      const { certificate } = await makeIdentity({ keyPair, notBefore, notAfter });
      putRawCertificate(token, certificate, 'renewed-id', label);
      return Buffer.from(certificate);
    };
    const day = (days: number): Date => new Date(Date.now() + days * 86_400_000);
    const next = await until(day(10), day(100), 'next');
    const current = await until(day(-1), day(20), 'current');
    const uri = token.uri({ id: 'renewed-id' });
    for (const [now, first] of [
      [undefined, current],
      [() => day(50), next],
    ] as const) {
      expect((await opens(uri, { secret: token.pin, now })).certificates[0]).toEqual(first);
      expect((await pkcs11.readCertificates(parseKeyUri(uri), { now }))[0]).toEqual(first);
    }
  });

  describe('two keys with one id and different labels', () => {
    let publicKeys: Record<string, Uint8Array>;
    let ofRight: Uint8Array;
    const certify = async (label: string, name = label): Promise<Uint8Array> => {
      const keyPair = { publicKey: publicKeys[label] as Uint8Array, privateKey: undefined as never, pem: '' };
      const { certificate } = await makeIdentity({ keyPair });
      putRawCertificate(token, certificate, 'one-id', name);
      return certificate;
    };
    const removePublic = (label: string): void =>
      destroyObjects(token, [
        { type: CKA_CLASS, value: CKO_PUBLIC_KEY },
        { type: CKA_LABEL, value: label },
      ]);

    beforeAll(async () => {
      for (const label of ['left', 'right']) {
        await create({ object: label, id: `${label}-id` });
        withRaw(token, (one) => {
          for (const object of one.find([{ type: CKA_LABEL, value: label }])) {
            one.pkcs11.C_SetAttributeValue(one.session, object, [{ type: CKA_ID, value: Buffer.from('one-id') }]);
          }
        });
      }
      const of = async (object: string): Promise<Uint8Array> =>
        (await opens(token.uri({ object }))).publicKey as Uint8Array;
      publicKeys = { left: await of('left'), right: await of('right') };
    });

    test('each has its own public key and certificate', async () => {
      const { left, right } = publicKeys;
      expect(left).toBeDefined();
      expect(right).toBeDefined();
      expect(left).not.toEqual(right);
      // Only the other one has a certificate, under the label of the key and under one of its own.
      ofRight = await certify('right', 'certificate of right');
      expect((await opens(token.uri({ object: 'right' }))).certificates[0]).toEqual(Buffer.from(ofRight));
      const [read] = await pkcs11.readCertificates(parseKeyUri(token.uri({ object: 'right' })), {});
      expect(read).toEqual(Buffer.from(ofRight));
      expect(await pkcs11.readCertificates(parseKeyUri(token.uri({ object: 'left' })), {})).toEqual([]);
    });

    test('without a public object of its own, what belongs to the other is not taken', async () => {
      removePublic('left');
      const key = await opens(token.uri({ object: 'left' }));
      expect(key.publicKey).toBeUndefined();
      expect(key.certificates).not.toContainEqual(Buffer.from(ofRight));
      const certificate = await certify('left');
      const certified = await opens(token.uri({ object: 'left' }));
      expect(certified.publicKey).toEqual(publicKeys.left);
      expect(certified.certificates[0]).toEqual(Buffer.from(certificate));
    });
  });
});
