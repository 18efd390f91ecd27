import { execFileSync, spawnSync } from 'node:child_process';
import { createPrivateKey, type KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { open, readCertificates } from '../../src/stores/file/index.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { expectSigns, place } from '../helpers/key-files.ts';
import { failure } from '../stores/conformance.ts';

const files = place();
const hasOpenssl = spawnSync('openssl', ['version']).status === 0;
const describeOpenssl = hasOpenssl ? describe : describe.skip;
const PASSPHRASE = 'gr\u00fcne Gurken';

const openssl = (...args: string[]): Buffer => execFileSync('openssl', args, { stdio: ['ignore', 'pipe', 'pipe'] });
const keyAt = (path: string): KeyObject => createPrivateKey(readFileSync(path));
const openAt = (path: string, secret?: string) => open(parseKeyUri(path), { secret });

describeOpenssl(`key files that OpenSSL makes${hasOpenssl ? '' : ' (skipped: openssl is not installed)'}`, () => {
  let rsa: string;
  let ec: string;
  beforeAll(() => {
    [rsa, ec] = [files.path('rsa.pem'), files.path('ec.pem')];
    openssl('genpkey', '-quiet', '-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048', '-out', rsa);
    openssl('genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', ec);
  });

  /** Both keys, converted by a command that takes `-in` and `-out`. */
  const converted = (name: string, ...command: string[]): (readonly [string, KeyObject])[] =>
    [rsa, ec].map((path) => {
      const out = `${path}.${name}`;
      openssl(...command, '-in', path, '-out', out);
      execFileSync('chmod', ['600', out]);
      return [out, keyAt(path)] as const;
    });

  test.each([
    ['pkcs8.pem', ['pkcs8', '-topk8', '-nocrypt']],
    ['pkcs8.der', ['pkcs8', '-topk8', '-nocrypt', '-outform', 'DER']],
    ['traditional.pem', ['pkey', '-traditional']],
    ['traditional.der', ['pkey', '-traditional', '-outform', 'DER']],
    ['with-text', ['pkey', '-text']],
  ])('unencrypted: %s', async (name, command) => {
    for (const [path, key] of converted(name, ...command)) await expectSigns(openAt(path), key);
  });

  test.each(['P-384', 'P-521', 'secp256k1', 'brainpoolP256r1'])(
    '%s, with its parameters in a block before it',
    async (curve) => {
      const path = files.path(`${curve}.pem`);
      openssl('ecparam', '-name', curve, '-genkey', '-out', path);
      execFileSync('chmod', ['600', path]);
      expect(readFileSync(path, 'utf8')).toMatch(/^-----BEGIN EC PARAMETERS-----/);
      await expectSigns(openAt(path), keyAt(path));
    },
  );

  const CIPHERS = [
    'aes128',
    'aes192',
    'aes256',
    'des3',
    'camellia128',
    'camellia192',
    'camellia256',
    'aria128',
    'aria192',
    'aria256',
    'sm4',
  ];
  const PRFS = ['SHA1', 'SHA224', 'SHA256', 'SHA384', 'SHA512', 'SHA512-224', 'SHA512-256'].map(
    (hash) => `hmacWith${hash}`,
  );

  const VARIANTS = [
    ...CIPHERS.map((cipher) => ['-v2', cipher]),
    ...PRFS.map((prf) => ['-v2', 'aes256', '-v2prf', prf]),
    ['-v2', 'aes-128-cfb'],
    ['-v2', 'aes-256-ofb'],
    ['-v2', 'aes256', '-iter', '1'],
    ['-v2', 'aes256', '-iter', '100000'],
    ['-scrypt'],
    ['-scrypt', '-scrypt_N', '2048', '-scrypt_r', '16', '-scrypt_p', '2'],
    ['-scrypt', '-v2', 'des3'],
    ['-v1', 'PBE-SHA1-3DES'],
  ];

  test.each(VARIANTS.map((options) => [options.join(' '), options] as const))('PKCS#8 with %s', async (_, options) => {
    const command = ['pkcs8', '-topk8', ...options, '-passout', `pass:${PASSPHRASE}`];
    for (const format of ['PEM', 'DER']) {
      for (const [path, key] of converted('encrypted', ...command, '-outform', format)) {
        await expectSigns(openAt(path, PASSPHRASE), key);
        expect((await failure(openAt(path, 'wrong'))).code).toBe('ERR_SECRET_WRONG');
        expect((await failure(openAt(path))).code).toBe('ERR_SECRET_REQUIRED');
      }
    }
  });

  test.each(['aes128', 'aes256', 'des3', 'camellia192', 'aes-256-cfb'])('old encrypted PEM: %s', async (cipher) => {
    for (const [path, key] of converted(
      'old',
      'pkey',
      '-traditional',
      `-${cipher}`,
      '-passout',
      `pass:${PASSPHRASE}`,
    )) {
      expect(readFileSync(path, 'utf8')).toMatch(/^DEK-Info: /m);
      await expectSigns(openAt(path, PASSPHRASE), key);
      expect((await failure(openAt(path, 'wrong'))).code).toBe('ERR_SECRET_WRONG');
    }
  });

  describe('certificates', () => {
    const subject = ['-subj', '/CN=build-01', '-days', '1'];

    test('beside the key, and alone', async () => {
      const certificate = files.path('certificate.pem');
      openssl('req', '-x509', '-new', '-key', ec, '-out', certificate, ...subject);
      const both = await files.write('both.pem', readFileSync(certificate, 'utf8') + readFileSync(ec, 'utf8'));
      const opened = await openAt(both);
      expect(opened.certificates).toHaveLength(1);
      expect(await readCertificates(parseKeyUri(certificate), {})).toEqual(opened.certificates);
    });

    test.each([
      ['a certificate', /certificate, not a private key/, ['req', '-x509', '-new', ...subject]],
      ['a request', /request/, ['req', '-new', '-subj', '/CN=build-01']],
      ['a public key', /public key/, ['pkey', '-pubout']],
    ])('%s is no key, in PEM and in DER', async (_, words, [command = '', ...options]) => {
      for (const format of ['PEM', 'DER']) {
        const input = command === 'pkey' ? '-in' : '-key';
        const path = await files.write('no-key', openssl(command, ...options, input, ec, '-outform', format));
        const error = await failure(openAt(path));
        expect(error.code).toBe('ERR_KEY_INVALID');
        expect(error.message).toMatch(words);
      }
    });

    test('a revocation list is no key, in PEM and in DER', async () => {
      openssl('req', '-x509', '-new', '-key', ec, '-out', files.path('ca.pem'), ...subject);
      await files.write('index.txt', '');
      await files.write(
        'ca.cnf',
        `[ca]\ndefault_ca=x\n[x]\ndatabase=${files.path('index.txt')}\ndefault_md=sha256\ndefault_crl_days=1\n`,
      );
      openssl(
        'ca',
        '-gencrl',
        '-config',
        files.path('ca.cnf'),
        '-keyfile',
        ec,
        '-cert',
        files.path('ca.pem'),
        '-out',
        files.path('crl.pem'),
      );
      for (const format of ['PEM', 'DER']) {
        const path = await files.write('crl', openssl('crl', '-in', files.path('crl.pem'), '-outform', format));
        expect((await failure(openAt(path))).message).toMatch(/revocation list/);
      }
    });

    test('PKCS#7 is no key, in PEM and in DER', async () => {
      openssl('req', '-x509', '-new', '-key', ec, '-out', files.path('leaf.pem'), ...subject);
      for (const format of ['PEM', 'DER']) {
        const path = await files.write(
          'p7',
          openssl('crl2pkcs7', '-nocrl', '-certfile', files.path('leaf.pem'), '-outform', format),
        );
        expect((await failure(openAt(path))).message).toMatch(/PKCS#7/);
      }
    });
  });

  test.each([
    ['ED25519', /Ed25519/],
    ['X25519', /X25519/],
    ['RSA-PSS', /PSS/],
  ])('a key of %s is named, encrypted or not', async (algorithm, words) => {
    const path = files.path('other.pem');
    openssl('genpkey', '-quiet', '-algorithm', algorithm, '-out', path);
    execFileSync('chmod', ['600', path]);
    const encrypted = await files.write('other', openssl('pkcs8', '-topk8', '-in', path, '-passout', 'pass:x'));
    for (const error of [await failure(openAt(path)), await failure(openAt(encrypted, 'x'))]) {
      expect(error.code).toBe('ERR_KEY_UNSUPPORTED');
      expect(error.message).toMatch(words);
    }
  });
});
