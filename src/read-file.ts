import { close, constants, fstatSync, open, read, readdirSync, readFileSync, type Stats } from 'node:fs';
import { HoldfastError, messageOf, systemCodeOf } from './errors.ts';
import { interrupted } from './limits.ts';

/** A file's whole content and what the opened descriptor (not the path, which may change) says of it. */
export interface BoundedFile {
  readonly data: Buffer;
  readonly stat: Stats;
}

export interface ReadOptions {
  /** Bytes that are read at most. */
  limit: number;
  /** What the file is to the person who named it, for errors: `key file`, `certificate file`. */
  what: string;
  /** Aborts the wait for the writer of a FIFO. */
  signal?: AbortSignal | undefined;
}

/**
 * Read a small file, or a FIFO such as the shell's `<(...)`. Links are followed.
 *
 * @throws {HoldfastError} `ERR_FILE_NOT_FOUND`, `ERR_FILE_UNREADABLE` (permissions, a directory, a socket, a terminal),
 * `ERR_FILE_TOO_LARGE` when there is more than `limit`: nothing beyond it is read; `ERR_OPTION_INVALID` for what is no
 * path; `ERR_INTERRUPTED`. Nothing of the content is in an error.
 */
export async function readBounded(path: string, options: ReadOptions): Promise<BoundedFile> {
  if (looksLikeContent(path)) throw noPath(options.what);
  const name = `${options.what} ${printable(path)}`;
  try {
    // Without O_NONBLOCK the open of a FIFO that nobody writes holds a thread, and the process could not even exit.
    const fd = await openFd(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
    const stat = fstatSync(fd);
    if (stat.isFIFO()) return { data: await drain(fd, options, name), stat };
    try {
      return { data: await fill(fd, stat, options, name), stat };
    } finally {
      close(fd, () => undefined); // it was only read: nothing can be lost
    }
  } catch (cause) {
    if (cause instanceof HoldfastError) throw cause;
    if (options.signal?.aborted) throw interrupted(options.signal, `reading the ${name}`);
    throw systemCodeOf(cause) === 'ENAMETOOLONG' ? noPath(options.what) : unreadable(name, path, cause);
  }
}

/**
 * Read what this process was given as an open descriptor: a file from its beginning, however often; a pipe or a socket
 * to its end, once, after which it is closed.
 *
 * @throws {HoldfastError} as {@link readBounded}
 */
export async function readDescriptor(fd: number, options: ReadOptions): Promise<BoundedFile> {
  const name = `${options.what} on ${fd === 0 ? 'standard input' : `descriptor ${fd}`}`;
  try {
    const stat = fstatSync(fd);
    const { isatty } = await import('node:tty');
    if (isatty(fd)) throw notReadable(`the ${name} would come from a terminal`, 'redirect a file or a pipe into it');
    if (stat.isFile() || stat.isDirectory()) return { data: await fill(fd, stat, options, name), stat };
    // What else there is gives nothing (/dev/null), too much, or nothing until somebody presses a key.
    if (!stat.isFIFO() && !stat.isSocket()) {
      throw notReadable(`the ${name} would come from a device`, 'redirect a file or a pipe into it');
    }
    if (isWrittenHere(fd, stat)) throw notOpen(name, 'it belongs to Node itself');
    const data = await drain(fd, options, name);
    if (data.length > 0) return { data, stat };
    throw notReadable(
      `nothing came for the ${name}`,
      'redirect a file or a pipe into it; a pipe can be read only once',
    );
  } catch (cause) {
    if (cause instanceof HoldfastError) throw cause;
    if (options.signal?.aborted) throw interrupted(options.signal, `reading the ${name}`);
    const code = systemCodeOf(cause);
    if (code === 'EBADF' || code === 'ENOTCONN') throw notOpen(name, code, cause);
    throw unreadable(name, '', cause);
  }
}

const notOpen = (name: string, why: string, cause?: unknown): HoldfastError =>
  new HoldfastError('ERR_FILE_NOT_FOUND', `there is no ${name} (${why})`, {
    hint: 'open it where this process is started (3<FILE in a shell); a pipe can be read only once',
    cause,
  });

/**
 * A pipe whose other end is in this process too: Node's own, to wake its event loop. To read such a one hangs Node or ends
 * it. Linux tells; elsewhere nobody does.
 */
function isWrittenHere(fd: number, { dev, ino }: Stats): boolean {
  const writes = (other: string): boolean => {
    try {
      const stat = fstatSync(Number(other));
      if (Number(other) === fd || stat.ino !== ino || stat.dev !== dev) return false;
      const flags = /^flags:\s*([0-7]+)/m.exec(readFileSync(`/proc/self/fdinfo/${other}`, 'latin1'))?.[1];
      return (Number.parseInt(flags ?? '0', 8) & (constants.O_WRONLY | constants.O_RDWR)) !== 0;
    } catch {
      return false; // the one with which the directory was read
    }
  };
  try {
    return readdirSync('/proc/self/fd').some(writes);
  } catch {
    return false;
  }
}

const notReadable = (message: string, hint: string): HoldfastError =>
  new HoldfastError('ERR_FILE_UNREADABLE', message, { hint });

/**
 * A key pasted where its path belongs must not be repeated, and the errors of the file system repeat it: PEM, or a DER
 * SEQUENCE in Base64. No path has a NUL.
 */
export const looksLikeContent = (path: string): boolean => /-----BEGIN|\0|^\s*M[A-I][A-Za-z0-9+/=\s]{62,}$/.test(path);

/** To make ready for Unicode's categories costs a start some tenths of a millisecond, and most text is ASCII. */
export const isPrintable = (text: string): boolean => /^[\x20-\x7e]*$/.test(text);

/** Text of anybody's making as it may stand in a message: without characters that move the cursor. */
export const printable = (text: string, instead = '?'): string =>
  isPrintable(text) ? text : text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, instead);

