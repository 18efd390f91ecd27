import { randomBytes } from 'node:crypto';
import { mkdir, truncate } from 'node:fs/promises';
import { describe, expect, test } from '@jest/globals';
import { open, openKeyBytes } from '../../src/stores/file/index.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { makeIdentity, makeKeyPair } from '../helpers/certificates.ts';
import { ecKey, pemOf, place, rsaKey } from '../helpers/key-files.ts';
import { failure, tellsOf } from '../stores/conformance.ts';

const files = place();
const [ec, rsa] = [ecKey(), rsaKey()];
const der = (type: 'pkcs8' | 'sec1' = 'pkcs8'): Buffer =>
  ec.export({ type, format: 'der' } as { type: 'sec1'; format: 'der' });
const pem = ec.export({ type: 'pkcs8', format: 'pem' }) as string;
const body = pem.split('\n').slice(1, -2).join('\n');
const CANARY = 'Y2FuYXJ5IGNhbmFyeSBjYW5hcnk';
const utf16 = (text: string): Buffer => Buffer.from(`\ufeff${text}`, 'utf16le');

/** `[what, content, code, the message's words]` */
type Case = readonly [
  string,
  string | Uint8Array,
  'ERR_KEY_INVALID' | 'ERR_KEY_UNSUPPORTED' | 'ERR_KEY_AMBIGUOUS',
  RegExp,
];

const TEXTS: readonly Case[] = [
  ['nothing', '', 'ERR_KEY_INVALID', /is empty/],
  ['blanks and line ends', ' \r\n\n', 'ERR_KEY_INVALID', /is empty/],
  ['a byte order mark', '\ufeff', 'ERR_KEY_INVALID', /is empty/],
  ['words', `my key is ${CANARY}`, 'ERR_KEY_INVALID', /text without a private key/],
  ['JSON', `{"kty":"EC","d":"${CANARY}"}`, 'ERR_KEY_INVALID', /JSON/],
  ['HTML', `<!DOCTYPE html><title>${CANARY}`, 'ERR_KEY_INVALID', /web page/],
  ['XML', `<?xml version="1.0"?><key>${CANARY}</key>`, 'ERR_KEY_INVALID', /XML/],
  ['an OpenSSH public key', `ssh-ed25519 AAAAC3Nz${CANARY} me@here`, 'ERR_KEY_INVALID', /public key of OpenSSH/],
  ['an ECDSA one', `ecdsa-sha2-nistp256 AAAAE2${CANARY}`, 'ERR_KEY_INVALID', /public key of OpenSSH/],
  ['an SSH2 public key', `---- BEGIN SSH2 PUBLIC KEY ----\n${CANARY}`, 'ERR_KEY_INVALID', /public key of OpenSSH/],
  ['a PuTTY key', `PuTTY-User-Key-File-3: ssh-rsa\n${CANARY}`, 'ERR_KEY_UNSUPPORTED', /PuTTY/],
  ['Base64 without lines around it', body, 'ERR_KEY_INVALID', /Base64 without the lines around it/],
  ['UTF-16', utf16(pem), 'ERR_KEY_INVALID', /UTF-16/],
  ['UTF-16 without a mark', utf16(pem).subarray(2), 'ERR_KEY_INVALID', /UTF-16/],
  ['UTF-16 the other way round', utf16(pem).swap16(), 'ERR_KEY_INVALID', /UTF-16/],
];

const label = (text: string): string => pemOf(text, Buffer.from(CANARY));

