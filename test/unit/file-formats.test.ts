import {
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  generateKeyPairSync,
  getCurves,
  type KeyObject,
} from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import { open, openKeyBytes, openKeyObject, readCertificates } from '../../src/stores/file/index.ts';
import type { OpenOptions } from '../../src/stores/store.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { makeIdentity } from '../helpers/certificates.ts';
import { ecKey, expectSigns, pemOf, place, rsaKey } from '../helpers/key-files.ts';
import { failure, tellsOf } from '../stores/conformance.ts';

const files = place();
const [rsa, ec] = [rsaKey(), ecKey()];
const exported = (key: KeyObject, type: 'pkcs1' | 'sec1' | 'pkcs8', format: 'pem' | 'der'): string | Buffer =>
  key.export({ type, format } as { type: 'pkcs8'; format: 'pem' });
const pem = (key: KeyObject): string => exported(key, 'pkcs8', 'pem') as string;
const openPath = (path: string, options: OpenOptions = {}) => open(parseKeyUri(path), options);

describe('forms', () => {
  test.each([
    [rsa, 'pkcs1'],
    [rsa, 'pkcs8'],
    [ec, 'sec1'],
    [ec, 'pkcs8'],
  ] as const)('%#: PEM and DER, by path and by bytes', async (key, type) => {
    for (const format of ['pem', 'der'] as const) {
      const content = exported(key, type, format);
      await expectSigns(openPath(await files.write('key', content)), key);
      await expectSigns(openPath(`file:${await files.write('key', content)}`), key);
      await expectSigns(openKeyBytes(content), key);
      await expectSigns(openKeyBytes(new Uint8Array(Buffer.from(content))), key);
    }
  });

  test('every curve that this Node can make a key on', async () => {
    const seen = new Set<string>();
    for (const curve of getCurves()) {
      let key: KeyObject;
      try {
        key = ecKey(curve);
        // Some of OpenSSL's curves have no name to write into a file, and it makes a key of another kind of SM2.
        if (createPrivateKey(pem(key)).asymmetricKeyType !== 'ec') continue;
      } catch {
        continue;
      }
      seen.add(curve);
      await expectSigns(openKeyBytes(exported(key, 'sec1', 'der')), key);
      await expectSigns(openKeyBytes(pem(key)), key);
    }
    for (const curve of ['prime256v1', 'secp384r1', 'secp521r1', 'secp256k1']) expect(seen).toContain(curve);
  });

  test('an RSA key of 1024 bits signs, one of 1023 and one of 512 do not', async () => {
    const weak = rsaKey(1024);
    await expectSigns(openKeyBytes(pem(weak)), weak);
    for (const bits of [1023, 512]) {
      const error = await failure(openKeyBytes(pem(rsaKey(bits))));
      expect(error.code).toBe('ERR_KEY_UNSUPPORTED');
      expect(error.message).toContain(`${bits} bits`);
    }
  });

  test('a KeyObject, with certificates of the caller', async () => {
    await expectSigns(Promise.resolve(openKeyObject(ec)), ec);
    await expectSigns(Promise.resolve(openKeyObject(rsa)), rsa);
    const { privateKey, certificate, root } = await makeIdentity();
    const opened = openKeyObject(privateKey, { certificates: [root, certificate], name: 'key of mine' });
    expect(opened.certificates).toEqual([certificate, root]);
    expect(opened.description).toBe('key of mine');
    const publicKey = createPublicKey(privateKey).export({ type: 'spki', format: 'der' });
    expect(opened.publicKey).toEqual(publicKey);
  });

  test('a KeyObject on a curve without a name', () => {
    const nameless = generateKeyPairSync('ec', { namedCurve: 'Oakley-EC2N-3' }).privateKey;
    expect(() => openKeyObject(nameless)).toThrow(/curve that no certificate can name/);
  });

  test('an SM2 key', async () => {
    const error = await failure(openKeyBytes(pem(ecKey('SM2'))));
    expect(error.code).toBe('ERR_KEY_UNSUPPORTED');
  });

  test('a public or a secret KeyObject, and what is none', () => {
    expect(() => openKeyObject(createPublicKey(ec))).toThrow(/holds a public key, not a private key/);
    expect(() => openKeyObject(createSecretKey(Buffer.alloc(32)))).toThrow(/holds a secret key, not a private key/);
    expect(() => openKeyObject(pem(ec) as unknown as KeyObject)).toThrow(/a key object is a KeyObject/);
  });

  test('key data that is neither text nor bytes', async () => {
    const error = await failure(openKeyBytes({ pem: pem(ec) } as unknown as string));
    expect(error.code).toBe('ERR_OPTION_INVALID');
    expect(tellsOf(error, 'BEGIN')).toBe(false);
  });

  test.each([
    ['ed25519', 'Ed25519'],
    ['ed448', 'Ed448'],
    ['x25519', 'X25519'],
    ['x448', 'X448'],
    ['rsa-pss', 'bound to PSS'],
    ['dsa', 'DSA'],
  ])('%s is refused by its name: bytes, encrypted bytes, KeyObject', async (type, word) => {
    const generate = generateKeyPairSync as unknown as (type: string, options: object) => { privateKey: KeyObject };
    const { privateKey } = generate(type, { modulusLength: 1024, divisorLength: 160 });
    const passphrase = 'x';
    const encrypted = privateKey.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-128-cbc', passphrase });
    const attempts = [
      () => openKeyBytes(pem(privateKey)),
      () => openKeyBytes(encrypted, { secret: passphrase }),
      async () => openKeyObject(privateKey),
    ];
    for (const attempt of attempts) {
      const error = await failure(attempt());
      expect(error.code).toBe('ERR_KEY_UNSUPPORTED');
      expect(error.message).toContain(word);
    }
  });
});

