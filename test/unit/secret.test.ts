import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { format, inspect } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { HoldfastError, SecretError } from '../../src/errors.ts';
import {
  askPerson,
  askSecret,
  asksPerson,
  checkSecretSource,
  Secret,
  type SecretFunction,
  type SecretRequest,
  type SecretSource,
  type SecretValue,
  secretFromFile,
  withSecret,
} from '../../src/secret.ts';
import { canaries } from '../helpers/canaries.ts';
import { everythingOf, rejectionOf, thrownBy } from '../helpers/thrown.ts';

const PIN = `${canaries.pin}-ä`;
const request: SecretRequest = { kind: 'PIN', of: 'token "prod"' };
const reveal = async (source: SecretSource): Promise<string> => (await askSecret(source, request)).reveal();

describe('Secret', () => {
  test('holds text and bytes', () => {
    expect([...new Secret(PIN).bytes]).toEqual([...Buffer.from(PIN)]);
    expect(new Secret(PIN).reveal()).toBe(PIN);
    expect([...new Secret(Uint8Array.of(0, 255)).bytes]).toEqual([0, 255]);
  });

  test('wiping clears the bytes that were handed out', () => {
    const secret = new Secret(PIN);
    const { bytes } = secret;
    secret.wipe();
    expect([...bytes]).toEqual(Array.from(bytes, () => 0));
    expect([secret.bytes.length, secret.reveal()]).toEqual([0, '']);
    secret.wipe();
  });

  test('is a copy: wiping leaves the caller its own', () => {
    const own = Buffer.from(PIN);
    new Secret(own).wipe();
    expect(own.toString()).toBe(PIN);
  });

  test.each<[string, (secret: Secret) => string]>([
    ['String', String],
    ['JSON', (secret) => JSON.stringify({ secret })],
    ['inspect', (secret) => inspect({ secret }, { depth: 9, showHidden: true, getters: true })],
    ['format %s', (secret) => format('%s', secret)],
    ['format %j', (secret) => format('%j', secret)],
    ['format %o', (secret) => format('%o', secret)],
    ['format %O', (secret) => format('%O', secret)],
    ['its own properties', (secret) => JSON.stringify(Object.entries(secret))],
  ])('%s does not show it', (way, print) => {
    const hex = [...Buffer.from(PIN)].map((byte) => byte.toString(16)).join(' ');
    for (const shown of [PIN, PIN.slice(0, 8), hex.slice(0, 20)]) expect(print(new Secret(PIN))).not.toContain(shown);
    if (way !== 'its own properties') expect(print(new Secret(PIN))).toContain('[secret]');
  });
});

describe('askSecret', () => {
  test.each<[string, SecretSource]>([
    ['text', PIN],
    ['bytes', Buffer.from(PIN)],
    ['a function', () => PIN],
    ['a function of bytes', () => Buffer.from(PIN)],
    ['a promise', async () => PIN],
    ['a promise of bytes', async () => Buffer.from(PIN)],
    ['a secret', () => new Secret(PIN)],
  ])('takes %s', async (_, source) => {
    expect(await reveal(source)).toBe(PIN);
  });

  test('asks when it is called, each time, and says for what', async () => {
    const asked: SecretRequest[] = [];
    const source = (what: SecretRequest): string => `${asked.push(what)}`;
    const full: SecretRequest = { kind: 'passphrase', of: 'key file /k', triesLeft: 2, purpose: 'sign in' };
    expect(asked).toEqual([]);
    expect((await askSecret(source, request)).reveal()).toBe('1');
    expect((await askSecret(source, full)).reveal()).toBe('2');
    expect(asked).toEqual([request, full]);
  });

  test.each<[string, SecretSource | undefined, RegExp]>([
    ['no source', undefined, /give the PIN/],
    ['nobody to ask', () => undefined, /nobody to ask: name its file in the key URI/],
    ['nobody to ask, late', async () => undefined, /nobody to ask.*pin-source=file:/],
  ])('%s', async (_, source, hint) => {
    const error = await rejectionOf(askSecret(source, { ...request, triesLeft: 3 }));
    expect(error).toMatchObject({ name: 'SecretError', code: 'ERR_SECRET_REQUIRED', triesLeft: 3 });
    expect(error.message).toBe('token "prod" needs its PIN, and none was given');
    expect(error.hint).toMatch(hint);
  });

  test.each<[string, unknown]>([
    ['a number', 837465],
    ['a function that returns a number', () => 837465],
    ['a promise of a number', async () => 837465],
    ['a function that returns an object', () => ({ pin: '837465' })],
    ['an object', { pin: '837465' }],
    ['an array', ['837465']],
    ['a function that returns null', () => null],
  ])('%s is no secret, and is not repeated', async (_, source) => {
    const error = await rejectionOf(askSecret(source as SecretSource, request));
    expect(error).toMatchObject({ code: 'ERR_OPTION_INVALID', hint: expect.any(String) });
    expect(everythingOf(error)).not.toContain('837465');
  });

  test('only askPerson says that a person is asked, and passes the question on', async () => {
    const source = askPerson(({ of }) => `from ${of}`);
    expect(await reveal(source)).toBe('from token "prod"');
    expect([source, PIN, () => PIN, secretFromFile('/pin'), undefined].map(asksPerson)).toEqual([
      true,
      false,
      false,
      false,
      false,
    ]);
  });

  test.each<[how: string, source: (thrown: Error) => SecretFunction]>([
    [
      'throws',
      (thrown) => () => {
        throw thrown;
      },
    ],
    ['rejects', (thrown) => () => Promise.reject(thrown)],
  ])('a source that %s is one that cannot be read; what it threw is the cause', async (_, source) => {
    const thrown = new TypeError('no such vault');
    const error = await rejectionOf(askSecret(source(thrown), request));
    expect(error).toBeInstanceOf(SecretError);
    expect(error).toMatchObject({ code: 'ERR_SECRET_UNREADABLE', cause: thrown, triesLeft: request.triesLeft });
    expect(error.message).toBe(`the function that gives the ${request.kind} of ${request.of} failed`);
  });

  test.each([
    new HoldfastError('ERR_INTERRUPTED', 'interrupted'),
    new SecretError('ERR_SECRET_REQUIRED', 'nobody there'),
    new DOMException('stop', 'AbortError'),
  ])('an error of ours and an abort come through: %p', async (thrown) => {
    await expect(askSecret(() => Promise.reject(thrown), request)).rejects.toBe(thrown);
  });
});