const LABELS: readonly Case[] = [
  ['a certificate', label('CERTIFICATE'), 'ERR_KEY_INVALID', /is a certificate, not a private key/],
  ['a trusted certificate', label('TRUSTED CERTIFICATE'), 'ERR_KEY_INVALID', /certificate/],
  ['a request', label('CERTIFICATE REQUEST'), 'ERR_KEY_INVALID', /request/],
  ['a revocation list', label('X509 CRL'), 'ERR_KEY_INVALID', /revocation list/],
  ['a public key', label('PUBLIC KEY'), 'ERR_KEY_INVALID', /is a public key/],
  ['an RSA public key', label('RSA PUBLIC KEY'), 'ERR_KEY_INVALID', /is a public key/],
  ['a PKCS#7 bundle', label('PKCS7'), 'ERR_KEY_INVALID', /PKCS#7/],
  ['PKCS#12 as PEM', label('PKCS12'), 'ERR_KEY_UNSUPPORTED', /PKCS#12 file written as PEM/],
  ['EC parameters alone', label('EC PARAMETERS'), 'ERR_KEY_INVALID', /parameters without a key/],
  ['DH parameters', label('DH PARAMETERS'), 'ERR_KEY_INVALID', /parameters without a key/],
  ['an OpenSSH key', label('OPENSSH PRIVATE KEY'), 'ERR_KEY_UNSUPPORTED', /OpenSSH/],
  ['a DSA key', label('DSA PRIVATE KEY'), 'ERR_KEY_UNSUPPORTED', /DSA/],
  ['a TPM key', label('TSS2 PRIVATE KEY'), 'ERR_KEY_UNSUPPORTED', /TPM/],
  [
    'an OpenPGP key',
    `-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: 1\n\n${CANARY}\n=abcd\n-----END PGP PRIVATE KEY BLOCK-----`,
    'ERR_KEY_INVALID',
    /OpenPGP/,
  ],
  ['PEM that nobody knows', label(`${CANARY} SAUSAGE`), 'ERR_KEY_INVALID', /PEM, but holds no private key/],
  ['a certificate under the label of a key', label('PRIVATE KEY'), 'ERR_KEY_INVALID', /damaged/],
];

const BROKEN: readonly Case[] = [
  ['cut off in its Base64', pem.slice(0, 100), 'ERR_KEY_INVALID', /cut off: the last END line is missing/],
  ['without its END line', pem.split('\n').slice(0, -2).join('\n'), 'ERR_KEY_INVALID', /cut off/],
  ['without its BEGIN line', pem.split('\n').slice(1).join('\n'), 'ERR_KEY_INVALID', /BEGIN line is missing/],
  ['with a misspelt BEGIN line', pem.slice(1), 'ERR_KEY_INVALID', /BEGIN line is misspelt/],
  ['with another END line', pem.replace('END PRIVATE', 'END EC PRIVATE'), 'ERR_KEY_INVALID', /name different things/],
  [
    'with two BEGIN lines',
    `-----BEGIN PRIVATE KEY-----\n${pem}`,
    'ERR_KEY_INVALID',
    /END line between them is missing/,
  ],
  ['with two END lines', `${pem}-----END PRIVATE KEY-----\n`, 'ERR_KEY_INVALID', /no BEGIN line before it/],
  ['on one line', pem.replaceAll('\n', ''), 'ERR_KEY_INVALID', /lost its line ends/],
  ['with \\n for line ends', pem.replaceAll('\n', '\\n'), 'ERR_KEY_INVALID', /lost its line ends/],
  ['with a character that is no Base64', pem.replace(/\n(.)/, '\n!'), 'ERR_KEY_INVALID', /Base64 is damaged/],
  ['with a character missing', pem.replace(/\n./, '\n'), 'ERR_KEY_INVALID', /Base64 is damaged/],
  ['with a line missing', pem.replace(/\n.*/, ''), 'ERR_KEY_INVALID', /damaged/],
  ['with nothing between its lines', pem.replace(body, ''), 'ERR_KEY_INVALID', /Base64 is damaged/],
  [
    'with the DER inside cut off',
    pemOf('PRIVATE KEY', der().subarray(0, -3)),
    'ERR_KEY_INVALID',
    /does not end where it says/,
  ],
  ['two keys', pem + ec.export({ type: 'sec1', format: 'pem' }), 'ERR_KEY_AMBIGUOUS', /holds 2 private keys/],
  [
    'two keys of which one is not read',
    label('OPENSSH PRIVATE KEY') + pem,
    'ERR_KEY_AMBIGUOUS',
    /holds 2 private keys/,
  ],
];

const prefixed = (hex: string): Buffer => Buffer.concat([Buffer.from(hex, 'hex'), Buffer.from(CANARY)]);

const BINARIES: readonly Case[] = [
  ['random bytes', prefixed('0001020304050607'), 'ERR_KEY_INVALID', /binary/],
  ['zeros', Buffer.alloc(500), 'ERR_KEY_INVALID', /binary/],
  [
    'DER cut off',
    rsa.export({ type: 'pkcs8', format: 'der' }).subarray(0, -1),
    'ERR_KEY_INVALID',
    /does not end where it says/,
  ],
  ['a Java keystore', prefixed('feedfeed00000002'), 'ERR_KEY_UNSUPPORTED', /Java keystore/],
  ['the beginning of PKCS#12', prefixed('308002010330800609'), 'ERR_KEY_INVALID', /PKCS#12 .* is damaged/],
  ['a ZIP archive', prefixed('504b0304'), 'ERR_KEY_INVALID', /archive/],
  ['a database of NSS', Buffer.from(`SQLite format 3\0${CANARY}`), 'ERR_KEY_INVALID', /database/],
  ['a GnuPG keybox', prefixed('0000002001010002' + '4b425866'), 'ERR_KEY_INVALID', /OpenPGP/],
  ['DER of nothing that is known', Buffer.from('3003020100', 'hex'), 'ERR_KEY_INVALID', /no private key/],
  ['a DSA key', Buffer.from(`3012${'020101'.repeat(6)}`, 'hex'), 'ERR_KEY_UNSUPPORTED', /DSA/],
  ['an RSA key with its numbers cut', Buffer.from(`301b${'020101'.repeat(9)}`, 'hex'), 'ERR_KEY_INVALID', /damaged/],
  ['an EC key without a curve', Buffer.from('30060201010401ff', 'hex'), 'ERR_KEY_INVALID', /damaged/],
  ['a public key', makeKeyPair().publicKey, 'ERR_KEY_INVALID', /public key/],
];

describe('content that is no key says what it is, and nothing of itself', () => {
  test.each([...TEXTS, ...LABELS, ...BROKEN, ...BINARIES])('%s', async (_, content, code, words) => {
    const path = await files.write('bad.pem', content);
    for (const error of [await failure(open(parseKeyUri(path), {})), await failure(openKeyBytes(content))]) {
      expect(error.code).toBe(code);
      expect(error.message).toMatch(words);
      expect(error.hint).toMatch(/.../);
      for (const secret of [CANARY, body.slice(0, 20), body.slice(-20), der().toString('hex').slice(20, 60)]) {
        expect(tellsOf(error, secret)).toBe(false);
      }
    }
  });

  test('DER of a certificate', async () => {
    const { certificate } = await makeIdentity();
    expect((await failure(openKeyBytes(certificate))).message).toMatch(/is a certificate, not a private key/);
  });

  test('a key of an algorithm from the future', async () => {
    const error = await failure(openKeyBytes(Buffer.from('300c020100300506032b657f0400', 'hex')));
    expect(error.code).toBe('ERR_KEY_UNSUPPORTED');
    expect(error.message).toMatch(/an algorithm that holdfast does not know/);
  });

  test('every prefix of a key, PEM and DER', async () => {
    for (const whole of [Buffer.from(pem), der(), der('sec1')]) {
      for (let length = 0; length < whole.length - 2; length += 1) {
        const error = await failure(openKeyBytes(whole.subarray(0, length)));
        expect(error.code).toBe('ERR_KEY_INVALID');
      }
    }
  });
});

describe('paths', () => {
  test('a directory, a missing file', async () => {
    await mkdir(files.path('directory'), { recursive: true });
    expect((await failure(open(parseKeyUri(files.path('directory')), {}))).code).toBe('ERR_FILE_UNREADABLE');
    const missing = await failure(open(parseKeyUri(files.path('missing')), {}));
    expect(missing.code).toBe('ERR_FILE_NOT_FOUND');
    expect(missing.message).toContain(files.path('missing'));
  });

  test('10 MB', async () => {
    const path = await files.write('large.pem', randomBytes(16));
    await truncate(path, 10_000_000);
    expect((await failure(open(parseKeyUri(path), {}))).code).toBe('ERR_FILE_TOO_LARGE');
  });

  test('a key where its path belongs is not repeated', async () => {
    for (const pasted of [
      pem,
      pem.replaceAll('\n', ' '),
      body.replaceAll('\n', ''),
      `file:${pem.replaceAll('\n', '')}`,
    ]) {
      const error = await failure((async () => open(parseKeyUri(pasted), {}))());
      expect(error.code).toBe('ERR_URI_INVALID');
      expect(tellsOf(error, body.slice(0, 20))).toBe(false);
    }
  });
});
