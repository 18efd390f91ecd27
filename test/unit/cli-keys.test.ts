import { resolve } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { secretFor, withModule, withPinOf } from '../../src/cli/key-flags.ts';
import { parseCommandLine } from '../../src/cli/parse.ts';
import { makeLineEditor, promptText } from '../../src/cli/prompt.ts';
import { nearest } from '../../src/nearest.ts';
import { asksPerson, Secret, type SecretFunction, type SecretRequest } from '../../src/secret.ts';
import { parseKeyUri, textOf } from '../../src/uri.ts';
import { thrownBy } from '../helpers/thrown.ts';

const bytes = (text: string): Buffer => Buffer.from(text, 'utf8');

describe('--pkcs11-lib', () => {
  test.each<[given: string, module: string | undefined, path: string | undefined]>([
    ['pkcs11:token=a', '/x.so', '/x.so'],
    ['pkcs11:token=a?pin-value=1', '/x y.so', '/x y.so'],
    ['pkcs11:token=a?module-path=/own.so', '/x.so', '/own.so'],
    ['pkcs11:token=a', undefined, undefined],
    ['file:key.pem', '/x.so', undefined],
    ['key.pem', '/x.so', undefined],
    ['pkcs11:token=a?module-name=own', '/x.so', undefined],
    ['pkcs11:token=a', 'x.so', resolve('x.so')],
  ])('%s with %s', (given, module, path) => {
    const uri = parseKeyUri(withModule(given, module));
    expect(textOf(uri.query, 'module-path')).toBe(path);
    expect([...uri.path]).toEqual([...parseKeyUri(given).path]);
  });

  test('keeps every other attribute, bytes and PIN, and the URI still prints without the PIN', () => {
    const uri = parseKeyUri(withModule('pkcs11:token=a%20b;id=%00%FF?pin-value=s%26cret', '/x.so'));
    expect(uri.path.get('id')).toEqual(Buffer.from([0, 255]));
    expect(textOf(uri.path, 'token')).toBe('a b');
    expect(textOf(uri.query, 'pin-value')).toBe('s&cret');
    expect(String(uri)).not.toContain('cret');
  });
});

describe("the PIN of the certificate's URI", () => {
  const pinFor = (certificate: string, key: string): string | undefined =>
    textOf(withPinOf(parseKeyUri(certificate), parseKeyUri(key)).query, 'pin-value');

  test.each<[why: string, certificate: string, key: string, pin: string | undefined]>([
    ['same token', 'pkcs11:token=a;type=cert?pin-value=1', 'pkcs11:token=a;object=k', '1'],
    ['the key has its own', 'pkcs11:token=a?pin-value=1', 'pkcs11:token=a?pin-value=2', '2'],
    ['the key has a source', 'pkcs11:token=a?pin-value=1', 'pkcs11:token=a?pin-source=/p', undefined],
    ['another token', 'pkcs11:token=a?pin-value=1', 'pkcs11:token=b', undefined],
    ['perhaps another token', 'pkcs11:token=a?pin-value=1', 'pkcs11:object=k', undefined],
    ['another serial', 'pkcs11:token=a;serial=1?pin-value=1', 'pkcs11:token=a;serial=2', undefined],
    ['before the "?"', 'pkcs11:token=a;pin-value=1', 'pkcs11:token=a;object=k', '1'],
    ['the key has its own before the "?"', 'pkcs11:token=a?pin-value=1', 'pkcs11:token=a;pin-value=2', undefined],
    ['a key file', 'pkcs11:token=a?pin-value=1', 'key.pem', undefined],
    ['a certificate file', 'cert.pem', 'pkcs11:token=a', undefined],
  ])('%s', (_, certificate, key, pin) => {
    expect(pinFor(certificate, key)).toBe(pin);
  });
});

describe('where the secret comes from', () => {
  const { flags } = parseCommandLine(['credential-process', '--pkcs8-password', 'geheim']);
  const none = parseCommandLine(['credential-process']).flags;
  const { signal } = new AbortController();

  test('a command only with --allow-pin-command; where a stored secret is from is handed on', () => {
    const uri = parseKeyUri('pkcs11:token=a?pin-source=|/bin/pin%20x');
    expect(thrownBy(() => secretFor(uri, none, signal))).toMatchObject({
      code: 'ERR_URI_INVALID',
      hint: expect.stringContaining('--allow-pin-command'),
    });
    const allowing = parseCommandLine(['credential-process', '--allow-pin-command']).flags;
    const source = secretFor(uri, allowing, signal) as SecretFunction;
    expect([source.origin?.kind, source.interactive]).toEqual(['command', undefined]);
    const variable = secretFor(parseKeyUri('pkcs11:token=a?pin-source=env:A_PIN'), none, signal) as SecretFunction;
    expect(variable.origin).toEqual({ kind: 'variable', name: 'A_PIN' });
  });

  test('the flag is for key files, and beats their URI', () => {
    expect(secretFor(parseKeyUri('key.pem'), flags, signal)).toBe('geheim');
    expect(secretFor(parseKeyUri('file:key.pem?pin-value=x'), flags, signal)).toBe('geheim');
  });

  test('beside a key in a token it opens files, and is never the PIN', async () => {
    const source = secretFor(parseKeyUri('pkcs11:token=a?pin-value=1'), flags, signal) as SecretFunction;
    expect(await source({ kind: 'passphrase', of: 'certificate file x.p12' })).toBe('geheim');
    expect(await source({ kind: 'PIN', of: 'token "a"' })).toEqual(Buffer.from('1'));
    expect(asksPerson(source)).toBe(false); // a stored PIN is not spent on the last try
  });

  test('a PIN that is nowhere is asked of a person, with and without the flag', async () => {
    const source = secretFor(parseKeyUri('pkcs11:token=a'), flags, signal) as SecretFunction;
    expect(asksPerson(source)).toBe(true);
    expect(await source({ kind: 'passphrase', of: 'certificate file x.p12' })).toBe('geheim');
    expect(asksPerson(secretFor(parseKeyUri('pkcs11:token=a'), none, signal))).toBe(true);
  });

  test('a key URI with two PINs is refused', () => {
    const uri = parseKeyUri('pkcs11:token=a?pin-value=1&pin-source=/p');
    expect(thrownBy(() => secretFor(uri, none, signal))).toMatchObject({ code: 'ERR_URI_INVALID' });
  });

  test('what the URI names is left to the store; otherwise a person is asked', () => {
    expect(secretFor(parseKeyUri('file:key.pem?pin-source=/p'), none, signal)).toBeUndefined();
    expect(asksPerson(secretFor(parseKeyUri('key.pem'), none, signal))).toBe(true);
  });
});

