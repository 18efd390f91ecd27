import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { findRuntimeDir, placesOf, useDir } from '../../src/runtime-dir.ts';
import { describeUnless, testUnless } from '../helpers/exercised.ts';

const rootTest = await testUnless('chown');
const uid = process.geteuid?.() ?? -1;
const describeLinux = await describeUnless('linux');

describe('where it is looked for', () => {
  test.each([
    ['a session of a user', 1000, '/run/user/1000', ['/run/user/1000/holdfast', '/dev/shm/holdfast-1000']],
    ['the same without its variable: cron', 1000, '', ['/run/user/1000/holdfast', '/dev/shm/holdfast-1000']],
    ['elsewhere', 1000, '/a/b/', ['/a/b/holdfast', '/run/user/1000/holdfast', '/dev/shm/holdfast-1000']],
    ['a relative path is none', 1000, 'a/b', ['/run/user/1000/holdfast', '/dev/shm/holdfast-1000']],
    ['a session of root meets its services', 0, '/run/user/0', ['/run/holdfast', '/dev/shm/holdfast-0']],
    ['root without one', 0, '', ['/run/holdfast', '/dev/shm/holdfast-0']],
    ['root through su', 0, '/run/user/1000', ['/run/user/1000/holdfast', '/run/holdfast', '/dev/shm/holdfast-0']],
  ])('%s', (_, user, named, expected) => {
    expect(placesOf(user, named)).toEqual(expected);
  });

  test('a system without users or without tmpfs has none, and says so', () => {
    const { geteuid } = process;
    try {
      Object.assign(process, { geteuid: undefined });
      expect(findRuntimeDir({})).toEqual({ path: undefined, why: expect.stringContaining('this system') });
    } finally {
      Object.assign(process, { geteuid });
    }
  });
});

describeLinux('a directory', () => {
  let base: string;
  let dir: string;
  beforeEach(() => {
    base = mkdtempSync('/dev/shm/holdfast-test-');
    dir = join(base, 'holdfast');
  });
  afterEach(() => rmSync(base, { recursive: true, force: true }));

  test('is made for its user alone, and found again', () => {
    const made = findRuntimeDir({ XDG_RUNTIME_DIR: base });
    expect(made.path).toBe(dir);
    expect(statSync(dir).mode & 0o777).toBe(0o700);
    expect(findRuntimeDir({ XDG_RUNTIME_DIR: base })).toEqual(made);
  });

  test('that is made anew is another one', () => {
    const first = useDir(dir, uid);
    rmSync(dir, { recursive: true });
    mkdirSync(join(base, 'between')); // or it could get the same number
    expect(useDir(dir, uid)).not.toEqual(first);
  });

  test.each([
    ['a symbolic link', () => symlinkSync(base, dir), 'is a symbolic link'],
    ['a file', () => writeFileSync(dir, ''), 'is no directory'],
    ['one that others may read', () => mkdirSync(dir) ?? chmodSync(dir, 0o750), 'is open to others (mode 750)'],
    ['one that others may enter', () => mkdirSync(dir) ?? chmodSync(dir, 0o701), 'is open to others (mode 701)'],
  ])('%s is not used, and left as it is', (_, prepare, why) => {
    prepare();
    expect(useDir(dir, uid)).toBe(why);
    rmSync(dir, { recursive: true });
  });

  rootTest('of another user is not used', () => {
    mkdirSync(dir, { mode: 0o700 });
    chownSync(dir, 65_534, 65_534);
    expect(useDir(dir, uid)).toBe('belongs to user 65534');
  });

  rootTest('is not made in that of another user: su may leave XDG_RUNTIME_DIR as it was', () => {
    chownSync(base, 65_534, 65_534);
    expect(useDir(dir, uid)).toBe('is not there, and what is above it belongs to user 65534');
    expect(existsSync(dir)).toBe(false);
  });

  test('is not made where others can take it away', () => {
    chmodSync(base, 0o777);
    expect(useDir(dir, uid)).toBe('is not there, and others can write above it');
    chmodSync(base, 0o1777);
    expect(useDir(dir, uid)).toMatchObject({ path: dir });
  });

  test('that is not in memory is not used, and not made there either', () => {
    expect(useDir('/proc/holdfast', uid)).toBe('would not be in memory (tmpfs)');
    expect(useDir('/proc/self/fd', uid)).toBe('is not in memory (tmpfs)');
  });

  test('without anything above it is not made', () => {
    expect(useDir(join(base, 'absent', 'holdfast'), uid)).toBe('is not there, nor the directory above it');
  });
});
