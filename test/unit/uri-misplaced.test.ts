import { describe, expect, test } from '@jest/globals';
import { withIdentity } from '../../src/identity.ts';
import { formatKeyUri, parseKeyUri } from '../../src/uri.ts';
import { ecKey } from '../helpers/key-files.ts';
import { everythingOf, rejectionOf, thrownBy } from '../helpers/thrown.ts';

const PIN = 'S3cr3t';
const pem = ecKey().export({ type: 'pkcs8', format: 'pem' }) as string;
const base64 = ecKey().export({ type: 'sec1', format: 'der' }).toString('base64');
/** The shortest: RFC 5915 without the public half. */
const short = Buffer.concat([Buffer.from('302e0201010420', 'hex'), Buffer.alloc(41, 7)]).toString('base64');

test.each([
  ['PEM', pem],
  ['PEM in one line', pem.replaceAll('\n', '\\n')],
  ['DER', base64],
  ['short DER', short],
  ['DER behind space', `\n ${base64}\n`],
])('a key pasted where its path belongs is refused and not repeated: %s', async (_, content) => {
  const secret = content.slice(50, 70);
  for (const text of [content, `file:${content}`, `pkcs11:object=${content.replaceAll(/[\s/-]/g, '')}`]) {
    if (content.includes('-----') && text.startsWith('pkcs11')) continue; // no longer PEM
    const error = thrownBy(() => parseKeyUri(text));
    expect(error).toMatchObject({ code: 'ERR_URI_INVALID', hint: expect.any(String) });
    expect(everythingOf(error)).not.toContain(secret);
  }
  const error = await rejectionOf(withIdentity({ key: content }, () => Promise.reject(new Error('used'))));
  expect(error).toMatchObject({ code: 'ERR_URI_INVALID', hint: 'give the path of the file, not its content' });
});

test.each([
  `pkcs11:token=dev&pin-value=${PIN}`,
  `pkcs11:token=dev,pin-value=${PIN}`,
  `pkcs11:token=dev:pin=${PIN}`,
  `pkcs11:token=pin-value=${PIN}`,
  `pkcs11:token=dev%3Bpin-value=${PIN}`,
  `pkcs11:object=web,pin-value=${PIN}`,
  `pkcs11:token=dev&so-pin=${PIN}`,
  `pkcs11:token=dev?module-path=/x.so?pin-value=${PIN}`,
  `pkcs11:token=dev?module-path=/x.so,pin-value=${PIN}`,
  `pkcs11:token=dev?module-path=/x.so|auth-value=${PIN}`,
  `pkcs11:token=dev?pin-source=file:/x?PASSWORD=${PIN}`,
  `enc.pem?pass=${PIN}`,
  `enc.pem?pin=${PIN}`,
  `./enc.pem,passphrase=${PIN}`,
  `enc.pem pin-source=${PIN}`,
  `file:enc.pem&pass=${PIN}`,
  `file:enc.pem%3Fpass=${PIN}`,
])('a secret behind the wrong separator is refused and not repeated: %s', (text) => {
  const error = thrownBy(() => parseKeyUri(text));
  expect(error).toMatchObject({ code: 'ERR_URI_INVALID', hint: expect.stringMatching(/"\?"/) });
  expect(everythingOf(error)).not.toContain(PIN);
});

test.each([
  './pin=3/key.pem',
  '/home/pass=1/key.pem',
  'spin.pem',
  'C:\\pin=3\\key.pem',
  'Makefile',
  'MIT/keys/key.pem',
])('what is a path stays one: %s', (text) => {
  expect(parseKeyUri(text).location).toBe(text);
});

test.each([
  `pkcs11:token=dev?pin-value=${PIN}?pin-source=/run/pin`,
  `pkcs11:token=dev?pin-value=${PIN}?module-path=/x.so`,
  `pkcs11:token=dev?pin-value=${PIN}?x-init-reserved=1`,
  `pkcs11:token=dev?pin-source=|/bin/echo%20${PIN}?module-path=/x.so`,
])('a second "?" with an attribute behind it is no PIN: %s', (text) => {
  const error = thrownBy(() => parseKeyUri(text));
  expect(error).toMatchObject({ code: 'ERR_URI_INVALID', hint: expect.stringMatching(/"&".*%3F/) });
  expect(everythingOf(error)).not.toContain(PIN);
});

test.each(['what?', 'a?b=c', '?', 'a?b&module-path=/x.so', 'a%3Fpin-source=1'])('a PIN may have a "?": %s', (pin) => {
  const value = parseKeyUri(`pkcs11:?pin-value=${pin}`).query.get('pin-value');
  expect(Buffer.from(value ?? []).toString()).toBe(decodeURIComponent(pin.split('&')[0] as string));
});

describe('however long it is', () => {
  const LIMIT = 64 * 1024;
  test('up to 64 KiB are read, more are refused unread', () => {
    const of = (length: number): string => `pkcs11:object=${'a'.repeat(length - 14)}`;
    expect(parseKeyUri(of(LIMIT)).path.get('object')).toHaveLength(LIMIT - 14);
    for (const text of [of(LIMIT + 1), 'a'.repeat(LIMIT + 1), `file:${'/a'.repeat(LIMIT)}`]) {
      expect(thrownBy(() => parseKeyUri(text))).toMatchObject({
        code: 'ERR_URI_INVALID',
        message: 'the key URI is longer than 65536 characters',
      });
    }
  });

  // Where the time grew with the square of the length, this would take minutes.
  test.each(['pin', 'pin-', ',pin', 'pin=', '?pin', '%2Cpin', 'M', '-----BEGI'])('%s, again and again', (part) => {
    const text = part.repeat(64_000 / part.length);
    for (let i = 0; i < 50; i += 1) {
      for (const uri of [`pkcs11:object=${text}`, `pkcs11:?pin-value=${text}`, `file:${text}`, text]) {
        try {
          parseKeyUri(uri);
        } catch (error) {
          expect(error).toMatchObject({ code: 'ERR_URI_INVALID' });
        }
      }
    }
  });
});

test('a label may hold anything, as it is written by formatKeyUri; and a PIN, too', () => {
  const [label, pin] = ['web&pin-value=1;pass=2', 'a,pin=1'];
  const text = formatKeyUri({ scheme: 'pkcs11', path: [['object', label]], query: [['pin-value', pin]] });
  expect(Buffer.from(parseKeyUri(text).path.get('object') ?? []).toString()).toBe(label);
  expect(parseKeyUri(`pkcs11:?pin-value=${pin}`).query.get('pin-value')).toEqual(Buffer.from(pin));
});
