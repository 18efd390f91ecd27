import { type BigIntStats, closeSync, constants, fstatSync, openSync, readSync, type Stats, statSync } from 'node:fs';

/** What was in a file, and what tells in one system call that it still is: as git's index has it. */
export interface Content {
  readonly stamp: string;
  /** Hex. */
  readonly sha256: string;
}

/** Of a file of certificates, bytes: as the store of key files has it. */
const LIMIT = 1024 * 1024;

/** Anything that changes a file changes its time of change (ctime), which nobody can set. */
export const stampOf = ({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string =>
  [dev, ino, size, mtimeNs, ctimeNs].join(':');

/** An import of node:crypto would cost a hit two or three milliseconds, and hardly any needs it. */
export const sha256 = (data: string | Uint8Array): string =>
  process.getBuiltinModule('node:crypto').createHash('sha256').update(data).digest('hex');

/** @returns undefined when one cannot be read */
export function contentsOf(paths: readonly string[]): readonly Content[] | undefined {
  const contents = paths.map((path) => {
    const stamp = stampAt(path); // before the content: it may change in between, and then this is out of date
    const data = readRegular(path, LIMIT);
    return stamp !== undefined && data ? { stamp, sha256: sha256(data) } : undefined;
  });
  return contents.every((one) => one !== undefined) ? contents : undefined;
}

/** Is in these files what was in them? */
export function haveContents(paths: readonly string[], contents: readonly Content[]): boolean {
  if (contents.length !== paths.length) return false;
  return paths.every((path, i) => {
    const { stamp, sha256: hash } = contents[i] as Content;
    if (stampAt(path) === stamp) return true;
    const data = readRegular(path, LIMIT);
    return data !== undefined && sha256(data) === hash;
  });
}

function stampAt(path: string): string | undefined {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stat && stampOf(stat);
}

/**
 * A file at once and as a whole.
 *
 * @param flags besides reading
 * @returns undefined when it is no regular file, larger, cannot be read, or is not as `fits` wants it
 */
export function readRegular(
  path: string,
  limit: number,
  flags = 0,
  fits: (stat: Stats) => boolean = () => true,
): Buffer | undefined {
  let fd: number | undefined;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | flags);
    const stat = fstatSync(fd);
    if (!stat.isFile() || stat.size > limit || !fits(stat)) return undefined;
    const data = Buffer.alloc(stat.size);
    return data.subarray(0, readSync(fd, data, 0, data.length, 0));
  } catch {
    return undefined;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
