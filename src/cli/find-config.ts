import { accessSync, constants, statSync } from 'node:fs';
import { dirname, isAbsolute, join } from 'node:path';
import { HoldfastError, systemCodeOf } from '../errors.ts';
import { type BoundedFile, readBounded } from '../read-file.ts';
import type { Written } from './values.ts';

/** What a file says, by the name of the setting. */
export type Said = ReadonlyMap<string, Written>;

/** Bytes. Some people's `~/.aws/config` has thousands of generated profiles. */
const LIMIT = 4 * 1024 * 1024;

/**
 * The config file: the one that is named, which must be there, or the one in its usual place, if it is there. Where a
 * profile is asked for there must be one.
 *
 * @throws {HoldfastError} `ERR_CONFIG_INVALID`, `ERR_FILE_*`, `ERR_OPTION_INVALID` for a profile that is not there
 */
export async function readConfig(
  named: string | undefined,
  env: NodeJS.ProcessEnv,
  signal: AbortSignal,
  profile?: Written,
): Promise<Said> {
  const path = named || usualPath(env);
  const mustBe = Boolean(named);
  const file = path === undefined ? undefined : await readIfThere(path, { what: 'config file', mustBe, signal });
  if (path !== undefined && file !== undefined) {
    const { checkWriters, parseConfig } = await import('./config-file.ts');
    checkWriters(file.stat, path, process.getuid?.());
    return parseConfig(file.data.toString('utf8'), path, profile);
  }
  if (profile === undefined) return new Map();
  throw new HoldfastError('ERR_OPTION_INVALID', `${profile.origin} names a profile, and there is no config file`, {
    hint: path === undefined ? 'name it with --config' : `name it with --config, or write ${path}`,
  });
}

/** XDG Base Directory Specification: a relative path is to be ignored. */
function usualPath(env: NodeJS.ProcessEnv): string | undefined {
  const home = homeOf(env);
  const directory = isAbsolute(env.XDG_CONFIG_HOME ?? '') ? env.XDG_CONFIG_HOME : home && join(home, '.config');
  return directory && join(directory, 'holdfast', 'config');
}

/**
 * The profile that the AWS SDKs would use, from their config file. Whoever calls us may have a profile that is elsewhere,
 * so one that is not there says nothing.
 *
 * @throws {HoldfastError} `ERR_FILE_*`
 */
export async function readProfile(env: NodeJS.ProcessEnv, signal: AbortSignal): Promise<Said> {
  const home = homeOf(env);
  const path = env.AWS_CONFIG_FILE || (home && join(home, '.aws', 'config'));
  if (!path) return new Map();
  const file = await readIfThere(path, { what: 'AWS config file', mustBe: false, signal });
  if (file === undefined) return new Map();
  const { parseProfile } = await import('./aws-config.ts');
  return parseProfile(file.data.toString('utf8'), env.AWS_PROFILE || 'default', path);
}

export function homeOf(env: NodeJS.ProcessEnv): string | undefined {
  if (env.HOME) return env.HOME;
  try {
    return process.getBuiltinModule('node:os').homedir();
  } catch {
    return undefined; // a user id that the system knows nothing of, as in some containers
  }
}

interface Wanted {
  readonly what: string;
  readonly mustBe: boolean;
  readonly signal: AbortSignal;
}

async function readIfThere(path: string, { what, mustBe, signal }: Wanted): Promise<BoundedFile | undefined> {
  if (!mustBe && isAbsent(path)) return undefined;
  try {
    return await readBounded(path, { limit: LIMIT, what, signal });
  } catch (thrown) {
    if (!mustBe && thrown instanceof HoldfastError && isNotThere(thrown, path)) return undefined;
    throw thrown;
  }
}

/** Most people have neither file: asked like this it costs a start a tenth of what a failed read does. */
function isAbsent(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false }) === undefined;
  } catch {
    return false;
  }
}

/** For a service that may not enter its home directory there is no file; one that is there must be readable. */
function isNotThere({ code, cause }: HoldfastError, path: string): boolean {
  if (code === 'ERR_FILE_NOT_FOUND') return true;
  if (systemCodeOf(cause) !== 'EACCES') return false;
  try {
    accessSync(dirname(path), constants.X_OK);
    return false;
  } catch {
    return true;
  }
}
