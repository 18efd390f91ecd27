import { execFileSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, readFileSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { sinkOf } from '../../src/cli/sink.ts';

// Windows writes through Node's own streams.
const describePosix = process.platform === 'win32' ? describe.skip : describe;

describePosix('a standard stream', () => {
  let dir: string;
  let stream: PassThrough;
  let fd: number | undefined;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'holdfast-sink-'));
    stream = new PassThrough();
  });
  afterEach(() => {
    if (fd !== undefined) closeSync(fd);
    fd = undefined;
    rmSync(dir, { recursive: true, force: true });
  });

  const never = (): never => {
    throw new Error("one of Node's streams was made");
  };
  const through = (file: number, streamOf: () => unknown) => sinkOf(file as 1, streamOf as () => NodeJS.WriteStream);
  const written = (sink: ReturnType<typeof sinkOf>, data: string | Uint8Array): Promise<Error | null | undefined> =>
    new Promise((done) => void sink.write(data, done));

  test('is written to at once, without one of Node', async () => {
    fd = openSync(join(dir, 'out'), 'w');
    const sink = through(fd, never);
    expect(await written(sink, 'grüße\n')).toBeFalsy();
    expect(await written(sink, Buffer.of(0, 255))).toBeFalsy();
    expect(readFileSync(join(dir, 'out'))).toEqual(Buffer.concat([Buffer.from('grüße\n'), Buffer.of(0, 255)]));
  });

  test('that cannot be written to says why', async () => {
    fd = openSync(dir, 'r');
    expect(await written(through(fd, never), 'x')).toMatchObject({ code: 'EBADF' });
    closeSync(fd);
    const closed = fd;
    fd = undefined;
    expect(await written(through(closed, never), 'x')).toMatchObject({ code: 'EBADF' });
  });

  test('that is full and does not block goes on as one of Node, in order', async () => {
    execFileSync('mkfifo', [join(dir, 'pipe')]);
    fd = openSync(join(dir, 'pipe'), constants.O_RDWR | constants.O_NONBLOCK);
    const filled = fill(fd);
    readSync(fd, Buffer.alloc(4096)); // room for a page
    const sink = through(fd, () => stream);
    const text = 'x'.repeat(5000);
    await Promise.all([written(sink, text), written(sink, 'end')]);
    readSync(fd, Buffer.alloc(filled - 4096));
    const first = Buffer.alloc(filled);
    const length = readSync(fd, first);
    expect(length).toBeGreaterThan(0);
    expect(first.toString('utf8', 0, length) + String(stream.read())).toBe(`${text}end`);
  });

  test('of Node that fails later does not end the process', () => {
    fd = openSync(join(dir, 'out'), 'w');
    void through(fd, () => stream).isTTY; // makes one
    expect(stream.emit('error', new Error('gone'))).toBe(true);
  });
});

/** @returns how many bytes had room */
function fill(fd: number): number {
  let total = 0;
  try {
    for (;;) total += writeSync(fd, Buffer.alloc(4096, '.'));
  } catch {
    return total;
  }
}
