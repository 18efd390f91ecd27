import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { inspect } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { canariesIn, makeCanaries, searchFolder, spellingsOf } from '../../scripts/canaries.mjs';
import { canaries as ofThisRun } from '../helpers/canaries.ts';
import { describeUnless } from '../helpers/exercised.ts';

const program = fileURLToPath(new URL('../../scripts/canaries.mjs', import.meta.url));
// Not those of this run: what is leaked here is leaked on purpose.
const canaries = makeCanaries();
const names = Object.keys(canaries) as (keyof typeof canaries)[];
const known = spellingsOf(canaries);

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'holdfast-canaries-test-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const folder = (name: string): string => {
  mkdirSync(join(dir, name));
  return join(dir, name);
};

test('without .ci/run the tests have secrets of their own, with it those of its file', () => {
  const file = process.env.HOLDFAST_TEST_CANARIES;
  expect(Object.keys(ofThisRun)).toEqual(names);
  if (file) expect(ofThisRun.pin === (JSON.parse(readFileSync(file, 'utf8')) as { pin: string }).pin).toBe(true);
});

describe('a canary is found', () => {
  const utf8 = (text: string): Buffer => Buffer.from(text);
  test.each<[string, (text: string) => string | Buffer]>([
    ['as it is', (text) => text],
    ['cut short', (text) => text.slice(0, 13)],
    ['without its beginning', (text) => text.slice(-13)],
    ['in a URL', (text) => `https://example.com/?pin-value=${encodeURIComponent(text)}&a=b`],
    ['in a form', (text) => new URLSearchParams({ a: text }).toString()],
    ['percent-encoded throughout', (text) => utf8(text).toString('hex').toUpperCase().replace(/../g, '%$&')],
    ['in JSON', (text) => JSON.stringify({ a: text })],
    ['in JSON in JSON', (text) => JSON.stringify(JSON.stringify({ a: text }))],
    ['in what inspect prints', (text) => inspect({ a: [text] })],
    ['as a Buffer that inspect prints', (text) => inspect(utf8(text))],
    ['as a Buffer in JSON', (text) => JSON.stringify(utf8(text))],
    ['as a Uint8Array in JSON', (text) => JSON.stringify(new Uint8Array(utf8(text)))],
    ['as a Uint8Array that inspect prints', (text) => inspect(new Uint8Array(utf8(text)), { maxArrayLength: null })],
    ['in hex', (text) => utf8(text).toString('hex')],
    ['in capital hex', (text) => utf8(text).toString('hex').toUpperCase()],
    ['in base64', (text) => utf8(text).toString('base64')],
    ['in base64, behind one octet', (text) => utf8(`:${text}:`).toString('base64')],
    ['in base64, behind two octets', (text) => utf8(`::${text}:`).toString('base64')],
    ['in base64url', (text) => utf8(`user:${text}`).toString('base64url')],
    ['in base64 over several lines', (text) => utf8(text.repeat(9)).toString('base64').replace(/.{10}/g, '$&\r\n')],
    ['in hex by columns', (text) => utf8(text).toString('hex').replace(/..../g, '$& ')],
    ['in UTF-16', (text) => Buffer.from(text, 'utf16le')],
    ['in UTF-16, the other way round', (text) => Buffer.from(text, 'utf16le').swap16()],
    ['in an environment', (text) => `A=b\0PIN=${text}\0C=d\0`],
  ])('%s, and no other one is', (_, write) => {
    for (const name of names) {
      const bytes = Buffer.concat([utf8('before '), Buffer.from(write(canaries[name]) as string), utf8(' after')]);
      expect(canariesIn(bytes, known)).toMatchObject([{ canary: name, spelling: expect.any(String) }]);
      expect(canariesIn(bytes, spellingsOf(makeCanaries()))).toEqual([]);
    }
  });

  test('not by chance: a piece of twelve characters is of 48 bits', () => {
    for (const { bytes, spelling } of known) {
      expect([spelling, bytes.length >= 12]).toEqual([spelling, true]);
    }
  });
});

