import { execFileSync } from 'node:child_process';
import { constants, openSync } from 'node:fs';
import { chmod, mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { HoldfastError } from '../../src/errors.ts';
import { type PinSourceOptions, secretOf } from '../../src/pin-source.ts';
import { askSecret, type SecretFunction, type SecretRequest, withSecret } from '../../src/secret.ts';
import { formatKeyUri, parseKeyUri } from '../../src/uri.ts';
import { everythingOf, rejectionOf, thrownBy } from '../helpers/thrown.ts';

const PIN = 'S3cr3t-ä';
const request: SecretRequest = { kind: 'PIN', of: 'token "prod"' };

const uriOf = (source: string, scheme = 'pkcs11'): ReturnType<typeof parseKeyUri> =>
  parseKeyUri(formatKeyUri({ scheme, path: [], query: [['pin-source', source]] }));
const from = (source: string, options: PinSourceOptions = {}): SecretFunction =>
  secretOf(uriOf(source), options) as SecretFunction;
const read = (source: string, options: PinSourceOptions = {}): Promise<string> =>
  withSecret(from(source, options), request, (secret) => secret.reveal());

let folder: string;
const path = (name: string): string => join(folder, name);
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-pin-source-'));
  await writeFile(path('pin'), `${PIN}\n`);
});
afterAll(() => rm(folder, { recursive: true }));

describe('where a secret is from is told before it is read', () => {
  test.each<[source: string, kind: string, name: string]>([
    ['/run/pin', 'file', '/run/pin'],
    ['file:/run/my%20pin', 'file', '/run/my pin'],
    ['file:///run/pin', 'file', '/run/pin'],
    ['env:HOLDFAST_TEST_PIN', 'variable', 'HOLDFAST_TEST_PIN'],
    ['fd:7', 'descriptor', '7'],
    ['credential:pin', 'credential', 'pin'],
    ['|/bin/echo 1234', 'command', ''],
  ])('%s', (source, kind, name) => {
    const { origin } = from(source, { allowCommands: true });
    expect(origin).toEqual({ kind, name: kind === 'command' ? expect.stringMatching(/^[0-9a-f]{64}$/) : name });
  });

  test('a value has no name; another command has another', () => {
    expect(secretOf(parseKeyUri('pkcs11:?pin-value=1'), {})?.origin).toEqual({ kind: 'value', name: '' });
    const hash = (text: string): unknown => from(text, { allowCommands: true }).origin?.name;
    expect(hash('|/bin/echo 1')).not.toBe(hash('|/bin/echo 2'));
    expect(hash('|/bin/echo 1')).toBe(hash('|/bin/echo 1'));
    expect(secretOf(parseKeyUri('pkcs11:'), {})).toBeUndefined();
  });

  test('a credential is named with its directory', () => {
    process.env.CREDENTIALS_DIRECTORY = folder;
    expect(from('credential:pin').origin?.name).toBe(path('pin'));
    delete process.env.CREDENTIALS_DIRECTORY;
  });

  test.each([
    PIN,
    '',
    'pin',
    './pin',
    'file:pin',
    'env:',
    'env:A-B',
    'env:1A',
    'fd:',
    'fd:1',
    'fd:2',
    'fd:03',
    'fd:-1',
    'credential:',
    'credential:a/b',
    'credential:..',
    'credential:.',
    '|',
    '|echo 1',
    '| echo 1',
    'http://vault/pin',
  ])('%j is none', async (source) => {
    const error = thrownBy(() => from(source, { allowCommands: true }));
    expect(error).toMatchObject({ code: 'ERR_URI_INVALID', hint: expect.stringMatching(/pin-source=/) });
    expect(everythingOf(error)).not.toContain(PIN);
  });
});

describe('env:NAME', () => {
  const name = 'HOLDFAST_TEST_PIN';
  afterEach(() => {
    delete process.env[name];
  });

  test('is removed when it is read, not before, and read again from memory: also by another key', async () => {
    process.env[name] = PIN;
    const source = from(`env:${name}`);
    expect(process.env[name]).toBe(PIN);
    expect(await withSecret(source, request, (secret) => secret.reveal())).toBe(PIN);
    expect(name in process.env).toBe(false);
    expect(await withSecret(source, request, (secret) => secret.reveal())).toBe(PIN);
    expect(await read(`env:${name}`)).toBe(PIN);
  });

  test('set anew, it counts anew', async () => {
    process.env[name] = 'one';
    await read(`env:${name}`);
    process.env[name] = 'two';
    expect([await read(`env:${name}`), name in process.env, await read(`env:${name}`)]).toEqual(['two', false, 'two']);
  });

  test('is taken as it is', async () => {
    process.env[name] = ' 12 \n';
    expect(await read(`env:${name}`)).toBe(' 12 \n');
  });

  test('not set', async () => {
    const error = await rejectionOf(read('env:HOLDFAST_TEST_NO_PIN'));
    expect(error).toMatchObject({ code: 'ERR_SECRET_UNREADABLE', hint: expect.stringMatching(/export/) });
    expect(error.message).toContain('HOLDFAST_TEST_NO_PIN');
  });
});

describe('fd:N', () => {
  test('a file, from its beginning, as it is now', async () => {
    const file = await open(path('pin'), 'r+');
    try {
      expect([await read(`fd:${file.fd}`), await read(`fd:${file.fd}`)]).toEqual([PIN, PIN]);
      await writeFile(path('pin'), 'other');
      expect(await read(`fd:${file.fd}`)).toBe('other');
    } finally {
      await writeFile(path('pin'), `${PIN}\n`);
      await file.close();
    }
  });

  test('a pipe, once: then from memory, for whoever names it', async () => {
    execFileSync('mkfifo', [path('fifo')]);
    const fd = openSync(path('fifo'), constants.O_RDONLY | constants.O_NONBLOCK);
    await writeFile(path('fifo'), `${PIN}\r\n`);
    expect(await Promise.all([read(`fd:${fd}`), read(`fd:${fd}`)])).toEqual([PIN, PIN]);
    expect(await read(`fd:${fd}`)).toBe(PIN);
  });

  test('that is not open', async () => {
    const error = await rejectionOf(read('fd:987654'));
    expect(error).toMatchObject({ code: 'ERR_SECRET_UNREADABLE', hint: expect.stringMatching(/3<FILE/) });
  });
});

