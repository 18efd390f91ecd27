import { randomBytes } from 'node:crypto';
import {
  type BigIntStats,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  fsyncSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { HoldfastError, systemCodeOf } from '../errors.ts';
import { makeDirectory } from '../make-directory.ts';
import { printable } from '../read-file.ts';
import { holderInWords, takeTurn, turnWhen } from '../turn.ts';
import { targetOf, unwritable } from './file-target.ts';

export interface ReplaceOptions {
  /** Ends the wait for another writer. */
  signal: AbortSignal;
  /** Milliseconds of that wait. Default: 30 s. */
  patience?: number | undefined;
}

/** Bytes. Some people's files have thousands of generated profiles. */
const LIMIT = 16 * 1024 * 1024;

/** How often a file is read again that another program changes meanwhile. */
const TRIES = 10;

/**
 * Replace a file by what `change` makes of its content, empty for one that is not there. Whatever happens, the file is
 * wholly the old or the new one, with its mode, owner and group; links to it stay. Those who do the same wait for each
 * other. Others are not waited for: what they wrote until the moment of the replacement is in what `change` gets.
 *
 * @returns the mode of the file
 * @throws {HoldfastError} `ERR_FILE_UNWRITABLE`, `ERR_FILE_UNREADABLE`, `ERR_FILE_TOO_LARGE`, `ERR_INTERRUPTED`, and what
 * `change` throws: the file is as it was then
 */
export async function replaceFile(
  path: string,
  change: (old: Buffer) => Uint8Array,
  { signal, patience = 30_000 }: ReplaceOptions,
): Promise<number> {
  try {
    const target = targetOf(path);
    makeDirectory(dirname(target));
    const leave = await turnAt(`${target}.holdfast-lock`, path, signal, patience);
    try {
      // From here to the end nothing else of this process runs, no signal either.
      removeLeftOvers(target);
      return replace(target, path, change);
    } finally {
      leave();
    }
  } catch (cause) {
    throw cause instanceof HoldfastError || systemCodeOf(cause) === undefined ? cause : unwritable(path, cause);
  }
}

async function turnAt(lock: string, path: string, signal: AbortSignal, patience: number): Promise<() => void> {
  const late = AbortSignal.timeout(patience);
  try {
    return await turnWhen(() => takeTurn(lock), AbortSignal.any([signal, late]));
  } catch (thrown) {
    if (lstatSync(lock, { throwIfNoEntry: false })?.isDirectory()) {
      throw new HoldfastError(
        'ERR_FILE_UNWRITABLE',
        `${printable(path)} is not written: ${printable(lock)} is in the way`,
        {
          hint: 'remove that directory: the lock between those who write the file has this name',
          cause: thrown,
        },
      );
    }
    if (signal.aborted || !late.aborted) throw thrown;
    const holder = holderInWords(lock);
    const who = holder === undefined ? 'another one' : `another one (process ${printable(holder)})`;
    throw new HoldfastError('ERR_FILE_UNWRITABLE', `${printable(path)} is being written by ${who}, without end`, {
      hint: `end that process; if there is none, remove ${printable(lock)}`,
      cause: thrown,
    });
  }
}

const temporaryOf = (target: string): string => `${target}.holdfast-${randomBytes(8).toString('hex')}`;

/** Of those who were killed at it: nobody else has one while we have the turn. */
function removeLeftOvers(target: string): void {
  const start = `${basename(target)}.holdfast-`;
  for (const name of readdirSync(dirname(target))) {
    if (name.startsWith(start) && /^[0-9a-f]{16}$/.test(name.slice(start.length))) remove(join(dirname(target), name));
  }
}

function remove(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Another user's: it stays.
  }
}

function replace(target: string, path: string, change: (old: Buffer) => Uint8Array): number {
  for (let left = TRIES; left > 0; left -= 1) {
    const old = read(target, path);
    const data = change(old.data);
    const temporary = temporaryOf(target);
    try {
      const mode = write(temporary, data, old.stat);
      if (!isSame(old.stat, lstatSync(target, { bigint: true, throwIfNoEntry: false }))) continue;
      renameSync(temporary, target);
      settle(dirname(target));
      return mode;
    } finally {
      remove(temporary);
    }
  }
  throw new HoldfastError('ERR_FILE_UNWRITABLE', `${printable(path)} changes all the time`, {
    hint: 'look which other program writes it',
  });
}

interface Old {
  readonly data: Buffer;
  /** Undefined when there is no file. */
  readonly stat: BigIntStats | undefined;
}

function read(target: string, path: string): Old {
  let fd: number;
  try {
    fd = openSync(target, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0));
  } catch (cause) {
    if (systemCodeOf(cause) === 'ENOENT') return { data: Buffer.alloc(0), stat: undefined };
    throw new HoldfastError('ERR_FILE_UNREADABLE', `${printable(path)} cannot be read (${systemCodeOf(cause)})`, {
      hint: 'let the user who runs this read it: the other profiles in it are kept',
      cause,
    });
  }
  try {
    const stat = fstatSync(fd, { bigint: true });
    if (stat.size > LIMIT) {
      throw new HoldfastError('ERR_FILE_TOO_LARGE', `${printable(path)} is larger than ${LIMIT} bytes`, {
        hint: 'check that the path names the right file',
      });
    }
    return { data: readFileSync(fd), stat };
  } finally {
    closeSync(fd);
  }
}

/** On the disk, with mode, owner and group of the old file, before it gets its name. @returns the mode */
function write(temporary: string, data: Uint8Array, old: BigIntStats | undefined): number {
  const fd = openSync(temporary, 'wx', 0o600);
  try {
    writeFileSync(fd, data);
    const own = fstatSync(fd, { bigint: true });
    if (old && (own.uid !== old.uid || own.gid !== old.gid)) fchownSync(fd, Number(old.uid), Number(old.gid));
    const mode = old === undefined ? 0o600 : Number(old.mode & 0o7777n);
    fchmodSync(fd, mode); // last: another owner takes bits away, and so does the umask
    fsyncSync(fd);
    return mode;
  } finally {
    closeSync(fd);
  }
}

const isSame = (before: BigIntStats | undefined, now: BigIntStats | undefined): boolean =>
  before?.ino === now?.ino &&
  before?.dev === now?.dev &&
  before?.size === now?.size &&
  before?.mtimeNs === now?.mtimeNs &&
  before?.ctimeNs === now?.ctimeNs;

/** The new name, too, should survive a power cut. Not every system can say so of a directory. */
function settle(directory: string): void {
  try {
    const fd = openSync(directory, 'r');
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  } catch {
    // The file is replaced, as far as everybody sees.
  }
}
