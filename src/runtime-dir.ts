import { lstatSync, mkdirSync, type Stats, statfsSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { systemCodeOf } from './errors.ts';

/** A directory that is ours alone and that no disk ever sees. */
export interface UsableDir {
  readonly path: string;
  /** Another one once the directory was made anew. */
  readonly id: string;
}

/** Or why there is none. */
export type RuntimeDir = UsableDir | { readonly path: undefined; readonly why: string };

/** `f_type` of statfs(2): tmpfs and ramfs, which keep their files in memory. */
const IN_MEMORY: ReadonlySet<number> = new Set([0x01021994, 0x858458f6]);

/**
 * The private directory of this user: made when it is missing, never mended when it is wrong. Looked at anew each time,
 * because it may go with the user's last log-out; two system calls when it is there.
 *
 * @param env `XDG_RUNTIME_DIR` is read from it (XDG Base Directory Specification: it belongs to its user, mode 0700)
 */
export function findRuntimeDir(env: NodeJS.ProcessEnv = process.env): RuntimeDir {
  const uid = process.geteuid?.();
  if (uid === undefined || process.platform !== 'linux') {
    return { path: undefined, why: 'this system has no directory that is private and in memory' };
  }
  const reasons: string[] = [];
  for (const path of placesOf(uid, env.XDG_RUNTIME_DIR ?? '')) {
    const found = useDir(path, uid);
    if (typeof found !== 'string') return found;
    reasons.push(`${path} ${found}`);
  }
  return { path: undefined, why: reasons.join('; ') };
}

/**
 * One user's programs must meet, whether a session started them or cron or systemd did. Those of root never have
 * /run/user/0 when nobody is logged in, so they meet in /run whatever a session says.
 */
export function placesOf(uid: number, named: string): readonly string[] {
  const ofSession = `/run/user/${uid}`;
  const usual = [uid === 0 ? '/run/holdfast' : `${ofSession}/holdfast`, `/dev/shm/holdfast-${uid}`];
  const isOwn = isAbsolute(named) && named.replace(/\/+$/, '') !== ofSession;
  return isOwn ? [`${named.replace(/\/+$/, '')}/holdfast`, ...usual] : usual;
}

/** @returns what is wrong with it, where it cannot be used */
export function useDir(path: string, uid: number): UsableDir | string {
  try {
    const found = stateOf(path) ?? make(path, uid);
    if (typeof found === 'string') return found;
    if (found.isSymbolicLink()) return 'is a symbolic link';
    if (!found.isDirectory()) return 'is no directory';
    if (found.uid !== uid) return `belongs to user ${found.uid}`;
    if (found.mode & 0o077) return `is open to others (mode ${(found.mode & 0o777).toString(8)})`;
    if (!isInMemory(path)) return 'is not in memory (tmpfs)';
    return { path, id: `${found.dev}:${found.ino}` };
  } catch (error) {
    return `cannot be used (${systemCodeOf(error) ?? String(error)})`;
  }
}

const stateOf = (path: string): Stats | undefined => lstatSync(path, { throwIfNoEntry: false });

const isInMemory = (path: string): boolean => IN_MEMORY.has(statfsSync(path).type);

/** Not in what belongs to another user (XDG_RUNTIME_DIR comes along through su), and not on a disk: not even empty. */
function make(path: string, uid: number): Stats | string {
  const parent = path.slice(0, path.lastIndexOf('/'));
  const above = stateOf(parent);
  if (above === undefined) return 'is not there, nor the directory above it';
  if (above.uid !== uid && above.uid !== 0) return `is not there, and what is above it belongs to user ${above.uid}`;
  // Where others may write, only the sticky bit keeps them from replacing what is ours.
  if (above.mode & 0o022 && (above.mode & 0o1000) === 0) return 'is not there, and others can write above it';
  if (!isInMemory(parent)) return 'would not be in memory (tmpfs)';
  try {
    mkdirSync(path, 0o700);
  } catch (error) {
    // Another process was quicker.
    if (systemCodeOf(error) !== 'EEXIST') throw error;
  }
  return lstatSync(path);
}