describe('credential:NAME', () => {
  afterEach(() => {
    delete process.env.CREDENTIALS_DIRECTORY;
  });

  test('is read again each time', async () => {
    process.env.CREDENTIALS_DIRECTORY = folder;
    await writeFile(path('unit-pin'), `${PIN}\n`);
    expect(await read('credential:unit-pin')).toBe(PIN);
    await writeFile(path('unit-pin'), 'new');
    expect(await read('credential:unit-pin')).toBe('new');
  });

  test.each([
    ['no directory', undefined, /CREDENTIALS_DIRECTORY is not set/],
    ['no such credential', '/nowhere', /there is no credential/],
  ])('%s', async (_, directory, message) => {
    if (directory !== undefined) process.env.CREDENTIALS_DIRECTORY = directory;
    const error = await rejectionOf(read('credential:pin'));
    expect(error).toMatchObject({ code: 'ERR_SECRET_UNREADABLE', hint: expect.stringMatching(/LoadCredential=pin:/) });
    expect(error.message).toMatch(message);
  });
});

describe('|command', () => {
  const allowed: PinSourceOptions = { allowCommands: true };
  const script = async (name: string, ...lines: string[]): Promise<string> => {
    await writeFile(path(name), `#!/bin/sh\n${lines.join('\n')}\n`);
    await chmod(path(name), 0o700);
    return path(name);
  };
  const failure = async (source: string, options = allowed): Promise<HoldfastError> => {
    const error = await rejectionOf(read(source, options));
    expect(error).toMatchObject({ code: 'ERR_SECRET_UNREADABLE', hint: expect.any(String) });
    return error;
  };

  test('only where it was allowed, for keys in files too', () => {
    for (const scheme of ['pkcs11', 'file']) {
      const text = scheme === 'file' ? 'file:/k?pin-source=|/bin/echo' : 'pkcs11:?pin-source=|/bin/echo';
      expect(thrownBy(() => secretOf(parseKeyUri(text), {}))).toMatchObject({
        code: 'ERR_URI_INVALID',
        hint: expect.stringMatching(/--allow-pin-command.*allowCommands/),
      });
      expect(secretOf(parseKeyUri(text), allowed)).toBeInstanceOf(Function);
    }
  });

  test.each([
    ['its only line', `printf '%s' '${PIN}'`],
    ['its first line', `echo '${PIN}'; echo more`],
    ['with a carriage return', `printf '%s\\r\\n' '${PIN}'`],
    ['whatever it says on stderr', `echo noise >&2; echo '${PIN}'`],
    ['when it waits for its input to end', `cat; echo '${PIN}'`],
  ])('%s', async (_, line) => {
    expect(await read(`|${await script('ok', line)}`, allowed)).toBe(PIN);
  });

  test('is run again each time, and gets its words as they are', async () => {
    const program = await script('words', `echo "$#:$1:$2:$3" ; echo x >> '${path('runs')}'`);
    const source = `| ${program}  $HOME ;  'a`;
    expect([await read(source, allowed), await read(source, allowed)]).toEqual(["3:$HOME:;:'a", "3:$HOME:;:'a"]);
    expect(String(await read(`|/bin/cat ${path('runs')}`, allowed))).toBe('x');
  });

  test('that fails: how, and in the cause what it said; nothing of its output', async () => {
    const error = await failure(`|${await script('bad', `echo '${PIN}'`, 'echo "no vault" >&2', 'exit 3')} arg-${PIN}`);
    expect(error.message).toMatch(/bad, which should give the secret, failed \(exit status 3\)/);
    expect((error.cause as Error).message).toBe('exit status 3: no vault');
    expect(everythingOf(error)).not.toContain(PIN);
  });

  test.each<[why: string, lines: string[], message: RegExp]>([
    ['nothing', ['true'], /printed nothing/],
    ['an empty line', ['echo; echo 1234'], /printed nothing/],
    ['too much', [`head -c 5000 /dev/zero`], /more than 4096 bytes/],
    ['a signal', ['kill -9 $$'], /SIGKILL/],
  ])('that gives %s', async (_, lines, message) => {
    expect((await failure(`|${await script('odd', ...lines)}`)).message).toMatch(message);
  });

  test('that is not there', async () => {
    expect((await failure('|/nowhere/pin')).message).toMatch(/\/nowhere\/pin.*ENOENT/);
  });

  test('ends with the deadline, and with the signal', async () => {
    const program = await script('slow', 'exec sleep 60');
    const late = await rejectionOf(read(`|${program}`, { ...allowed, deadline: 50 }));
    expect(late.code).toBe('ERR_SIGNING_TIMEOUT');
    const controller = new AbortController();
    const reading = rejectionOf(read(`|${program}`, { ...allowed, signal: controller.signal }));
    controller.abort();
    expect((await reading).code).toBe('ERR_INTERRUPTED');
  });
});

test('the secret that was read is a copy: wiping it leaves the next one whole', async () => {
  process.env.HOLDFAST_TEST_COPY = PIN;
  const source = from('env:HOLDFAST_TEST_COPY');
  (await askSecret(source, request)).wipe();
  expect((await askSecret(source, request)).reveal()).toBe(PIN);
});
