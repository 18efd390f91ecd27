import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, constants } from 'node:fs';
import { open as openFile } from 'node:fs/promises';
import { expect, test } from '@jest/globals';
import { readBounded } from '../../src/read-file.ts';
import { open } from '../../src/stores/file/index.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { ecKey, expectSigns, place } from '../helpers/key-files.ts';
import { failure } from '../stores/conformance.ts';

const files = place();
const ec = ecKey();
const pem = ec.export({ type: 'pkcs8', format: 'pem' }) as string;

function fifo(name: string, mode = 0o600): string {
  const path = files.path(name);
  execFileSync('mkfifo', [path]);
  chmodSync(path, mode);
  return path;
}

/** Write into a FIFO from another process, as a shell would. */
const feed = (path: string, content: string): void => {
  const writer = spawn('sh', ['-c', 'exec cat > "$1"', 'sh', path], { stdio: ['pipe', 'ignore', 'ignore'] });
  writer.stdin.on('error', () => {});
  writer.stdin.end(content);
};

test('a key comes through a FIFO, whose writer may come first or last', async () => {
  const path = fifo('first');
  feed(path, pem);
  await expectSigns(open(parseKeyUri(path), {}), ec);
  const opening = open(parseKeyUri(path), {});
  feed(path, pem);
  await expectSigns(opening, ec);
});

test('a FIFO that others can write is refused', async () => {
  const path = fifo('exposed', 0o622);
  feed(path, pem);
  expect((await failure(open(parseKeyUri(path), {}))).code).toBe('ERR_KEY_EXPOSED');
});

test('a FIFO is read up to the limit', async () => {
  const path = fifo('endless');
  const writer = spawn('sh', ['-c', 'exec cat /dev/zero > "$1"', 'sh', path], { stdio: 'ignore' });
  expect((await failure(readBounded(path, { limit: 100_000, what: 'test file' }))).code).toBe('ERR_FILE_TOO_LARGE');
  // Its reader is gone, so it ends.
  await once(writer, 'exit');
});

test('the wait for a writer ends with the signal, and with the deadline', async () => {
  const path = fifo('silent');
  const interrupted = await failure(open(parseKeyUri(path), { signal: AbortSignal.timeout(50) }));
  expect(interrupted.code).toBe('ERR_INTERRUPTED');
  expect((await failure(open(parseKeyUri(path), { deadline: 50 }))).code).toBe('ERR_SIGNING_TIMEOUT');
  const direct = readBounded(path, { limit: 10, what: 'test file', signal: AbortSignal.timeout(50) });
  expect((await failure(direct)).code).toBe('ERR_INTERRUPTED');
  // Nobody reads it any more: a writer without patience is told so.
  await expect(
    openFile(path, constants.O_WRONLY | constants.O_NONBLOCK).then((handle) => handle.close()),
  ).rejects.toMatchObject({ code: 'ENXIO' });
});
