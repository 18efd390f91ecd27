import { mkdir, mkdtemp, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { HoldfastError, messageOf, systemCodeOf } from '../errors.ts';

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
  const made = await makeDirectory(directory).catch(refused(directory));
  // Only an empty directory goes: whatever somebody else put there stays.
  return place(directory, async () => made && (await rmdir(directory).catch(() => undefined)));
}

/**
 * Like mkdir with `recursive`, which never ends in Node.js where the parent exists and yet the system says ENOENT, as in
 * /proc.
 *
 * @returns whether it was made here
 */
async function makeDirectory(directory: string): Promise<boolean> {
  const make = async (): Promise<boolean> => {
    await mkdir(directory, { mode: 0o700 });
    return true;
  };
  try {
    return await make();
  } catch (cause) {
    const code = systemCodeOf(cause);
    if (code === 'EEXIST' && (await stat(directory)).isDirectory()) return false;
    if (code !== 'ENOENT') throw cause;
    await makeDirectory(dirname(directory));
    return await make();
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
