import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  lchownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { targetOf, unwritable } from '../../src/serve/file-target.ts';
import { replaceFile } from '../../src/serve/replace-file.ts';
import { testUnless } from '../helpers/exercised.ts';
import { rejectionOf, thrownBy } from '../helpers/thrown.ts';

const rootTest = await testUnless('chown');
const unprivilegedTest = await testUnless('permissions');

const me = process.geteuid?.() as number;
const { signal } = new AbortController();
const add = (text: string) => (old: Buffer) => Buffer.concat([old, Buffer.from(text)]);
const append = (path: string): Promise<number> => replaceFile(path, add('new\n'), { signal });
const modeOf = (path: string): string => (statSync(path).mode & 0o7777).toString(8);

let place: string;
let file: string;

beforeEach(() => {
  place = realpathSync(mkdtempSync(join(tmpdir(), 'holdfast-replace-')));
  file = join(place, 'credentials');
});

afterEach(() => rmSync(place, { recursive: true, force: true }));

describe('what is there afterwards', () => {
  test('a new file in new directories, for nobody else', async () => {
    const umask = process.umask(0);
    try {
      expect(await append(join(place, 'a/b/credentials'))).toBe(0o600);
    } finally {
      process.umask(umask);
    }
    expect(['a', 'a/b', 'a/b/credentials'].map((name) => modeOf(join(place, name)))).toEqual(['700', '700', '600']);
    expect(readFileSync(join(place, 'a/b/credentials'), 'utf8')).toBe('new\n');
  });

  test.each(['600', '640', '664', '644', '400'])('the mode %s, whatever the umask', async (mode) => {
    writeFileSync(file, 'old\n');
    chmodSync(file, Number.parseInt(mode, 8));
    const umask = process.umask(0o077);
    try {
      expect(await append(file)).toBe(Number.parseInt(mode, 8));
    } finally {
      process.umask(umask);
    }
    expect(modeOf(file)).toBe(mode);
    expect(readFileSync(file, 'utf8')).toBe('old\nnew\n');
    expect(readdirSync(place)).toEqual(['credentials']);
  });

  rootTest('owner and group, when root writes', async () => {
    writeFileSync(file, 'old\n', { mode: 0o640 });
    chownSync(file, 1234, 2345);
    await append(file);
    const { uid, gid } = statSync(file);
    expect([uid, gid, modeOf(file), readFileSync(file, 'utf8')]).toEqual([1234, 2345, '640', 'old\nnew\n']);
  });

  test('links, which lead to it as before', async () => {
    mkdirSync(join(place, 'real/sub'), { recursive: true });
    writeFileSync(join(place, 'real/file'), 'old\n');
    symlinkSync('real/sub', join(place, 'directory'));
    symlinkSync('directory/../file', file); // that is real/file, not file
    symlinkSync(file, join(place, 'second'));
    await append(join(place, 'second'));
    expect(readlinkSync(join(place, 'second'))).toBe(file);
    expect(readlinkSync(file)).toBe('directory/../file');
    expect(readFileSync(join(place, 'real/file'), 'utf8')).toBe('old\nnew\n');
    expect(lstatSync(join(place, 'real/file')).isFile()).toBe(true);
    expect(readdirSync(place).sort()).toEqual(['credentials', 'directory', 'real', 'second']);
  });

  test('a link that led nowhere leads to the new file', async () => {
    symlinkSync('later/file', file);
    await append(file);
    expect(readFileSync(join(place, 'later/file'), 'utf8')).toBe('new\n');
    expect(lstatSync(file).isSymbolicLink()).toBe(true);
  });

  test('another name of the file has the old content', async () => {
    writeFileSync(file, 'old\n');
    linkSync(file, join(place, 'other'));
    await append(file);
    expect(readFileSync(join(place, 'other'), 'utf8')).toBe('old\n');
    expect(readFileSync(file, 'utf8')).toBe('old\nnew\n');
  });

  test('a path counts from where the process runs', () => {
    expect(targetOf('x/../credentials')).toBe(join(realpathSync('.'), 'credentials'));
  });
});

