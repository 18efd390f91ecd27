import { beforeAll, describe, expect, test } from '@jest/globals';
import { HoldfastError } from '../../src/errors.ts';
import { type CallerSigner, type Identity, type IdentityOptions, withIdentity } from '../../src/identity.ts';
import { toPem } from '../../src/pki.ts';
import type { Notice } from '../../src/stores/store.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { makeIdentity, makeKeyPair, type TestIdentity } from '../helpers/certificates.ts';
import { place } from '../helpers/key-files.ts';
import { everythingOf, rejectionOf } from '../helpers/thrown.ts';

const files = place();
const DAY = 86_400_000;
const now = Date.now();
const EXPIRED = { notBefore: new Date(now - 2 * DAY), notAfter: new Date(now - DAY) };
const FUTURE = { notBefore: new Date(now + DAY) };
/** A message that an identity must sign; the proof that key and certificate belong together. */
const MESSAGE = Buffer.from('message');

let own: TestIdentity;
let other: TestIdentity;
let keyFile: string;
beforeAll(async () => {
  own = await makeIdentity({ intermediates: 2 });
  other = await makeIdentity({ commonName: 'another' });
  keyFile = await files.write('key.pem', own.pem);
});

/** The identity, once it has shown that it can sign. */
const identityOf = (options: IdentityOptions): Promise<Identity> =>
  withIdentity(options, async (identity) => {
    expect(identity.certificate.verify(MESSAGE, await identity.signer.sign(MESSAGE))).toBe(true);
    return identity;
  });
const ders = (identity: Identity): Buffer[] =>
  [identity.certificate, ...identity.chain].map(({ der }) => Buffer.from(der));
const wholePath = (): Buffer[] => [own.certificate, ...own.intermediates].map((der) => Buffer.from(der));
/** What goes wrong, before `use` is called. */
const refusalOf = (options: IdentityOptions): Promise<HoldfastError> =>
  rejectionOf(withIdentity(options, () => Promise.reject(new Error('used'))));

describe('a key in a file', () => {
  test('with everything in one PEM, named once', async () => {
    const pem = own.pem + toPem([...own.intermediates, own.root, own.certificate]);
    const one = await files.write('one.pem', pem);
    for (const options of [{ key: one }, { certificate: one }, { certificate: `file:${one}` }]) {
      const identity = await identityOf(options);
      expect(ders(identity)).toEqual(wholePath());
      expect(identity).toMatchObject({ matched: true, attended: false, description: expect.stringContaining(one) });
    }
  });

  test('and a certificate in another, as path, URI, text, bytes of PEM and DER', async () => {
    const path = await files.write('certificate.pem', own.certificatePem);
    const chain = toPem(own.intermediates);
    const forms = [path, `file:${path}`, own.certificatePem, Buffer.from(own.certificatePem), own.certificate];
    for (const certificate of forms) {
      expect(ders(await identityOf({ key: parseKeyUri(keyFile), certificate, chain }))).toEqual(wholePath());
    }
  });

  test('with a bundle that begins at the root', async () => {
    const bundle = toPem([own.root, ...[...own.intermediates].reverse(), own.certificate]);
    expect(ders(await identityOf({ key: keyFile, certificate: bundle }))).toEqual(wholePath());
  });

  test('with intermediates from everywhere, in any order, strangers among them', async () => {
    const [lower, upper] = own.intermediates as [Uint8Array, Uint8Array];
    const key = await files.write('kept.pem', own.pem + toPem([upper]));
    const chain = await files.write('pool.pem', toPem([other.root, lower, own.root]));
    expect(ders(await identityOf({ key, certificate: own.certificate, chain }))).toEqual(wholePath());
  });

  test('with certificates of one key: valid now, then the latest notAfter', async () => {
    const issue = (dates: object): Promise<Uint8Array> =>
      own.authority.issue({ commonName: 'build-01', publicKey: own.publicKey, ...dates });
    const late = await issue({ notAfter: new Date(now + 9 * DAY) });
    const all = [await issue(EXPIRED), await issue(FUTURE), own.certificate, late, other.certificate];
    const [first] = ders(await identityOf({ key: keyFile, certificate: toPem(all) }));
    expect(first).toEqual(Buffer.from(late));
  });
});

