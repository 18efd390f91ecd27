import { execFileSync } from 'node:child_process';
import { closeSync, constants, openSync } from 'node:fs';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { HoldfastError } from '../../src/errors.ts';
import { type PinSourceOptions, secretOf } from '../../src/pin-source.ts';
import { type SecretRequest, withSecret } from '../../src/secret.ts';
import { formatKeyUri, parseKeyUri } from '../../src/uri.ts';
import { everythingOf, rejectionOf } from '../helpers/thrown.ts';

const PIN = 'S3cr3t-ä';
const request: SecretRequest = { kind: 'PIN', of: 'token "prod"' };
const read = (source: string, options: PinSourceOptions = {}): Promise<string> => {
  const uri = parseKeyUri(formatKeyUri({ scheme: 'pkcs11', path: [], query: [['pin-source', source]] }));
  return withSecret(secretOf(uri, options), request, (secret) => secret.reveal());
};

let folder: string;
const path = (name: string): string => join(folder, name);
function fifo(name: string): string {
  execFileSync('mkfifo', [path(name)]);
  return path(name);
}
/** Numbers of descriptors: what came of a pipe is kept under its number, so none is used a second time. */
const used = new Set<number>();
const spare: number[] = [];
/** The writer comes later, and is no descriptor of ours: such a one belongs to Node. */
function readingEnd(name: string): number {
  fifo(name);
  for (;;) {
    const fd = openSync(path(name), constants.O_RDONLY | constants.O_NONBLOCK);
    if (!used.has(fd)) {
      used.add(fd);
      return fd;
    }
    closeSync(fd);
    spare.push(openSync('/dev/null', 'r'));
  }
}
/** Whether it is closed again, which takes a moment. */
async function expectNoReader(name: string): Promise<void> {
  const look = (): unknown => {
    try {
      closeSync(openSync(name, constants.O_WRONLY | constants.O_NONBLOCK));
      return 'somebody reads';
    } catch (error) {
      return (error as NodeJS.ErrnoException).code;
    }
  };
  for (let i = 0; i < 200 && look() !== 'ENXIO'; i += 1) await new Promise((resolve) => setTimeout(resolve, 5));
  expect(look()).toBe('ENXIO');
}
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-pin-waits-'));
});
afterAll(async () => {
  for (const fd of spare) closeSync(fd);
  await rm(folder, { recursive: true });
});

describe('a pipe that two keys wait for', () => {
  test.each<[string, (stop: AbortController) => PinSourceOptions, string]>([
    ['the first one is aborted', (stop) => ({ signal: stop.signal }), 'ERR_INTERRUPTED'],
    ['the deadline of the first one passes', () => ({ deadline: 20 }), 'ERR_SIGNING_TIMEOUT'],
  ])('%s: the other gets it', async (name, options, code) => {
    const reader = readingEnd(name);
    const stop = new AbortController();
    const first = rejectionOf(read(`fd:${reader}`, options(stop)));
    const second = read(`fd:${reader}`);
    await settle();
    stop.abort();
    expect((await first).code).toBe(code);
    await writeFile(path(name), `${PIN}\n`);
    expect([await second, await read(`fd:${reader}`)]).toEqual([PIN, PIN]);
  });

  test('who comes second has its own deadline', async () => {
    const reader = readingEnd('second');
    const first = read(`fd:${reader}`);
    expect((await rejectionOf(read(`fd:${reader}`, { deadline: 20 }))).code).toBe('ERR_SIGNING_TIMEOUT');
    await writeFile(path('second'), PIN);
    expect(await first).toBe(PIN);
  });

  test('nobody waits any more: it is closed', async () => {
    const reader = readingEnd('nobody');
    const stop = new AbortController();
    const readings = [1, 2].map(() => rejectionOf(read(`fd:${reader}`, { signal: stop.signal })));
    await settle();
    stop.abort();
    expect((await Promise.all(readings)).map(({ code }) => code)).toEqual(['ERR_INTERRUPTED', 'ERR_INTERRUPTED']);
    await expectNoReader(path('nobody'));
  });
});

describe('a FIFO by its name', () => {
  test.each([
    ['file:', (name: string) => `file:${name}`],
    ['/path', (name: string) => name],
    ['credential:', (name: string) => `credential:${name.slice(name.lastIndexOf('/') + 1)}`],
  ])('%s: what is written into it', async (kind, source) => {
    process.env.CREDENTIALS_DIRECTORY = folder;
    const name = fifo(`written-${kind.replaceAll(/\W/g, '')}`);
    const reading = read(source(name));
    await writeFile(name, `${PIN}\n`);
    expect(await reading).toBe(PIN);
    delete process.env.CREDENTIALS_DIRECTORY;
  });

  test.each([
    ['file:', (name: string) => `file:${name}`],
    ['credential:', (name: string) => `credential:${name.slice(name.lastIndexOf('/') + 1)}`],
  ])('%s: nothing is left of the wait once it is over', async (kind, source) => {
    process.env.CREDENTIALS_DIRECTORY = folder;
    const name = fifo(`silent-${kind.replaceAll(/\W/g, '')}`);
    expect((await rejectionOf(read(source(name), { deadline: 30 }))).code).toBe('ERR_SIGNING_TIMEOUT');
    const stop = new AbortController();
    const reading = rejectionOf(read(source(name), { signal: stop.signal }));
    setTimeout(() => stop.abort(), 30);
    expect((await reading).code).toBe('ERR_INTERRUPTED');
    await expectNoReader(name);
    delete process.env.CREDENTIALS_DIRECTORY;
  });
});

describe('|command', () => {
  const allowed: PinSourceOptions = { allowCommands: true };
  const script = async (name: string, ...lines: string[]): Promise<string> => {
    await writeFile(path(name), `#!/bin/sh\n${lines.join('\n')}\n`);
    await chmod(path(name), 0o700);
    return `|${path(name)}`;
  };
  const failure = async (source: string): Promise<HoldfastError> => {
    const error = await rejectionOf(read(source, allowed));
    expect(error).toMatchObject({ code: 'ERR_SECRET_UNREADABLE', hint: expect.any(String) });
    return error;
  };

  test('that says much on stderr', async () => {
    expect(await read(await script('chatty', 'head -c 300000 /dev/zero >&2', `echo '${PIN}'`), allowed)).toBe(PIN);
  });

  test('that leaves somebody behind who holds its output', async () => {
    const source = await script('behind', `sleep 600 & echo $! > '${path('pid')}'`, `printf '%s' '${PIN}'`);
    try {
      expect(await read(source, allowed)).toBe(PIN);
      expect(process.getActiveResourcesInfo()).not.toContain('ProcessWrap');
    } finally {
      execFileSync('sh', ['-c', `kill "$(cat '${path('pid')}')"`]);
    }
  });

  test('that fails after it printed: none of it is used; the hint does not promise what is not shown', async () => {
    const error = await failure(await script('late', `echo '${PIN}'`, 'exit 3'));
    expect(error.message).toContain('(exit status 3)');
    expect(error.hint).toContain('is not shown here');
    expect(everythingOf(error)).not.toContain(PIN);
  });

  test('that never stops printing is stopped', async () => {
    expect((await failure(await script('endless', 'exec cat /dev/zero'))).message).toContain('more than 4096 bytes');
  });

  test('with a NUL in its words', async () => {
    const error = await failure(`|/bin/echo ${PIN}\0`);
    expect(everythingOf(error)).not.toContain(PIN);
  });
});