describe('refused, and nothing is written', () => {
  const refusal = async (path: string): Promise<string> => {
    const before = readdirSync(place);
    const { code, message, hint } = await rejectionOf(append(path));
    expect([code, hint]).toEqual(['ERR_FILE_UNWRITABLE', expect.any(String)]);
    expect(readdirSync(place)).toEqual(before);
    return message.replaceAll(place, '');
  };

  test('what is no regular file', async () => {
    mkdirSync(file);
    expect(await refusal(file)).toBe('/credentials is not written: it is no regular file');
    expect(await refusal('/dev/null')).toBe('/dev/null is not written: it is no regular file');
    execFileSync('mkfifo', [join(place, 'fifo')]);
    expect(await refusal(join(place, 'fifo'))).toBe('/fifo is not written: it is no regular file');
  });

  test('links in a circle, and a file for a directory', async () => {
    symlinkSync('credentials', file);
    expect(await refusal(file)).toBe('/credentials is not written: its symbolic links lead in a circle');
    writeFileSync(join(place, 'plain'), '');
    expect(await refusal(join(place, 'plain/credentials'))).toBe('/plain/credentials cannot be written (ENOTDIR)');
  });

  test('a link to where everybody can replace files', async () => {
    mkdirSync(join(place, 'open'));
    chmodSync(join(place, 'open'), 0o777);
    symlinkSync('open/file', file);
    expect(await refusal(file)).toMatch(
      /^\/credentials is not written: a symbolic link leads to \/open, where every user/,
    );
    chmodSync(join(place, 'open'), 0o1777);
    await append(file);
    expect(readFileSync(join(place, 'open/file'), 'utf8')).toBe('new\n');
    // Without a link it is what somebody named, as the directory that the containers of a pod share.
    chmodSync(join(place, 'open'), 0o777);
    await append(join(place, 'open/file'));
  });

  test.each(['file', 'directory'])("another user's link to a %s", (kind) => {
    mkdirSync(join(place, 'mine'));
    const link = join(place, 'link');
    symlinkSync(kind === 'file' ? 'mine/file' : 'mine', link);
    // Root can give a link away; anybody else becomes somebody else.
    if (me === 0) lchownSync(link, 1234, 1234);
    const uid = me === 0 ? 0 : me + 1;
    const { code, message } = thrownBy(() => targetOf(kind === 'file' ? link : join(link, 'file'), uid));
    expect(code).toBe('ERR_FILE_UNWRITABLE');
    expect(message).toContain(`the symbolic link ${link} belongs to user ${me === 0 ? 1234 : me}`);
  });

  test("another user's file, by anybody but root", () => {
    writeFileSync(file, '');
    const { code, message } = thrownBy(() => targetOf(file, me + 1));
    expect([code, message]).toEqual(['ERR_FILE_UNWRITABLE', `${file} is not written: it belongs to user ${me}`]);
    expect(targetOf(file, me)).toBe(file);
    expect(targetOf(file, 0)).toBe(file);
  });

  unprivilegedTest('a directory that one may not write', async () => {
    mkdirSync(join(place, 'closed'), { mode: 0o500 });
    expect(await refusal(join(place, 'closed/credentials'))).toBe('/closed/credentials cannot be written (EACCES)');
  });

  unprivilegedTest('a file that one may not read', async () => {
    writeFileSync(file, 'old\n', { mode: 0o200 });
    expect((await rejectionOf(append(file))).code).toBe('ERR_FILE_UNREADABLE');
    expect(readdirSync(place)).toEqual(['credentials']);
  });

  test('a directory that has the name of the lock', async () => {
    mkdirSync(`${file}.holdfast-lock`);
    const { code, message, hint } = await rejectionOf(append(file));
    expect(code).toBe('ERR_FILE_UNWRITABLE');
    expect(message).toBe(`${file} is not written: ${file}.holdfast-lock is in the way`);
    expect(hint).toMatch(/^remove that directory/);
    expect(readdirSync(place)).toEqual(['credentials.holdfast-lock']);
  });

  test.each([
    ['fchown', /^owner and group of the file are kept/],
    ['symlink', /^name a file elsewhere/],
  ])('what the system does not permit: %s', (syscall, hint) => {
    const cause = Object.assign(new Error('EPERM'), { code: 'EPERM', syscall });
    expect(unwritable(file, cause).hint).toMatch(hint);
  });

  test('a file of 17 MiB', async () => {
    writeFileSync(file, '');
    truncateSync(file, 17 * 1024 * 1024);
    expect((await rejectionOf(append(file))).code).toBe('ERR_FILE_TOO_LARGE');
    expect(readdirSync(place)).toEqual(['credentials']);
  });
});