describe("a signer of the caller's", () => {
  test.each([[new Error('no battery')], [null], ['text']])(
    'that throws %p is a signature that failed',
    async (thrown) => {
      const signer: CallerSigner = { sign: () => Promise.reject(thrown) };
      const signing = withIdentity({ signer, certificate: own.certificate }, (me) => me.signer.sign(MESSAGE));
      expect(await signing.catch((error: unknown) => error)).toMatchObject({
        code: 'ERR_SIGNING_FAILED',
        cause: thrown,
      });
    },
  );

  test('signs for the first certificate that is no CA certificate', async () => {
    const identity = await identityOf({
      signer: own.signer,
      certificate: toPem([own.root, own.certificate]),
      chain: Buffer.from(toPem(own.intermediates)),
    });
    expect(ders(identity)).toEqual(wholePath());
    expect(identity).toMatchObject({ matched: false, attended: false, description: 'a signer of the caller' });
  });

  test('may be expired there, where the same key has a valid one', async () => {
    const old = await own.authority.issue({ commonName: 'build-01', publicKey: own.publicKey, ...EXPIRED });
    const [first] = ders(await identityOf({ signer: own.signer, certificate: toPem([old, own.certificate]) }));
    expect(first).toEqual(Buffer.from(own.certificate));
  });

  test('may know what an open key knows, and stays open', async () => {
    let closed = 0;
    const signer: CallerSigner & { close(): void } = {
      sign: (message) => own.signer.sign(message),
      publicKey: own.publicKey,
      certificates: [Buffer.from('unreadable'), other.certificate, own.certificate, ...own.intermediates],
      attended: true,
      description: 'the key under the mat',
      close: () => (closed += 1),
    };
    const identity = await identityOf({ signer });
    expect(ders(identity)).toEqual(wholePath());
    expect(identity).toMatchObject({ matched: true, attended: true, description: 'the key under the mat' });
    expect(closed).toBe(0);
  });

  test('is not asked when something is wrong', async () => {
    const before = own.signer.calls;
    expect(await refusalOf({ signer: own.signer })).toMatchObject({ code: 'ERR_CERTIFICATE_REQUIRED' });
    const signer = { ...own.signer, certificates: [Buffer.from('unreadable')], description: 'the mat' };
    expect(await refusalOf({ signer })).toMatchObject({
      code: 'ERR_CERTIFICATE_INVALID',
      message: expect.stringContaining('the certificate beside the mat'),
    });
    expect(own.signer.calls).toBe(before);
  });
});

describe('refused before the key is opened', () => {
  // Were the key opened first, its absence would be the complaint.
  const key = '/nonexistent/key.pem';

  test.each<[what: string, code: string, certificate: () => Promise<Uint8Array> | Uint8Array]>([
    ['a CA certificate', 'ERR_CERTIFICATE_UNSUITABLE', () => own.root],
    ['an expired one', 'ERR_CERTIFICATE_EXPIRED', async () => (await makeIdentity(EXPIRED)).certificate],
    ['one not yet valid', 'ERR_CERTIFICATE_NOT_YET_VALID', async () => (await makeIdentity(FUTURE)).certificate],
    [
      'one without digitalSignature',
      'ERR_CERTIFICATE_UNSUITABLE',
      async () => (await makeIdentity({ keyUsages: [] })).certificate,
    ],
    ['an empty one', 'ERR_CERTIFICATE_INVALID', () => new Uint8Array()],
    ['a key in its place', 'ERR_CERTIFICATE_INVALID', () => Buffer.from(own.pem)],
  ])('%s', async (_what, code, certificate) => {
    expect(await refusalOf({ key, certificate: await certificate() })).toMatchObject({ code });
  });

  test('a bundle of a CA and an expired leaf: the leaf is named', async () => {
    const { certificatePem, root } = await makeIdentity(EXPIRED);
    const certificate = toPem([root]) + certificatePem;
    expect(await refusalOf({ key, certificate })).toMatchObject({ code: 'ERR_CERTIFICATE_EXPIRED' });
  });

  test('files that are not there, too large, or hold something else', async () => {
    const certificate = own.certificate;
    expect(await refusalOf({ key, certificate: files.path('absent') })).toMatchObject({ code: 'ERR_FILE_NOT_FOUND' });
    expect(await refusalOf({ key, certificate, chain: files.path('absent') })).toMatchObject({
      code: 'ERR_FILE_NOT_FOUND',
    });
    const large = await files.write('large', Buffer.alloc(10_000_000, 'x'));
    expect(await refusalOf({ key, certificate: large })).toMatchObject({ code: 'ERR_FILE_TOO_LARGE' });
    const chain = 'the chain given';
    expect(await refusalOf({ key, certificate, chain: new Uint8Array() })).toMatchObject({
      code: 'ERR_CERTIFICATE_INVALID',
      message: expect.stringContaining(chain),
    });
  });

  test('the clock of the caller counts', async () => {
    const { certificate } = own;
    const later = () => new Date(now + 30 * DAY);
    expect(await refusalOf({ key, certificate, now: later })).toMatchObject({ code: 'ERR_CERTIFICATE_EXPIRED' });
  });

  test.each<[what: string, options: IdentityOptions]>([
    ['nothing', {}],
    ['a certificate as text alone', { certificate: '-----BEGIN CERTIFICATE-----' }],
    ['a key and a signer', { key: 'key.pem', signer: makeSigner() }],
    ['a signer that cannot sign', { signer: {} as CallerSigner, certificate: 'certificate.pem' }],
  ])('%s', async (_what, options) => {
    expect(await refusalOf(options)).toMatchObject({ code: 'ERR_OPTION_INVALID', hint: expect.any(String) });
  });
});

