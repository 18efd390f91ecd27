import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { systemCodeOf } from './errors.ts';

/**
 * A directory, and those above it, for nobody else. Like mkdir with `recursive`, which never ends in Node.js where the
 * parent exists and yet the system says ENOENT, as in /proc.
 *
 * @returns whether it was made here
 * @throws {Error} a system error
 */
export function makeDirectory(directory: string): boolean {
  const make = (): true => {
    mkdirSync(directory, 0o700);
    return true;
  };
  try {
    return make();
  } catch (cause) {
    const code = systemCodeOf(cause);
    if (code === 'EEXIST' && statSync(directory).isDirectory()) return false;
    if (code !== 'ENOENT' || dirname(directory) === directory) throw cause;
    makeDirectory(dirname(directory));
    return make();
  }
}
