import { createCipheriv, createPrivateKey, createPublicKey, type KeyObject, pbkdf2Sync, scryptSync } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { open, openKeyBytes } from '../../src/stores/file/index.ts';
import type { OpenOptions } from '../../src/stores/store.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { canaries } from '../helpers/canaries.ts';
import { ecKey, expectSigns, place, rsaKey } from '../helpers/key-files.ts';
import { failure, tellsOf } from '../stores/conformance.ts';

const files = place();
const [rsa, ec] = [rsaKey(), ecKey()];
const PASSPHRASE = canaries.passphrase;
const encrypted = (key: KeyObject, format: 'pem' | 'der', cipher = 'aes-256-cbc', passphrase = PASSPHRASE): Buffer =>
  Buffer.from(key.export({ type: 'pkcs8', format, cipher, passphrase } as { type: 'pkcs8'; format: 'der' }));
/** Old encrypted PEM, which node:crypto still writes. */
const traditional = (key: KeyObject, cipher: string, passphrase = PASSPHRASE): string =>
  key.export({ type: key === rsa ? 'pkcs1' : 'sec1', format: 'pem', cipher, passphrase } as unknown as {
    type: 'pkcs8';
    format: 'pem';
  }) as string;

// An EncryptedPrivateKeyInfo by hand, for what no tool would write.
const hex = (text: string): Buffer => Buffer.from(text, 'hex');
const tlv = (tag: number, ...parts: Uint8Array[]): Buffer => {
  const value = Buffer.concat(parts);
  const header = value.length < 0x80 ? [tag, value.length] : [tag, 0x82, value.length >> 8, value.length & 0xff];
  return Buffer.concat([Buffer.from(header), value]);
};
const AES_256_CBC = '060960864801650304012a';
const PBKDF2 = '06092a864886f70d01050c';
const SCRYPT = '06092b06010401da47040b';
const SALT = tlv(0x04, Buffer.alloc(8));
const pbkdf2Parameters = (rounds: string): Buffer => tlv(0x30, hex(PBKDF2), tlv(0x30, SALT, hex(rounds)));
const scryptParameters = (n: string, r: string, p: string): Buffer =>
  tlv(0x30, hex(SCRYPT), tlv(0x30, SALT, hex(n), hex(r), hex(p)));
const fileOf = (derivation: Buffer, ciphertext: Buffer): Buffer => {
  const encryption = tlv(0x30, hex(AES_256_CBC), tlv(0x04, Buffer.alloc(16)));
  const scheme = tlv(0x30, hex('06092a864886f70d01050d'), tlv(0x30, derivation, encryption));
  return tlv(0x30, scheme, tlv(0x04, ciphertext));
};

describe('what is encrypted opens with its passphrase', () => {
  test.each([
    'aes-128-cbc',
    'aes-192-cbc',
    'aes-256-cbc',
    'des-ede3-cbc',
    'camellia-256-cbc',
    'aria-128-cbc',
    'sm4-cbc',
    'aes-256-cfb',
    'aes-128-ofb',
  ])('PKCS#8 with %s, PEM and DER', async (cipher) => {
    for (const key of [rsa, ec]) {
      for (const format of ['pem', 'der'] as const) {
        await expectSigns(openKeyBytes(encrypted(key, format, cipher), { secret: PASSPHRASE }), key);
        const error = await failure(openKeyBytes(encrypted(key, format, cipher), { secret: 'wrong' }));
        expect(error.code).toBe('ERR_SECRET_WRONG');
      }
    }
  });

  test.each(['aes-128-cbc', 'aes-192-cbc', 'aes-256-cbc', 'des-ede3-cbc', 'camellia-128-cbc', 'aes-256-cfb'])(
    'old PEM with %s',
    async (cipher) => {
      for (const key of [rsa, ec]) {
        await expectSigns(openKeyBytes(traditional(key, cipher), { secret: PASSPHRASE }), key);
        const error = await failure(openKeyBytes(traditional(key, cipher), { secret: 'wrong' }));
        expect(error.code).toBe('ERR_SECRET_WRONG');
      }
    },
  );

  test.each([
    ['in UTF-8', 'p\u00e4ss \u{1F512}'],
    ['empty', ''],
    ['long', 'x'.repeat(1000)],
    ['with a NUL', 'a\0b'],
  ])('a passphrase %s, as text and as bytes', async (_, passphrase) => {
    const contents: (string | Uint8Array)[] = [encrypted(ec, 'pem', 'aes-128-cbc', passphrase)];
    // Newer Nodes refuse to write old PEM with an empty one.
    if (passphrase !== '') contents.push(traditional(ec, 'aes-128-cbc', passphrase));
    for (const content of contents) {
      await expectSigns(openKeyBytes(content, { secret: passphrase }), ec);
      await expectSigns(openKeyBytes(content, { secret: Buffer.from(passphrase) }), ec);
    }
  });

  test('a wrong passphrase is never taken for a damaged file, though padding fits once in 256 times', async () => {
    const [pkcs8, old] = [encrypted(ec, 'der', 'aes-128-cbc', 'x'), traditional(ec, 'aes-128-cbc', 'x')];
    const codes = new Set<string>();
    for (let i = 0; i < 600; i += 1) {
      codes.add((await failure(openKeyBytes(old, { secret: `wrong ${i}` }))).code);
      if (i % 10 === 0) codes.add((await failure(openKeyBytes(pkcs8, { secret: `wrong ${i}` }))).code);
    }
    expect([...codes]).toEqual(['ERR_SECRET_WRONG']);
  });
});

