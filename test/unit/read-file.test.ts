import { mkdir, symlink, truncate, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { describe, expect, test } from '@jest/globals';
import { printable, readBounded } from '../../src/read-file.ts';
import { place } from '../helpers/key-files.ts';
import { failure, tellsOf } from '../stores/conformance.ts';

const files = place();
const read = (path: string, limit = 1000) => readBounded(path, { limit, what: 'test file' });

/** Run as somebody who is not root, which root may do for a while. */
async function unprivileged<T>(run: () => Promise<T>): Promise<T> {
  if (process.getuid?.() !== 0) return run();
  process.seteuid?.(65534);
  try {
    return await run();
  } finally {
    process.seteuid?.(0);
  }
}

describe('readBounded', () => {
  test('the content, and what the descriptor says of it', async () => {
    const { data, stat } = await read(await files.write('a', 'hello', 0o640));
    expect(data.toString()).toBe('hello');
    expect(stat.mode & 0o777).toBe(0o640);
    expect((await read(await files.write('empty', ''))).data).toHaveLength(0);
  });

  test('as much as the limit, not a byte more', async () => {
    const path = await files.write('b', Buffer.alloc(1000, 'x'));
    expect((await read(path)).data).toHaveLength(1000);
    await writeFile(path, 'x', { flag: 'a' });
    const error = await failure(read(path));
    expect(error.code).toBe('ERR_FILE_TOO_LARGE');
    expect(error.message).toBe(`the test file ${path} is larger than 1000 bytes`);
  });

  test('a file larger than any memory is read no further either', async () => {
    const path = await files.write('c', '');
    await truncate(path, 2 ** 40);
    expect((await failure(read(path, 2 ** 20))).code).toBe('ERR_FILE_TOO_LARGE');
  });

  test('a device without an end is read up to the limit', async () => {
    expect((await failure(read('/dev/zero'))).code).toBe('ERR_FILE_TOO_LARGE');
    expect((await read('/dev/null')).data).toHaveLength(0);
  });

  test('links are followed, and stat is that of their end', async () => {
    await files.write('end', 'hello', 0o604);
    await symlink('end', files.path('link'));
    const { data, stat } = await read(files.path('link'));
    expect(data.toString()).toBe('hello');
    expect(stat.mode & 0o777).toBe(0o604);
  });

  test('missing: ERR_FILE_NOT_FOUND', async () => {
    await files.write('file', '');
    for (const path of [files.path('missing'), files.path('file/below')]) {
      const error = await failure(read(path));
      expect(error.code).toBe('ERR_FILE_NOT_FOUND');
      expect(error.message).toContain(path);
    }
    expect((await failure(read('~/.ssh/no-such-key'))).hint).toMatch(/only a shell/);
  });

  test('a directory, a circle of links, a socket: ERR_FILE_UNREADABLE, each with its cure', async () => {
    await mkdir(files.path('directory'));
    await symlink('circle', files.path('circle'));
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(files.path('socket'), resolve));
    const hints = new Set<string | undefined>();
    for (const name of ['directory', 'circle', 'socket']) {
      const error = await failure(read(files.path(name)));
      expect(error.code).toBe('ERR_FILE_UNREADABLE');
      hints.add(error.hint);
    }
    server.close();
    expect(hints.size).toBe(3);
  });

  test('no permission: ERR_FILE_UNREADABLE with the cure', async () => {
    const path = await files.write('locked', 'hello', 0);
    const error = await unprivileged(() => failure(read(path)));
    expect(error.code).toBe('ERR_FILE_UNREADABLE');
    expect(error.message).toBe(`the test file ${path} cannot be read (EACCES)`);
    expect(error.hint).toMatch(/let the user who runs this read the file/);
    expect(error.cause).toMatchObject({ code: 'EACCES' });
  });

  test('what is no path is refused without repeating it', async () => {
    for (const text of [
      '-----BEGIN PRIVATE KEY----- swordfish',
      `M${'A'.repeat(80)}swordfish`,
      'a\0swordfish',
      'swordfish'.repeat(1000),
    ]) {
      const error = await failure(read(text));
      expect(error.code).toBe('ERR_OPTION_INVALID');
      expect(tellsOf(error, 'swordfish')).toBe(false);
    }
  });
});

test('printable: nothing that moves the cursor or turns the line', () => {
  expect(printable('/a b/\u00e9\u001b[2J\n\u202e\u2028')).toBe('/a b/\u00e9?[2J???');
});