describe('withSecret', () => {
  test('wipes when it is done, and not before', async () => {
    let bytes: Uint8Array = new Uint8Array();
    const result = await withSecret(PIN, request, async (secret) => {
      bytes = secret.bytes;
      await new Promise(setImmediate);
      return secret.reveal();
    });
    expect(result).toBe(PIN);
    expect([...bytes]).toEqual(Array.from(bytes, () => 0));
  });

  test('wipes when the use of it fails', async () => {
    let bytes: Uint8Array = new Uint8Array();
    const failing = withSecret(PIN, request, (secret) => {
      bytes = secret.bytes;
      throw new Error('refused');
    });
    await expect(failing).rejects.toThrow('refused');
    expect(bytes).toHaveLength(Buffer.byteLength(PIN));
    expect([...bytes]).toEqual(Array.from(bytes, () => 0));
  });
});

describe('secretFromFile', () => {
  let folder: string;
  const file = async (content: string | Uint8Array, name = 'pin'): Promise<string> => {
    await writeFile(join(folder, name), content);
    return join(folder, name);
  };
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'holdfast-secret-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  test.each([
    ['1234', '1234'],
    ['1234\n', '1234'],
    ['1234\r\n', '1234'],
    ['1234\n\n', '1234\n'],
    ['1234\r', '1234\r'],
    [' 12 34 \n', ' 12 34 '],
    ['\n', ''],
    ['', ''],
    ['S3cr3t-ä', 'S3cr3t-ä'],
    ['x'.repeat(4096), 'x'.repeat(4096)],
  ])('%j', async (content, secret) => {
    expect(await reveal(secretFromFile(await file(content)))).toBe(secret);
  });

  test('bytes that are no text', async () => {
    const secret = await askSecret(secretFromFile(await file(Uint8Array.of(0, 255, 10))), request);
    expect([...secret.bytes]).toEqual([0, 255]);
  });

  const uriPath = (path: string): string => path.replace('%', '%25').replaceAll(' ', '%20');
  test.each([
    ['a path', (path: string) => path],
    ['file:', (path: string) => `file:${uriPath(path)}`],
    ['file://', (path: string) => `file://${uriPath(path)}`],
    ['file://localhost', (path: string) => `file://localhost${uriPath(path)}`],
    ['FILE:', (path: string) => `FILE:${uriPath(path)}`],
  ])('by %s', async (_, write) => {
    expect(await reveal(secretFromFile(write(await file('1234', 'my pin %n'))))).toBe('1234');
  });

  test('is read when asked, and again when asked again', async () => {
    const path = join(folder, 'late');
    const source = secretFromFile(path);
    await file('1', 'late');
    expect(await reveal(source)).toBe('1');
    await file('2', 'late');
    expect(await reveal(source)).toBe('2');
  });

  test('leaves nothing to wipe but the secret itself', async () => {
    const source = secretFromFile(await file(PIN)) as () => Promise<SecretValue>;
    expect(await source()).toBeInstanceOf(Secret);
  });

  test.each([
    ['missing', async () => join(folder, 'none'), /there is no secret file .*none \(ENOENT\)/],
    ['a directory', async () => folder, /is a directory/],
    ['too large', () => file('x'.repeat(4097)), /larger than 4096 bytes/],
    ['endless', async () => '/dev/zero', /larger than 4096 bytes/],
  ])('%s', async (_, path, message) => {
    const error = await rejectionOf(askSecret(secretFromFile(await path()), request));
    expect(error).toMatchObject({ name: 'SecretError', code: 'ERR_SECRET_UNREADABLE', hint: expect.any(String) });
    expect(error.message).toMatch(message);
    expect(error.cause).toBeDefined();
  });

  // Whoever gives the secret where its file belongs does not read it in the error.
  test.each(['S3cr3t', 'S3cr3t:7', 'pass:S3cr3t', 'file:S3cr3t', './S3cr3t', 'file:/S3cr3t%', 'env:S3cr3t', ''])(
    'is no source: %j',
    async (source) => {
      const error = await rejectionOf(askSecret(secretFromFile(source), request));
      expect(error).toMatchObject({ code: 'ERR_SECRET_UNREADABLE', hint: expect.stringContaining('file:/') });
      expect(everythingOf(error)).not.toContain('S3cr3t');
    },
  );
});

test('checkSecretSource takes what is a source, and nothing else', () => {
  for (const source of [undefined, '', PIN, Buffer.from(PIN), () => PIN]) checkSecretSource(source);
  for (const source of [null, 1234, {}, [PIN], true]) {
    expect(thrownBy(() => checkSecretSource(source))).toMatchObject({ code: 'ERR_OPTION_INVALID' });
  }
});