type Callback<T> = (error: Error | null, value: T) => void;

/** `promisify` without `node:util`, which costs a start some milliseconds. So it is with `node:net` and `node:tty` below. */
const promised = <T>(call: (done: Callback<T>) => void): Promise<T> =>
  new Promise((resolve, reject) => call((error, value) => (error ? reject(error) : resolve(value))));

const openFd = (path: string, flags: number): Promise<number> => promised((done) => open(path, flags, done));
const readFd = (fd: number, buffer: Buffer, at: number, length: number, position: number | null): Promise<number> =>
  promised((done) => read(fd, buffer, at, length, position, done));

/** Bytes: what lies outside of V8's heap makes it collect garbage early. */
const FIRST = 16 * 1024;

async function fill(fd: number, stat: Stats, { limit }: ReadOptions, name: string): Promise<Buffer> {
  if (stat.isDirectory()) throw notReadable(`the ${name} is a directory`, 'name the file itself');
  // The size is not trusted beforehand: it is 0 under /proc, and the file may grow. Nearly all files fit into the first buffer.
  let buffer = Buffer.alloc(Math.min(FIRST, limit + 1));
  let length = 0;
  for (;;) {
    const bytesRead = await readFd(fd, buffer, length, buffer.length - length, stat.isFile() ? length : null);
    length += bytesRead;
    if (length > limit) break;
    if (bytesRead === 0 || (length === stat.size && stat.isFile())) return buffer.subarray(0, length);
    if (length < buffer.length) continue;
    const larger = Buffer.alloc(Math.min(8 * length, limit + 1));
    buffer.copy(larger);
    buffer.fill(0); // it may be a key
    buffer = larger;
  }
  throw tooLarge(name, limit);
}

/** The socket waits in the event loop for the first writer, not in a thread; it closes the descriptor. */
async function drain(fd: number, { limit, signal }: ReadOptions, name: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  const { Socket } = await import('node:net');
  const socket = new Socket({ fd, readable: true, writable: false, ...(signal && { signal }) });
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    length += chunk.length;
    if (length > limit) throw tooLarge(name, limit);
  }
  return Buffer.concat(chunks);
}

const tooLarge = (name: string, limit: number): HoldfastError =>
  new HoldfastError('ERR_FILE_TOO_LARGE', `the ${name} is larger than ${limit} bytes`, {
    hint: 'check that the path names the right file',
  });

const noPath = (what: string): HoldfastError =>
  new HoldfastError('ERR_OPTION_INVALID', `the ${what} was named by something that is no path`, {
    hint: 'give the path of the file, not its content',
  });

function unreadable(name: string, path: string, cause: unknown): HoldfastError {
  const code = systemCodeOf(cause) ?? messageOf(cause);
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    const hint = path.startsWith('~') ? 'write the whole path: only a shell knows what "~" means' : 'check the path';
    return new HoldfastError('ERR_FILE_NOT_FOUND', `there is no ${name} (${code})`, { hint, cause });
  }
  const hint = UNREADABLE_HINTS.get(code) ?? 'check the path and the file system';
  return new HoldfastError('ERR_FILE_UNREADABLE', `the ${name} cannot be read (${code})`, { hint, cause });
}

const UNREADABLE_HINTS: ReadonlyMap<string, string> = new Map([
  ['EACCES', 'let the user who runs this read the file and enter the directories above it'],
  ['EPERM', 'let the user who runs this read the file'],
  ['ELOOP', 'the symbolic link leads in a circle: name the file itself'],
  ['ENXIO', 'it is a socket or a device that is not there: name a file'],
  ['EAGAIN', 'it is a terminal or a device that has nothing to read: name a file'],
]);