describe('when the passphrase is asked for', () => {
  const openAt = (query: string, options: OpenOptions = {}) =>
    open(parseKeyUri(`file:${files.path('key.pem')}${query}`), options);
  const forbidden = (): never => {
    throw new Error('asked');
  };

  test('never for a key that is not encrypted', async () => {
    await expectSigns(openKeyBytes(ec.export({ type: 'pkcs8', format: 'pem' }), { secret: forbidden }), ec);
  });

  test('once, and told what for', async () => {
    await files.write('key.pem', encrypted(ec, 'pem'));
    const asked: unknown[] = [];
    const secret = (request: unknown): string => {
      asked.push(request);
      return PASSPHRASE;
    };
    await expectSigns(openAt('', { secret, purpose: 'sign in' }), ec);
    expect(asked).toEqual([{ kind: 'passphrase', of: `key file ${files.path('key.pem')}`, purpose: 'sign in' }]);
  });

  test('not for a file that others can write', async () => {
    await files.write('key.pem', encrypted(ec, 'pem'), 0o622);
    expect((await failure(openAt('', { secret: forbidden }))).code).toBe('ERR_KEY_EXPOSED');
  });

  test('options.secret before pin-value, pin-value and pin-source by themselves', async () => {
    await files.write('key.pem', encrypted(ec, 'pem'));
    const source = await files.write('passphrase', `${PASSPHRASE}\n`);
    await expectSigns(openAt(`?pin-value=${encodeURIComponent(PASSPHRASE)}`), ec);
    await expectSigns(openAt(`?pin-source=file:${source}`), ec);
    await expectSigns(openAt(`?pin-source=${source}`), ec);
    await expectSigns(openAt('?pin-value=wrong', { secret: PASSPHRASE }), ec);
    await expectSigns(openAt('?pin-source=file:/nowhere', { secret: PASSPHRASE }), ec);
    expect((await failure(openAt(`?pin-source=file:${source}`, { secret: 'wrong' }))).code).toBe('ERR_SECRET_WRONG');
  });

  test('a pin-source that cannot be read, is relative, or stands beside a pin-value', async () => {
    await files.write('key.pem', encrypted(ec, 'pem'));
    expect((await failure(openAt(`?pin-source=file:${files.path('nowhere')}`))).code).toBe('ERR_SECRET_UNREADABLE');
    expect((await failure(openAt('?pin-source=passphrase'))).code).toBe('ERR_URI_INVALID');
    const both = await failure(openAt('?pin-source=file:/x&pin-value=swordfish'));
    expect(both.code).toBe('ERR_URI_INVALID');
    expect(tellsOf(both, 'swordfish')).toBe(false);
  });

  test('a wrong pin-value is in no error', async () => {
    await files.write('key.pem', encrypted(ec, 'pem'));
    const error = await failure(openAt('?pin-value=swordfish'));
    expect(error.code).toBe('ERR_SECRET_WRONG');
    expect(tellsOf(error, 'swordfish')).toBe(false);
  });

  test('a secret that can be none', async () => {
    expect((await failure(openKeyBytes(encrypted(ec, 'pem'), { secret: 17 as unknown as string }))).code).toBe(
      'ERR_OPTION_INVALID',
    );
  });
});

