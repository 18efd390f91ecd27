import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import pkcs11js from 'pkcs11js';
import { withIdentity } from '../../src/identity.ts';
import * as pkcs11 from '../../src/stores/pkcs11/in-place.ts';
import type { OpenKey, OpenOptions } from '../../src/stores/store.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { makeCertificate } from '../helpers/certificate-maker.ts';
import { makeIdentity } from '../helpers/certificates.ts';
import { CHILD } from '../helpers/in-child.ts';
import { destroyObjects, putRawCertificate, withRaw } from '../helpers/raw-pkcs11.ts';
import { describeSoftHsm, makeToken, setRealEnvironment, type TestToken } from '../helpers/softhsm.ts';
import { failure } from '../stores/conformance.ts';

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

  test('what is wrong with the URI of the key and with that of its certificate is said once', async () => {
    const key = await create({ object: 'legacy', id: 'legacy-id' });
    const { publicKey } = await opens(String(key));
    const keyPair = { publicKey: publicKey as Uint8Array, privateKey: undefined as never, pem: '' };
    const { certificate } = await makeIdentity({ keyPair });
    await pkcs11.putCertificate(key, [certificate], { secret: token.pin });
    const said: string[] = [];
    const before = (type: string): string => token.uri({ object: 'legacy', 'pin-value': token.pin, type });
    for (const _ of [1, 2]) {
      await withIdentity(
        {
          key: before('private'),
          certificate: before('cert'),
          childPath: CHILD,
          notify: ({ message }) => said.push(message),
        },
        async ({ matched }) => expect(matched).toBe(true),
      );
      expect(said.splice(0)).toEqual(['pin-value stands before the "?" of the key URI']);
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

  test('what a YubiKey attests of a key is not taken for its certificate', async () => {
    // Same identifier, same public half: only its names tell it from the other.
    await create({ object: 'slot 9a', id: 'slot-9a' });
    const { publicKey } = await opens(token.uri({ object: 'slot 9a' }));
    const issuerKey = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
    const make = (subject: string, issuer: string, notAfter: Date): Buffer =>
      makeCertificate({
        subject,
        issuer,
        issuerKey,
        publicKey: createPublicKey({ key: Buffer.from(publicKey as Uint8Array), format: 'der', type: 'spki' }),
        notAfter,
      });
    const attestation = make('YubiKey PIV Attestation 9a', 'Yubico PIV Attestation', new Date('2049-01-01'));
    putRawCertificate(token, attestation, 'slot-9a', 'X.509 Certificate for PIV Attestation 9a');
    const uri = token.uri({ id: 'slot-9a' });
    expect((await opens(uri)).certificates).toEqual([]);
    const own = make('build-01', 'Example CA', new Date('2027-01-01'));
    putRawCertificate(token, own, 'slot-9a', 'X.509 Certificate for PIV Authentication');
    expect((await opens(uri)).certificates).toEqual([own]);
    expect(await pkcs11.readCertificates(parseKeyUri(uri), {})).toEqual([own]);
    // Whoever names it gets it.
    const named = token.uri({ object: 'X.509 Certificate for PIV Attestation 9a', type: 'cert' });
    expect(await pkcs11.readCertificates(parseKeyUri(named), {})).toEqual([attestation]);
    const listed = await pkcs11.list(parseKeyUri(uri), {});
    expect(listed.filter(({ kind }) => kind === 'certificate')).toHaveLength(2);
  });

  test('a certificate under another name than the key: by its public values', async () => {
    for (const keyType of ['P-256', 'P-384', 'RSA-2048'] as const) {
      const key = parseKeyUri(token.uri({ object: `key ${keyType}`, id: `key-id ${keyType}` }));
      const { publicKey } = await opens(String(await pkcs11.create(key, { keyType, secret: token.pin })));
      const keyPair = { publicKey: publicKey as Uint8Array, privateKey: undefined as never, pem: '' };
      const { certificate } = await makeIdentity({ keyPair });
      putRawCertificate(token, certificate, `other-id ${keyType}`, `other ${keyType}`);
      for (const path of [{ object: `other ${keyType}` }, { id: `other-id ${keyType}` }]) {
        const opened = await opens(token.uri(path));
        expect(opened.publicKey).toEqual(publicKey);
        expect(opened.certificates).toEqual([Buffer.from(certificate)]);
      }
    }
  });

  test('the label of the key finds its certificate where the identifiers differ, but not that of another key', async () => {
    await create({ object: 'labelled', id: 'labelled-id' });
    const { publicKey } = await opens(token.uri({ object: 'labelled' }));
    putRawCertificate(token, (await makeIdentity()).certificate, 'foreign-id', 'labelled');
    expect((await opens(token.uri({ id: 'labelled-id' }))).certificates).toEqual([]);
    const keyPair = { publicKey: publicKey as Uint8Array, privateKey: undefined as never, pem: '' };
    const { certificate } = await makeIdentity({ keyPair });
    putRawCertificate(token, certificate, '', 'labelled');
    expect((await opens(token.uri({ id: 'labelled-id' }))).certificates).toEqual([Buffer.from(certificate)]);
  });

  test('of what the token holds the issuers come along, and only they', async () => {
    const uri = await create({ object: 'chained', id: 'chained-id' });
    const { publicKey } = await opens(String(uri));
    const keyPair = { publicKey: publicKey as Uint8Array, privateKey: undefined as never, pem: '' };
    const { certificate, intermediates, root } = await makeIdentity({ keyPair, intermediates: 3 });
    const secret = token.pin;
    await pkcs11.putCertificate(uri, [certificate, ...intermediates, root], { secret });
    const chain = [certificate, ...intermediates, root].map((der) => Buffer.from(der));
    expect((await opens(String(uri))).certificates).toEqual(chain);
    expect(await pkcs11.readCertificates(uri, {})).toEqual(chain);
  });

  test('a certificate that nobody can read, under the name of one that can be', async () => {
    await create({ object: 'spoilt', id: 'spoilt-id' });
    const { publicKey } = await opens(token.uri({ object: 'spoilt' }));
    const rubbish = Buffer.from('rubbish');
    putRawCertificate(token, rubbish, 'spoilt-id', 'spoilt');
    const uri = token.uri({ object: 'spoilt' });
    expect((await opens(uri)).certificates).toEqual([rubbish]);
    const keyPair = { publicKey: publicKey as Uint8Array, privateKey: undefined as never, pem: '' };
    const { certificate } = await makeIdentity({ keyPair });
    putRawCertificate(token, certificate, 'spoilt-id', 'spoilt');
    const { certificates } = await opens(uri);
    expect([certificates[0], certificates.at(-1)]).toEqual([Buffer.from(certificate), rubbish]);
    expect((await pkcs11.readCertificates(parseKeyUri(uri), {}))[0]).toEqual(Buffer.from(certificate));
  });

  test('a key that was made without an identifier: its label leads to the rest', async () => {
    // As pkcs11-tool makes them without --id.
    const uri = await create({ object: 'nameless', id: 'nameless-id' });
    withRaw(token, (one) => {
      for (const object of one.find([{ type: CKA_LABEL, value: 'nameless' }])) {
        one.pkcs11.C_SetAttributeValue(one.session, object, [{ type: CKA_ID, value: Buffer.alloc(0) }]);
      }
    });
    expect(uri.path.get('id')?.toString()).toBe('nameless-id');
    const { publicKey } = await opens(token.uri({ object: 'nameless' }));
    expect(publicKey).toBeDefined();
    const keyPair = { publicKey: publicKey as Uint8Array, privateKey: undefined as never, pem: '' };
    const { certificate } = await makeIdentity({ keyPair });
    putRawCertificate(token, (await makeIdentity()).certificate, '', 'nameless');
    putRawCertificate(token, certificate, '', 'nameless');
    expect((await opens(token.uri({ object: 'nameless' }))).certificates[0]).toEqual(Buffer.from(certificate));
    const listed = await pkcs11.list(parseKeyUri(token.uri()), { login: true, secret: token.pin });
    const keys = listed.filter(({ kind, label }) => kind === 'key' && label === 'nameless');
    expect(keys).toEqual([expect.objectContaining({ privateSeen: true, certificate: true, type: 'P-256', id: '' })]);
  });

  test('type=cert: the certificate of that name leads to the key, though another key has the name', async () => {
    await create({ object: 'crossed', id: 'crossed-1' });
    const right = await opens(String(await create({ object: 'right one', id: 'crossed-2' })));
    const keyPair = { publicKey: right.publicKey as Uint8Array, privateKey: undefined as never, pem: '' };
    const { certificate } = await makeIdentity({ keyPair });
    putRawCertificate(token, certificate, 'crossed-2', 'crossed');
    const key = await opens(token.uri({ object: 'crossed', type: 'cert' }));
    expect(key.publicKey).toEqual(right.publicKey);
    expect(key.certificates[0]).toEqual(Buffer.from(certificate));
    expect((await opens(token.uri({ object: 'crossed' }))).publicKey).not.toEqual(right.publicKey);
  });

  describe('removing', () => {
    const remove = (path: Record<string, string>): Promise<void> =>
      pkcs11.removeCertificate(parseKeyUri(token.uri(path)), { secret: token.pin });
    const put = (id: string, label: string): void => putRawCertificate(token, Buffer.from(`${id} ${label}`), id, label);

    test('exactly one, by id or object, and nothing else', async () => {
      put('twice-id', 'one');
      put('twice-id', 'two');
      const several = await failure(remove({ id: 'twice-id' }));
      expect(several.code).toBe('ERR_CERTIFICATE_AMBIGUOUS');
      expect(several.hint?.match(/pkcs11:\S+/g)).toHaveLength(2);
      await remove({ object: 'one' });
      await remove({ id: 'twice-id', type: 'cert' });
      expect((await failure(remove({ id: 'twice-id' }))).code).toBe('ERR_CERTIFICATE_REQUIRED');
    });

    test('never a key, and not whatever is there', async () => {
      await create({ object: 'kept', id: 'kept-id' });
      expect((await failure(remove({ object: 'kept' }))).code).toBe('ERR_CERTIFICATE_REQUIRED');
      expect((await failure(remove({ object: 'kept', type: 'private' }))).code).toBe('ERR_URI_INVALID');
      expect((await failure(remove({}))).code).toBe('ERR_CERTIFICATE_AMBIGUOUS');
      await opens(token.uri({ object: 'kept' }));
    });

    test('two of one name: neither', async () => {
      put('same-id', 'same');
      put('same-id', 'same');
      expect(await failure(remove({ id: 'same-id' }))).toMatchObject({
        code: 'ERR_CERTIFICATE_AMBIGUOUS',
        hint: expect.stringContaining('same id'),
      });
    });

    test('makes room for another one', async () => {
      const uri = await create({ object: 'renewed key', id: 'renewed-key' });
      const { publicKey } = await opens(String(uri));
      const keyPair = { publicKey: publicKey as Uint8Array, privateKey: undefined as never, pem: '' };
      const [first, second] = [await makeIdentity({ keyPair }), await makeIdentity({ keyPair })];
      const secret = token.pin;
      await pkcs11.putCertificate(uri, [first.certificate], { secret });
      expect((await failure(pkcs11.putCertificate(uri, [second.certificate], { secret }))).code).toBe('ERR_KEY_EXISTS');
      await pkcs11.removeCertificate(uri, { secret });
      await pkcs11.putCertificate(uri, [second.certificate], { secret });
      expect((await opens(String(uri))).certificates[0]).toEqual(Buffer.from(second.certificate));
    });
  });
});