function makeSigner(): CallerSigner {
  return { sign: () => Promise.reject(new Error('signed')) };
}

describe('an opened key', () => {
  test('that is not the one of the certificate', async () => {
    const error = await refusalOf({ key: keyFile, certificate: other.certificate });
    expect(error).toMatchObject({ code: 'ERR_CERTIFICATE_MISMATCH', message: expect.stringContaining('CN=another') });
    expect(everythingOf(error)).not.toContain('PRIVATE KEY');
  });

  test('with certificates of CAs alone beside it', async () => {
    const path = await files.write('without-leaf.pem', own.pem + toPem([...own.intermediates, own.root]));
    for (const options of [{ key: path }, { certificate: path }, { key: path, certificate: path }]) {
      expect(await refusalOf(options)).toMatchObject({
        code: 'ERR_CERTIFICATE_REQUIRED',
        message: `key file ${path} has no certificate of this key beside it, only those of CAs`,
        hint: 'give the certificate that was issued for this key',
      });
    }
  });

  test('with no certificate anywhere', async () => {
    const error = await refusalOf({ key: keyFile });
    expect(error).toMatchObject({ code: 'ERR_CERTIFICATE_REQUIRED', message: expect.stringContaining(keyFile) });
  });

  test('is closed afterwards, also when its use throws', async () => {
    let kept: Identity | undefined;
    const mine = new Error('mine');
    const use = (outcome: () => Promise<string>) =>
      withIdentity({ key: keyFile, certificate: own.certificate }, (identity) => {
        kept = identity;
        return outcome();
      });
    await expect(use(() => Promise.reject(mine))).rejects.toBe(mine);
    await expect(kept?.signer.sign(MESSAGE)).rejects.toMatchObject({ code: 'ERR_KEY_CLOSED' });
    expect(await use(() => Promise.resolve('done'))).toBe('done');
    await expect(kept?.signer.sign(MESSAGE)).rejects.toMatchObject({ code: 'ERR_KEY_CLOSED' });
  });

  test('that does not close is a warning, and loses nothing', async () => {
    const notices: Notice[] = [];
    const options = { key: keyFile, certificate: own.certificate, notify: (notice: Notice) => notices.push(notice) };
    const breakClose = async (identity: Identity): Promise<string> => {
      Object.assign(identity.signer, {
        close: () => Promise.reject(new HoldfastError('ERR_TOKEN_FAILED', 'unplugged')),
      });
      return 'done';
    };
    expect(await withIdentity(options, breakClose)).toBe('done');
    expect(notices).toEqual([{ kind: 'warning', message: expect.stringMatching(/not closed properly: unplugged$/) }]);
  });

  test('encrypted: the passphrase is asked for once, and only for a certificate that fits', async () => {
    const passphrase = 'open sesame';
    const pem = own.privateKey.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase });
    const key = await files.write('encrypted.pem', pem);
    let asked = 0;
    const secret = (): string => {
      asked += 1;
      return passphrase;
    };
    await refusalOf({ key, secret, certificate: own.root });
    expect(asked).toBe(0);
    await identityOf({ key, secret, certificate: own.certificate });
    expect(asked).toBe(1);
  });
});

test.each(['RSA-2048', 'P-384', 'P-521'] as const)('a key of type %s', async (keyType) => {
  const keyPair = makeKeyPair(keyType);
  const { certificatePem } = await makeIdentity({ keyPair });
  const certificate = await files.write(`${keyType}.pem`, keyPair.pem + certificatePem);
  expect((await identityOf({ certificate })).certificate.keyType).toBe(keyType.startsWith('RSA') ? 'RSA' : 'EC');
});

describe('limits bind a signer of the caller', () => {
  const sign = (): Promise<Uint8Array> => new Promise(() => undefined);
  const signing = (options: object): Promise<HoldfastError> =>
    rejectionOf(
      withIdentity({ signer: { sign, description: 'my key' }, certificate: own.certificate, ...options }, (identity) =>
        identity.signer.sign(MESSAGE),
      ),
    );

  test('the deadline', async () => {
    const message = 'the signature of my key took longer than 20 ms';
    expect(await signing({ deadline: 20 })).toMatchObject({ code: 'ERR_SIGNING_TIMEOUT', message });
  });

  test('the signal', async () => {
    const controller = new AbortController();
    const outcome = signing({ signal: controller.signal });
    controller.abort();
    expect(await outcome).toMatchObject({ code: 'ERR_INTERRUPTED' });
  });
});
