import {
  lutimesSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { takeTurn } from '../../src/turn.ts';
import { describeUnless } from '../helpers/exercised.ts';

// What it asks of other processes stands in /proc.
const describeLinux = await describeUnless('linux');

describeLinux('the turn of a process', () => {
  let dir: string;
  let path: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'holdfast-turn-'));
    path = join(dir, 'turn');
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  const space = (): string => readlinkSync('/proc/self/ns/pid');
  const startOf = (pid: number): string =>
    readFileSync(`/proc/${pid}/stat`, 'latin1')
      .replace(/^.*\) /s, '')
      .split(' ')[19] as string;
  /** A process that lives as long as this one. */
  const alive = (): string => `${process.ppid} ${startOf(process.ppid)} ${space()}`;
  const NOBODY = 2 ** 22 + 1; // above the greatest that Linux gives (proc(5), pid_max)
  const dead = (): string => `${NOBODY} 1 ${space()}`;

  test('is taken, kept from others, and given back', () => {
    const leave = takeTurn(path);
    expect(readlinkSync(path)).toBe(`${process.pid} ${startOf(process.pid)} ${space()}`);
    expect(takeTurn(path)).toBeUndefined();
    leave?.();
    expect(readdirSync(dir)).toEqual([]);
    expect(takeTurn(path)).toBeDefined();
  });

  test('given back twice, it is not taken from who has it then', () => {
    const first = takeTurn(path);
    first?.();
    const second = takeTurn(path);
    first?.();
    expect(takeTurn(path)).toBeUndefined();
    second?.();
  });

  test('of a process that lives is waited for', () => {
    symlinkSync(alive(), path);
    expect(takeTurn(path)).toBeUndefined();
    expect(readlinkSync(path)).toBe(alive());
  });

  test.each<[string, () => string]>([
    ['of a process that ended', dead],
    ['of a process whose number was given to another', () => `${process.ppid} 1 ${space()}`],
    ['of a name that is none', () => 'rubbish'],
  ])('%s is taken over, by one', (_, holder) => {
    symlinkSync(holder(), path);
    expect(takeTurn(path)).toBeDefined();
    expect(takeTurn(path)).toBeUndefined();
    expect(readdirSync(dir)).toEqual(['turn']);
  });

  test('that is no link is taken over', () => {
    writeFileSync(path, '');
    expect(takeTurn(path)).toBeDefined();
  });

  test('is not taken over while somebody else does that', () => {
    symlinkSync(dead(), path);
    symlinkSync(alive(), `${path}.over`);
    expect(takeTurn(path)).toBeUndefined();
    expect(readdirSync(dir)).toHaveLength(2);
  });

  test.each([1, 2, 3])('is taken over when who took it over ended as well, %d times', (times) => {
    symlinkSync(dead(), path);
    for (let i = 1; i <= times; i += 1) symlinkSync(dead(), path + '.over'.repeat(i));
    expect(takeTurn(path)).toBeDefined();
    expect(readdirSync(dir)).toEqual(['turn']);
  });

  test('of one that died taking it over is not removed from under somebody who was quicker to see that', async () => {
    const fs = await import('node:fs');
    symlinkSync(dead(), path);
    symlinkSync(dead(), `${path}.over`);
    let quicker = 0;
    const readlink = (name: string): string => {
      const holder = fs.readlinkSync(name);
      if (name !== `${path}.over` || holder !== dead()) return holder;
      quicker += 1;
      fs.unlinkSync(name);
      fs.symlinkSync(alive(), name);
      return holder; // what stood there when we looked
    };
    jest.resetModules();
    jest.unstable_mockModule('node:fs', () => ({ ...fs, readlinkSync: readlink }));
    try {
      const { takeTurn: take } = await import('../../src/turn.ts');
      expect(take(path)).toBeUndefined();
      expect(quicker).toBe(1);
      expect(readlinkSync(`${path}.over`)).toBe(alive());
      expect(take(path)).toBeUndefined();
      expect(readdirSync(dir).sort()).toEqual(['turn', 'turn.over']);
    } finally {
      jest.unstable_unmockModule('node:fs');
    }
  });

  test('of another container, whose processes nobody sees from here, is taken over after a minute', () => {
    symlinkSync(`${process.pid} 1 pid:[1]`, path);
    expect(takeTurn(path)).toBeUndefined();
    const then = Date.now() / 1000 - 61;
    lutimesSync(path, then, then);
    expect(takeTurn(path)).toBeDefined();
  });

  test('that was taken over from us is not ours to give back', () => {
    const leave = takeTurn(path);
    rmSync(path);
    symlinkSync(alive(), path);
    leave?.();
    expect(readlinkSync(path)).toBe(alive());
  });

  test('a directory that went away is an error, not a turn', () => {
    expect(() => takeTurn(join(dir, 'absent', 'turn'))).toThrow('ENOENT');
  });
});

describe('without /proc, as on macOS', () => {
  let dir: string;
  let path: string;
  let take: typeof takeTurn;
  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'holdfast-turn-'));
    path = join(dir, 'turn');
    const fs = await import('node:fs');
    jest.resetModules();
    jest.unstable_mockModule('node:fs', () => ({
      ...fs,
      readFileSync: (name: string) => fs.readFileSync(name.replace(/^\/proc\//, '/absent/')),
    }));
    take = (await import('../../src/turn.ts')).takeTurn;
  });
  afterEach(() => {
    jest.unstable_unmockModule('node:fs');
    rmSync(dir, { recursive: true, force: true });
  });

  test('is taken under the number of the process, kept from others, and given back', () => {
    const leave = take(path);
    expect(readlinkSync(path)).toBe(String(process.pid));
    expect(take(path)).toBeUndefined();
    leave?.();
    expect(readdirSync(dir)).toEqual([]);
  });

  test("of a process that lives is waited for; after a minute its number may be another one's", () => {
    symlinkSync(String(process.ppid), path);
    expect(take(path)).toBeUndefined();
    const then = Date.now() / 1000 - 61;
    lutimesSync(path, then, then);
    expect(take(path)).toBeDefined();
  });

  test.each(['4194305', '0', '-1', 'rubbish', '99999999999999'])('of no process (%s) is taken over', (holder) => {
    symlinkSync(holder, path);
    expect(take(path)).toBeDefined();
  });
});