describe('what no passphrase opens is told without asking for one', () => {
  const secret = (): never => {
    throw new Error('asked');
  };
  /** Replace octets in an encrypted PKCS#8 file, by their hex. */
  const patched = (from: string, to: string): Buffer => {
    const hex = encrypted(ec, 'der').toString('hex');
    expect(hex.split(from)).toHaveLength(2);
    return Buffer.from(hex.replace(from, to), 'hex');
  };
  const HMAC_SHA_256 = '06082a864886f70d0209';
  const ROUNDS = '02020800';

  test.each([
    ['an unknown cipher', AES_256_CBC, '060960864801650304017f', /a cipher that holdfast does not know/],
    ['an unknown key derivation', PBKDF2, '06092a864886f70d01057f', /a key derivation that holdfast does not know/],
    ['an unknown pseudo-random function', HMAC_SHA_256, '06082a864886f70d027f', /a pseudo-random function that/],
    ['an unknown scheme', '06092a864886f70d01050d', '06092a864886f70d01057f', /a scheme that holdfast does not know/],
  ])('%s', async (_, from, to, message) => {
    const error = await failure(openKeyBytes(patched(from, to), { secret }));
    expect(error.code).toBe('ERR_KEY_UNSUPPORTED');
    expect(error.message).toMatch(message);
  });

  test.each([
    ['MD5 and DES', '06092a864886f70d010503'],
    ['SHA-1 and RC2', '060a2a864886f70d010c0106'],
  ])('a scheme that OpenSSL 3 has retired: %s', async (words, scheme) => {
    const content = tlv(0x30, tlv(0x30, hex(scheme), tlv(0x30, SALT, hex('020101'))), tlv(0x04, Buffer.alloc(16)));
    const error = await failure(openKeyBytes(content, { secret }));
    expect(error.code).toBe('ERR_KEY_UNSUPPORTED');
    expect(error.message).toContain(`is encrypted with ${words}`);
    expect(error.hint).toContain('-provider legacy');
  });

  test.each([
    ['no rounds', ROUNDS, '02020000'],
    ['a negative count of rounds', ROUNDS, '0202ff00'],
    ['a count that is no integer', ROUNDS, '04020800'],
    ['an initialization vector of another length', `${AES_256_CBC}0410`, `${AES_256_CBC}040f`],
  ])('a damaged header: %s', async (_, from, to) => {
    const error = await failure(openKeyBytes(patched(from, to), { secret }));
    expect(error.code).toBe('ERR_KEY_INVALID');
  });

  test('more work than anybody would wait for', async () => {
    const costly = [
      pbkdf2Parameters('02047fffffff'),
      scryptParameters('02047fffffff', '020108', '020101'),
      scryptParameters('020102', '020101', '02047fffffff'),
    ];
    for (const parameters of costly) {
      const error = await failure(openKeyBytes(fileOf(parameters, Buffer.alloc(16)), { secret }));
      expect(error.code).toBe('ERR_KEY_UNSUPPORTED');
    }
    for (const damaged of [
      scryptParameters('020101', '020108', '020101'),
      scryptParameters('020140', '020100', '020101'),
    ]) {
      expect((await failure(openKeyBytes(fileOf(damaged, Buffer.alloc(16)), { secret }))).code).toBe('ERR_KEY_INVALID');
    }
    for (const length of [0, 15, 17]) {
      const error = await failure(openKeyBytes(fileOf(pbkdf2Parameters('020101'), Buffer.alloc(length)), { secret }));
      expect(error.code).toBe('ERR_KEY_INVALID');
    }
  });

  test.each([
    ['a cipher that OpenSSL 3 has retired', 'DES-CBC,0011223344556677', 'ERR_KEY_UNSUPPORTED'],
    ['a cipher that there is not', 'ROT-13,0011223344556677', 'ERR_KEY_UNSUPPORTED'],
    ['an IV of another length', 'AES-128-CBC,0011223344556677', 'ERR_KEY_INVALID'],
    ['a header that is none', 'AES-128-CBC', 'ERR_KEY_INVALID'],
  ])('old PEM with %s', async (_, dekInfo, code) => {
    const content = traditional(rsa, 'aes-128-cbc').replace(/(?<=DEK-Info: ).*/, dekInfo);
    const error = await failure(openKeyBytes(content, { secret }));
    expect(error.code).toBe(code);
    expect(error.message).not.toMatch(/ROT|0011/);
  });
});

describe('what comes to light after the passphrase', () => {
  test('a cost that OpenSSL refuses: scrypt with an N that is no power of two', async () => {
    const content = fileOf(scryptParameters('020103', '020108', '020101'), Buffer.alloc(16));
    expect((await failure(openKeyBytes(content, { secret: 'x' }))).code).toBe('ERR_KEY_UNSUPPORTED');
  });

  /** A file whose plaintext is ours to choose. */
  const sealed = (derivation: Buffer, key: Buffer, plain: Uint8Array): Buffer => {
    const cipher = createCipheriv('aes-256-cbc', key, Buffer.alloc(16));
    return fileOf(derivation, Buffer.concat([cipher.update(plain), cipher.final()]));
  };

  test('scrypt with 64 MiB, where createPrivateKey stops at 32', async () => {
    const key = scryptSync(PASSPHRASE, Buffer.alloc(8), 32, { N: 65536, r: 8, p: 1, maxmem: 2 ** 27 });
    const plain = ec.export({ type: 'pkcs8', format: 'der' });
    const content = sealed(scryptParameters('0203010000', '020108', '020101'), key, plain);
    await expectSigns(openKeyBytes(content, { secret: PASSPHRASE }), ec);
    expect(() => createPrivateKey({ key: content, format: 'der', type: 'pkcs8', passphrase: PASSPHRASE })).toThrow();
  });

  test.each([
    ['a public key', createPublicKey(ec).export({ type: 'spki', format: 'der' }), /is a public key/],
    ['no DER that holdfast knows', Buffer.from('30020500', 'hex'), /no private key/],
    ['a damaged key', (rsa.export({ type: 'pkcs8', format: 'der' }) as Buffer).fill(0x05, 40), /damaged/],
  ])('%s, properly encrypted', async (_, plain, message) => {
    const key = pbkdf2Sync(PASSPHRASE, Buffer.alloc(8), 1, 32, 'sha1');
    const content = sealed(pbkdf2Parameters('020101'), key, plain);
    const error = await failure(openKeyBytes(content, { secret: PASSPHRASE }));
    expect(error.code).toBe('ERR_KEY_INVALID');
    expect(error.message).toMatch(message);
  });
});
