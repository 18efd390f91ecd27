import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { HoldfastError } from '../../src/errors.ts';
import { replaceFile } from '../../src/serve/replace-file.ts';
import { takeTurn } from '../../src/turn.ts';
import { testUnless } from '../helpers/exercised.ts';
import { killWriters, startWriter } from '../helpers/killed-writers.mjs';
import { rejectionOf } from '../helpers/thrown.ts';

const mountTest = await testUnless('full-disk');

const { signal } = new AbortController();
const add = (text: string) => (old: Buffer) => Buffer.concat([old, Buffer.from(text)]);
const append = (path: string): Promise<number> => replaceFile(path, add('new\n'), { signal });

let place: string;
let file: string;

beforeEach(() => {
  place = mkdtempSync(join(tmpdir(), 'holdfast-among-'));
  file = join(place, 'credentials');
});

afterEach(() => rmSync(place, { recursive: true, force: true }));

describe('among others', () => {
  test('a change that fails leaves all as it was', async () => {
    writeFileSync(file, 'old\n');
    const failing = replaceFile(
      file,
      () => {
        throw new HoldfastError('ERR_OPTION_INVALID', 'no');
      },
      { signal },
    );
    expect((await rejectionOf(failing)).code).toBe('ERR_OPTION_INVALID');
    expect(readFileSync(file, 'utf8')).toBe('old\n');
    expect(readdirSync(place)).toEqual(['credentials']);
  });

  test.each(['in place', 'by another file', 'from nothing'])(
    'what another program writes meanwhile %s is not lost',
    async (how) => {
      if (how !== 'from nothing') writeFileSync(file, 'old\n');
      const seen: string[] = [];
      await replaceFile(
        file,
        (old) => {
          seen.push(old.toString());
          if (seen.length === 1 && how === 'by another file') rmSync(file);
          if (seen.length === 1) writeFileSync(file, 'own\n');
          return add('new\n')(old);
        },
        { signal },
      );
      expect(seen).toEqual([how === 'from nothing' ? '' : 'old\n', 'own\n']);
      expect(readFileSync(file, 'utf8')).toBe('own\nnew\n');
      expect(readdirSync(place)).toEqual(['credentials']);
    },
  );

  test('a file that is never left alone', async () => {
    let count = 0;
    const change = (): Buffer => {
      count += 1;
      writeFileSync(file, `${'x'.repeat(count)}\n`);
      return Buffer.from('ours');
    };
    const { code, message } = await rejectionOf(replaceFile(file, change, { signal }));
    expect([code, message]).toEqual(['ERR_FILE_UNWRITABLE', `${file} changes all the time`]);
    expect(readFileSync(file, 'utf8')).toBe(`${'x'.repeat(count)}\n`);
    expect(readdirSync(place)).toEqual(['credentials']);
  });

  test('what killed writers left is taken away, and nothing else', async () => {
    const names = ['credentials.holdfast-0123456789abcdef', 'credentials.bak', 'credentials.holdfast-notes'];
    for (const name of names) writeFileSync(join(place, name), '');
    symlinkSync('4194305', `${file}.holdfast-lock`); // above what Linux numbers processes with
    await append(file);
    expect(readdirSync(place).sort()).toEqual(['credentials', 'credentials.bak', 'credentials.holdfast-notes']);
  });

  test('one who does not end is waited for, until a signal or the end of patience', async () => {
    const leave = takeTurn(`${file}.holdfast-lock`) as () => void;
    const { code, message, hint } = await rejectionOf(replaceFile(file, add('new\n'), { signal, patience: 50 }));
    expect(code).toBe('ERR_FILE_UNWRITABLE');
    expect(message).toBe(`${file} is being written by another one (process ${process.pid}), without end`);
    expect(hint).toContain(`${file}.holdfast-lock`);

    const stop = new AbortController();
    const waiting = rejectionOf(replaceFile(file, add('new\n'), { signal: stop.signal }));
    stop.abort(new HoldfastError('ERR_INTERRUPTED', 'interrupted'));
    expect((await waiting).code).toBe('ERR_INTERRUPTED');
    expect(existsSync(file)).toBe(false);

    const patient = append(file);
    leave();
    await patient;
    expect(readdirSync(place)).toEqual(['credentials']);
  });

  test('writers who are killed at random moments', async () => {
    const { written, left } = await killWriters(20, Date.now());
    expect(written + left).toBeGreaterThan(0);
  });

  test('four writers, each with a profile of its own, for ten seconds', async () => {
    const profiles = ['default', 'one', 'two', 'three'];
    const ended = profiles.map(async (profile) => {
      const child = startWriter(file, profile, 10_000);
      let text = '';
      child.stdout?.setEncoding('utf8').on('data', (more: string) => {
        text += more;
      });
      const [status] = (await once(child, 'close')) as [number];
      return { profile, status, count: Number(text.trim().split('\n').at(-1)) };
    });
    const content = await Promise.all(ended).then((all) => {
      for (const { status, count } of all) expect([status, count > 1]).toEqual([0, true]);
      const text = readFileSync(file, 'utf8');
      for (const { profile, count } of all)
        expect(text).toContain(`aws_access_key_id = ASIA-${profile}-${count - 1}\n`);
      return text;
    });
    expect(content.match(/^\[/gm)).toHaveLength(4);
    expect(content.match(/^aws_/gm)).toHaveLength(12);
    expect(readdirSync(place)).toEqual(['credentials']);
  });
});

mountTest('a full disk: the old file stays, and the person is told', () => {
  const script = fileURLToPath(new URL('../helpers/full-disk.mjs', import.meta.url));
  const { status, stdout, stderr } = spawnSync(
    'unshare',
    ['--user', '--map-root-user', '--mount', process.execPath, script, place],
    { encoding: 'utf8' },
  );
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  expect(JSON.parse(stdout)).toEqual({
    octets: {
      code: 'ERR_FILE_UNWRITABLE',
      message: 'credentials cannot be written (ENOSPC)',
      isOld: true,
      names: ['credentials', 'filler'],
    },
    files: {
      code: 'ERR_FILE_UNWRITABLE',
      message: 'credentials cannot be written (ENOSPC)',
      isOld: true,
      names: ['credentials', 'filler'],
    },
    afterwards: { isNew: true, names: ['credentials'] },
  });
});