describe('what may stand around a key', () => {
  test.each<[string, (text: string) => string | Uint8Array]>([
    ['CRLF', (text) => text.replaceAll('\n', '\r\n')],
    ['CR alone', (text) => text.replaceAll('\n', '\r')],
    ['no line end at the end', (text) => text.trimEnd()],
    ['indentation and trailing blanks', (text) => text.replace(/^.*$/gm, '  $&  ')],
    ['a UTF-8 byte order mark', (text) => `\ufeff${text}`],
    ['text before and after', (text) => `Bag Attributes\n    friendlyName: caf\u00e9\n${text}\nthe end\n`],
    ['EC PARAMETERS before it', (text) => pemOf('EC PARAMETERS', Buffer.from('06082a8648ce3d030107', 'hex')) + text],
    ['all Base64 on one line', (text) => text.replace(/(?<=[A-Za-z0-9+/=])\n(?!-)/g, '')],
  ])('%s', async (_, dress) => {
    for (const key of [rsa, ec]) {
      await expectSigns(openKeyBytes(dress(pem(key))), key);
      await expectSigns(openPath(await files.write('key', dress(pem(key)))), key);
    }
  });

  test('certificates in any order; those of the key come first, the others keep theirs', async () => {
    const { pem: key, certificatePem, certificate, intermediates, root } = await makeIdentity({ intermediates: 2 });
    const others = [root, ...intermediates];
    const pool = others.map((der) => pemOf('CERTIFICATE', der)).join('');
    for (const content of [pool + key + certificatePem, pool + certificatePem + key, key + pool + certificatePem]) {
      const opened = await openKeyBytes(content);
      expect(opened.certificates.map((der) => Buffer.from(der).toString('hex'))).toEqual(
        [certificate, ...others].map((der) => Buffer.from(der).toString('hex')),
      );
    }
    expect((await openKeyBytes(key)).certificates).toEqual([]);
  });

  test('a certificate that is none does not keep the key from opening', async () => {
    const opened = await openKeyBytes(pem(ec) + pemOf('CERTIFICATE', Buffer.from('rubbish')));
    expect(opened.certificates).toEqual([Buffer.from('rubbish')]);
  });

  test('readCertificates: the certificates of a file, in its order, whoever may write it', async () => {
    const { pem: key, certificate, root } = await makeIdentity();
    const content = pemOf('CERTIFICATE', root) + key + pemOf('CERTIFICATE', certificate);
    const uri = parseKeyUri(await files.write('bundle.pem', content, 0o666));
    expect(
      (await readCertificates(uri, {})).map((der) => Buffer.compare(der, root) && Buffer.compare(der, certificate)),
    ).toEqual([0, 0]);
    const der = parseKeyUri(await files.write('certificate.der', certificate));
    expect(await readCertificates(der, {})).toHaveLength(1);
    const none = await failure(readCertificates(parseKeyUri(await files.write('key', key)), {}));
    expect(none.code).toBe('ERR_CERTIFICATE_INVALID');
    expect((await failure(readCertificates(parseKeyUri(files.path('none')), {}))).code).toBe('ERR_FILE_NOT_FOUND');
  });
});

describe('an open key', () => {
  test('describes itself by its path, without what could move a cursor', async () => {
    const path = await files.write('k\u001b[2J\ney', pem(ec));
    expect((await openPath(path)).description).toBe(`key file ${files.path('k?[2J?ey')}`);
    expect((await openKeyBytes(pem(ec))).description).toBe('key data');
  });

  test('is not attended', async () => {
    expect((await openKeyBytes(pem(ec))).attended).toBe(false);
  });

  test('signs nothing by another hash, and nothing but bytes', async () => {
    const opened = await openKeyBytes(pem(ec));
    expect((await failure(opened.sign(Buffer.from('x'), 'SHA-1' as 'SHA-256'))).code).toBe('ERR_OPTION_INVALID');
    expect((await failure(opened.sign(17 as unknown as Uint8Array))).code).toBe('ERR_OPTION_INVALID');
  });

  test('an abort while the passphrase is awaited: ERR_INTERRUPTED, with the reason as its cause', async () => {
    const encrypted = ec.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-128-cbc', passphrase: 'x' });
    const controller = new AbortController();
    const reason = new Error('enough');
    const secret = (): Promise<string> => {
      controller.abort(reason);
      return new Promise(() => {});
    };
    const error = await failure(openKeyBytes(encrypted, { secret, signal: controller.signal }));
    expect(error.code).toBe('ERR_INTERRUPTED');
    expect(error.cause).toBe(reason);
  });

  test('a deadline that passes while the passphrase is awaited: ERR_SIGNING_TIMEOUT', async () => {
    const encrypted = ec.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-128-cbc', passphrase: 'x' });
    const error = await failure(openKeyBytes(encrypted, { secret: () => new Promise(() => {}), deadline: 1 }));
    expect(error.code).toBe('ERR_SIGNING_TIMEOUT');
  });

  test.each([0, -1, Number.NaN, '1000'])('%p is no deadline: ERR_OPTION_INVALID', async (deadline) => {
    const error = await failure(openKeyBytes(pem(ec), { deadline: deadline as number }));
    expect(error).toMatchObject({ code: 'ERR_OPTION_INVALID', message: expect.stringContaining('"deadline"') });
  });

  test('a deadline beyond what a timer can hold is no deadline', async () => {
    const encrypted = ec.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-128-cbc', passphrase: 'x' });
    // Long enough for a timer of 1 ms, which an overflow would make of it.
    const secret = async (): Promise<string> => setTimeout(20, 'x');
    await expectSigns(openKeyBytes(encrypted, { secret, deadline: 2 ** 40 }), ec);
  });
});