describe('a folder', () => {
  test('is searched by content, by name and by where its links lead, and no value is told', () => {
    const place = folder('found');
    mkdirSync(join(place, 'deep'));
    writeFileSync(join(place, 'deep/file'), `x${canaries.pin}`);
    writeFileSync(join(place, `of-${canaries.secretKey.slice(-16)}`), 'innocent');
    symlinkSync(`/run/${canaries.sessionToken}`, join(place, 'link'));
    const { files, hits } = searchFolder(place, known);
    expect(files).toBe(3);
    expect(hits.sort()).toEqual([
      `${place}/deep/file: pin, plain, at byte 1`,
      `${place}/link: sessionToken, plain, at byte 5`,
      `${place}: secretKey, in a name`,
    ]);
  });

  test('passes over what is older than the canaries, over their own file, and over what is no file', () => {
    const place = folder('passed');
    writeFileSync(join(place, 'file'), canaries.pin);
    execFileSync('mkfifo', [join(place, 'fifo')]);
    expect(searchFolder(place, known, { since: Date.now() + 10_000 })).toEqual({ files: 0, hits: [] });
    expect(searchFolder(place, known, { except: join(place, 'file') })).toEqual({ files: 0, hits: [] });
    expect(searchFolder(place, known).hits).toHaveLength(1);
  });

  test('one that is not there has nothing', () => {
    expect(searchFolder(join(dir, 'none'), known)).toEqual({ files: 0, hits: [] });
  });
});

const describeLinux = await describeUnless('linux');

describeLinux('what runs (/proc)', () => {
  const started: ChildProcess[] = [];
  afterAll(() => {
    for (const { pid } of started) if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  });

  /** A process group that waits, with a name that it is started under. */
  const waiting = (argv0: string, args: readonly string[], env: NodeJS.ProcessEnv = {}, script = 'read line'): void => {
    started.push(
      spawn('sh', ['-c', script, ...args], {
        argv0,
        detached: true,
        stdio: ['pipe', 'ignore', 'ignore'],
        env: { PATH: process.env.PATH, ...env },
      }),
    );
  };

  test('is looked at as long as it runs, its orphans too; only a PIN is excused, in argv, for two programs', async () => {
    const [file, report] = [join(dir, 'canaries.json'), join(dir, 'report')];
    writeFileSync(file, JSON.stringify(canaries));
    const token = join(dir, 'token');
    writeFileSync(token, canaries.sessionToken);
    waiting('pkcs11-tool', ['--pin', canaries.pin]);
    waiting('/usr/bin/softhsm2-util', [`--pin=${canaries.pin}`]);
    waiting('other-tool', ['--pin', canaries.pin]);
    waiting('pkcs11-tool', ['--pin', canaries.passphrase]);
    waiting('softhsm2-util', [], { PIN: canaries.pin });
    // Its parent ends at once: it is nobody's child any more.
    waiting('parent', [], {}, `(sh -c 'sleep 60; :' orphan "$(cat ${token})" &); sleep 60`);

    const sampler = spawn(process.execPath, [program, 'sample', file, String(process.pid), report]);
    const ended = once(sampler, 'exit');
    const lines = (): string[] => {
      try {
        return readFileSync(report, 'utf8').split('\n').filter(Boolean);
      } catch {
        return [];
      }
    };
    for (let tries = 0; lines().length < 6 && tries < 200; tries += 1) await sleep(50);
    // The report is not written again for what was said already.
    await sleep(200);
    sampler.kill('SIGTERM');
    await ended;
    const seen = lines().map((line) => JSON.parse(line) as Record<string, unknown>);
    expect((seen.pop() as { looked: number }).looked).toBeGreaterThanOrEqual(started.length);
    const told = seen.map(({ place, program: name, canary, isExcused }) =>
      [place, name, canary, isExcused ? 'excused' : 'leak'].join(' '),
    );
    expect(told.sort()).toEqual([
      'argv other-tool pin leak',
      'argv pkcs11-tool passphrase leak',
      'argv pkcs11-tool pin excused',
      'argv sh sessionToken leak',
      'argv softhsm2-util pin excused',
      'environment softhsm2-util pin leak',
    ]);
  }, 60_000);

  test('a sampler that did not come to its end is a failure, and so is one that saw nothing', () => {
    const [file, report, place] = [join(dir, 'own.json'), join(dir, 'broken'), folder('empty')];
    const run = (...args: string[]) => spawnSync(process.execPath, [program, ...args], { encoding: 'utf8' });
    expect(run('make', file).status).toBe(0);
    expect(run('make', file).status).toBe(1);
    for (const [text, what] of [
      ['', 'the sampler did not come to its end'],
      ['{"looked":7}\n', 'no process was seen that has a canary on purpose'],
    ] as const) {
      writeFileSync(report, text);
      const { status, stdout } = run('search', file, report, place);
      expect([status, stdout]).toEqual([1, expect.stringContaining(`FAILED ${what}`)]);
      expect(stdout).toContain('1 passed, 1 failed, 0 skipped');
    }
  });

  test('the control: a leak in a log, a file, a name, argv and an environment is told', () => {
    const { status, stdout } = spawnSync(process.execPath, [program, 'self-test'], { encoding: 'utf8' });
    expect([stdout, status]).toEqual(['9 passed, 0 failed, 0 skipped\n', 0]);
  }, 60_000);
});
