import { mkdtemp, rm, rmdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { HoldfastError, messageOf, systemCodeOf } from '../errors.ts';
import { makeDirectory } from '../make-directory.ts';

/** A directory for files that live as long as the command does. */
export interface Place {
  /** Absolute. */
  readonly directory: string;
  /** @returns the path. Replaces nothing: a file that is there already is `ERR_FILE_UNWRITABLE` */
  write(name: string, text: string): Promise<string>;
  /** Takes away what was written, and the directory where it was made here. */
  remove(): Promise<void>;
}

/**
 * @param named the user's own directory, made where it is missing; without it a private temporary one
 * @throws {HoldfastError} `ERR_FILE_UNWRITABLE`
 */
export async function makePlace(named: string | undefined): Promise<Place> {
  if (named === undefined) {
    const directory = await mkdtemp(join(tmpdir(), 'holdfast-')).catch(refused(tmpdir()));
    return place(directory, () => rm(directory, { recursive: true, force: true }));
  }
  const directory = resolve(named);
  const made = madeAt(directory);
  // Only an empty directory goes: whatever somebody else put there stays.
  return place(directory, async () => made && (await rmdir(directory).catch(() => undefined)));
}

function madeAt(directory: string): boolean {
  try {
    return makeDirectory(directory);
  } catch (cause) {
    return refused(directory)(cause);
  }
}

function place(directory: string, end: () => Promise<unknown>): Place {
  const written: string[] = [];
  return {
    directory,
    async write(name, text) {
      const path = join(directory, name);
      await writeFile(path, text, { flag: 'wx', mode: 0o600 }).catch(refused(path));
      written.push(path);
      return path;
    },
    async remove() {
      for (const path of written) await rm(path, { force: true });
      await end();
    },
  };
}

const refused =
  (path: string) =>
  (cause: unknown): never => {
    const isThere = systemCodeOf(cause) === 'EEXIST';
    throw new HoldfastError(
      'ERR_FILE_UNWRITABLE',
      isThere ? `${path} is there already` : `cannot write ${path}: ${messageOf(cause)}`,
      { hint: isThere ? 'name another directory: nothing is overwritten' : 'name a directory of your own', cause },
    );
  };