describe('typing a secret', () => {
  const typed = (...parts: (string | Buffer)[]): string => {
    const editor = makeLineEditor();
    for (const part of parts) {
      const result = editor.feed(typeof part === 'string' ? bytes(part) : part);
      if (result.state === 'done') return `done: ${result.secret.reveal()}`;
      if (result.state !== 'typing') return result.state;
    }
    return 'typing';
  };

  test.each<[name: string, parts: (string | Buffer)[], outcome: string]>([
    ['Enter', ['1234\r'], 'done: 1234'],
    ['a line feed', ['1234\n'], 'done: 1234'],
    ['CR and LF', ['1234\r\n'], 'done: 1234'],
    ['key by key', ['1', '2', '\r'], 'done: 12'],
    ['no Enter yet', ['1234'], 'typing'],
    ['spaces stay', [' 1 2 \r'], 'done:  1 2 '],
    ['backspace', ['12\u007f3\u00084\r'], 'done: 14'],
    ['more backspaces than keys', ['1\u007f\u007f\u007f2\r'], 'done: 2'],
    ['backspace over a character of two bytes', ['aé\u007fb\r'], 'done: ab'],
    ['backspace over a character of four bytes', ['a😀\u007fb\r'], 'done: ab'],
    ['Ctrl-U begins again', ['wrong\u0015right\r'], 'done: right'],
    ['umlauts', ['größe\r'], 'done: größe'],
    ['a character in two reads', [bytes('é').subarray(0, 1), bytes('é').subarray(1), '\r'], 'done: é'],
    ['other control characters are not typed', ['a\u001b\u0000\tb\r'], 'done: ab'],
    ['Ctrl-C', ['12\u0003'], 'interrupted'],
    ['Ctrl-D at once', ['\u0004'], 'ended'],
    ['Ctrl-D later is nothing', ['12\u0004\r'], 'done: 12'],
    ['nothing but Enter', ['\r'], 'ended'],
    ['everything deleted, then Enter', ['1\u007f\r'], 'ended'],
  ])('%s', (_, parts, outcome) => {
    expect(typed(...parts)).toBe(outcome);
  });

  test('no end of typing: the rest is dropped', () => {
    expect(typed('x'.repeat(5000), '\r')).toBe(`done: ${'x'.repeat(1024)}`);
  });

  test('what was typed can be wiped by whoever gets it', () => {
    const typed = makeLineEditor().feed(bytes('1234\r'));
    expect(typed).toMatchObject({ state: 'done', secret: expect.any(Secret) });
  });

  test('after wiping nothing is left', () => {
    const editor = makeLineEditor();
    editor.feed(bytes('secret'));
    editor.wipe();
    expect(editor.feed(bytes('\r'))).toEqual({ state: 'ended' });
  });

  test.each<[request: SecretRequest, text: string]>([
    [{ kind: 'PIN', of: 'token "prod"' }, 'holdfast: note: PIN of token "prod": '],
    [
      { kind: 'PIN', of: 'token "prod"', purpose: 'sign in as role deploy', triesLeft: 1 },
      'holdfast: note: PIN of token "prod", to sign in as role deploy (1 try left): ',
    ],
    [
      { kind: 'passphrase', of: 'key file a\u001b[2J', triesLeft: 2 },
      'holdfast: note: passphrase of key file a [2J (2 tries left): ',
    ],
  ])('the prompt for %j', (request, text) => {
    expect(promptText(request)).toBe(text);
  });
});

test.each([
  ['certficate', 'certificate'],
  ['Certificate', 'certificate'],
  ['privat-key', 'private-key'],
  ['roles-arn', 'role-arn'],
  ['xyz', undefined],
])('the nearest name to %s', (word, name) => {
  expect(nearest(word, ['certificate', 'private-key', 'role-arn', 'profile-arn'])).toBe(name);
});
