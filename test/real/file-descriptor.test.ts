import { execFileSync, spawn } from 'node:child_process';
import { createPublicKey, verify } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, closeSync, constants, openSync, writeFileSync } from 'node:fs';
import type { Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { describe, expect, jest, test } from '@jest/globals';
import { startLocalRolesAnywhere } from '../../src/local/index.ts';
import { fromRolesAnywhere } from '../../src/provider.ts';
import { openKey } from '../../src/stores/index.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { vend } from '../helpers/canaries.ts';
import { testUnless } from '../helpers/exercised.ts';
import { ecKey, expectSigns, place, rsaKey } from '../helpers/key-files.ts';
import { failure } from '../stores/conformance.ts';

const terminalTest = await testUnless('terminal');
const files = place();
const [ec, rsa] = [ecKey(), rsaKey()];
const pem = ec.export({ type: 'pkcs8', format: 'pem' }) as string;
const program = fileURLToPath(new URL('../helpers/sign-with.mjs', import.meta.url));

/** What the program says; `feed` gets descriptor 3, or standard input. */
async function say(
  args: readonly string[],
  feed: (input: Writable) => void,
  descriptor: 0 | 3 = 0,
): Promise<readonly string[]> {
  const child = spawn(process.execPath, [program, ...args], {
    stdio: descriptor === 3 ? ['ignore', 'pipe', 'inherit', 'pipe'] : ['pipe', 'pipe', 'inherit'],
  });
  const input = child.stdio[descriptor] as Writable;
  input.on('error', () => {}); // it may have closed it
  feed(input);
  let said = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  await once(child, 'close');
  input.destroy();
  return said.trimEnd().split('\n');
}

/** The same of a command in a shell, where `"$@"` is the program with its arguments and `$KEY` a key file. */
async function sayInShell(command: string, ...args: readonly string[]): Promise<readonly string[]> {
  const env = { ...process.env, KEY: await files.write('key.pem', pem) };
  const words = ['-c', command, 'sh', process.execPath, program, ...args];
  return execFileSync('sh', words, { env, stdio: ['ignore', 'pipe', 'inherit'] })
    .toString()
    .trimEnd()
    .split('\n');
}

function expectSigned(lines: readonly string[], count: number): void {
  expect(lines).toHaveLength(count);
  for (const line of lines) {
    expect(line).toMatch(/^signed /);
    const signature = Buffer.from(line.slice('signed '.length), 'base64');
    expect(verify('sha256', Buffer.from('message'), createPublicKey(ec), signature)).toBe(true);
  }
}

describe('a key on standard input', () => {
  test('through a pipe, as often as the same URI is opened', async () => {
    expectSigned(await say(['-', '-', '-'], (input) => input.end(pem)), 3);
  });

  test('in pieces', async () => {
    const lines = await say(['-'], (input) => {
      input.write(pem.slice(0, 50));
      setTimeout(() => input.end(pem.slice(50)), 50);
    });
    expectSigned(lines, 1);
  });

  test('from a file, which is read anew each time', async () => {
    expectSigned(await sayInShell('exec "$@" < "$KEY"', '-', 'fd:0'), 2);
    expectSigned(await sayInShell('cat "$KEY" | "$@"', '-'), 1);
  });

  test('through a pipe, another URI of the same: told that a pipe is read once', async () => {
    const [first, second] = await say(['-', 'fd:0'], (input) => input.end(pem));
    expectSigned([first as string], 1);
    expect(second).toMatch(/^ERR_FILE_(UNREADABLE|NOT_FOUND) /);
  });

  test.each([
    [
      'nothing',
      'exec "$@" < /dev/null',
      /^ERR_FILE_UNREADABLE the key file on standard input would come from a device/,
    ],
    ['an empty pipe', ': | "$@"', /^ERR_FILE_UNREADABLE nothing came for the key file on standard input/],
    ['a directory', 'exec "$@" < /', /^ERR_FILE_UNREADABLE the key file on standard input is a directory/],
    ['too much', 'cat /dev/zero | "$@"', /^ERR_FILE_TOO_LARGE/],
    ['no key', 'echo hello | "$@"', /^ERR_KEY_INVALID the key file on standard input is text without a private key/],
    ['a file of everybody', 'chmod 666 "$KEY"; exec "$@" < "$KEY"', /^ERR_KEY_EXPOSED/],
  ])('%s', async (_, command, answer) => {
    expect((await sayInShell(command, '-'))[0]).toMatch(answer);
  });

  test('a pipe that nobody writes ends with the deadline, and so does the process', async () => {
    const [line] = await say(['--deadline', '100', '-'], () => {});
    expect(line).toMatch(/^ERR_SIGNING_TIMEOUT/);
  });

  terminalTest('a terminal is not waited for', async () => {
    const child = spawn('script', ['-qec', `${process.execPath} ${program} -`, '/dev/null'], { stdio: 'pipe' });
    let screen = '';
    child.stdout.on('data', (chunk: Buffer) => {
      screen += chunk.toString();
    });
    await once(child, 'close');
    expect(screen).toMatch(/ERR_FILE_UNREADABLE the key file on standard input would come from a terminal/);
  });
});

describe('a key on another descriptor', () => {
  test('through a pipe or a socket, as often as the same URI is opened', async () => {
    expectSigned(await say(['fd:3', 'fd:3'], (input) => input.end(pem), 3), 2);
    expectSigned(await sayInShell('cat "$KEY" | "$@" 3<&0', 'fd:3', 'fd:3'), 2);
  });

  test('from a file', async () => {
    expectSigned(await sayInShell('exec "$@" 3< "$KEY"', 'fd:3', 'fd:3'), 2);
  });

  test('that is not open', async () => {
    const [missing] = await sayInShell('exec "$@"', 'fd:999');
    expect(missing).toMatch(/^ERR_FILE_NOT_FOUND there is no key file on descriptor 999 \(EBADF\)/);
  });

  // Node's own pipes wake its event loop: what reads one takes its bytes away, or ends the process.
  test.each(Array.from({ length: 18 }, (_, index) => index + 3))(
    "%i, which is one of Node itself or nobody's",
    async (fd) => {
      // One above 9 may have come from whoever runs this.
      const [line] = await sayInShell('exec "$@"', '--deadline', '500', `fd:${fd}`);
      expect(line).toMatch(fd < 10 ? /^ERR_FILE_(UNREADABLE|NOT_FOUND) / : /^ERR_/);
    },
  );
});

describe('in one process', () => {
  /** The reading end of a FIFO into which another process writes a key. */
  const fifo = (name: string): number => {
    const path = files.path(name);
    execFileSync('mkfifo', [path]);
    chmodSync(path, 0o600);
    return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  };
  const feed = (name: string, text: string): void => {
    const writer = spawn('sh', ['-c', 'exec cat > "$1"', 'sh', files.path(name)], {
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    writer.stdin.end(text);
  };

  test('a file may change between two readings', async () => {
    const fd = openSync(await files.write('changing.pem', pem), 'r+');
    const uri = parseKeyUri(`fd:${fd}`);
    await expectSigns(openKey(uri), ec);
    writeFileSync(files.path('changing.pem'), rsa.export({ type: 'pkcs8', format: 'pem' }));
    await expectSigns(openKey(uri), rsa);
    closeSync(fd);
  });

  test('opened several times at once, a pipe is read once', async () => {
    const uri = parseKeyUri(`fd:${fifo('parallel')}`);
    const opening = [openKey(uri), openKey(uri), openKey(uri)];
    feed('parallel', pem);
    for (const opened of opening) await expectSigns(opened, ec);
  });

  test('a provider refreshes with what came out of pipes', async () => {
    const service = await startLocalRolesAnywhere({ vend });
    try {
      const publicKey = createPublicKey(ec).export({ type: 'spki', format: 'der' });
      const { certificate } = await service.issue({ publicKey });
      const { endpoint, trustAnchorArn, profileArn, roleArn } = service;
      const [key, beside] = [`fd:${fifo('key')}`, `fd:${fifo('certificate')}`];
      feed('key', pem);
      feed(
        'certificate',
        `-----BEGIN CERTIFICATE-----\n${Buffer.from(certificate).toString('base64')}\n-----END CERTIFICATE-----\n`,
      );
      const init = { key, certificate: beside, endpoint, trustAnchorArn, profileArn, roleArn };
      const provider = fromRolesAnywhere(init);
      const first = await provider();
      const second = await provider({ forceRefresh: true });
      expect(second.accessKeyId).not.toBe(first.accessKeyId);
      await provider.close();
    } finally {
      await service.close();
    }
  });

  test('a pipe that stays open and silent is waited for a minute', async () => {
    jest.useFakeTimers({ doNotFake: ['nextTick', 'setImmediate', 'queueMicrotask', 'performance', 'Date'] });
    try {
      const patient = failure(openKey(`fd:${fifo('longer')}`, { deadline: 3_600_000 }));
      const error = failure(openKey(`fd:${fifo('silent')}`));
      await jest.advanceTimersByTimeAsync(59_000);
      const early = await Promise.race([error, Promise.resolve('waits')]);
      expect(early).toBe('waits');
      // The descriptor is looked at by other threads: the timer may not be there yet.
      for (let tries = 0; tries < 100 && jest.getTimerCount() > 1; tries += 1) {
        await jest.advanceTimersByTimeAsync(1000);
      }
      expect((await error).code).toBe('ERR_SIGNING_TIMEOUT');
      // Who sets a deadline has it.
      expect(await Promise.race([patient, Promise.resolve('waits')])).toBe('waits');
      await jest.advanceTimersByTimeAsync(3_600_000);
      expect((await patient).code).toBe('ERR_SIGNING_TIMEOUT');
    } finally {
      jest.useRealTimers();
    }
  });
});
