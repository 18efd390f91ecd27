import { lstatSync, readFileSync, readlinkSync, symlinkSync, unlinkSync } from 'node:fs';
import { systemCodeOf } from './errors.ts';
import { sleep } from './limits.ts';

/**
 * A lock between processes: a symbolic link whose target names the holder. It comes into being in one system call,
 * together with its content, so nobody ever sees half a lock.
 */

/** Milliseconds after which the lock of somebody whom we cannot look at counts as left behind. */
const UNSEEN_LIFE = 60_000;

/**
 * @param path where the lock stands while somebody has it
 * @returns how to give it back; undefined while somebody else has it
 * @throws {Error} a system error, when the directory went away or is full
 */
export function takeTurn(path: string): (() => void) | undefined {
  const self = nameOfSelf();
  let left = false;
  const leave = (): void => {
    if (left) return;
    left = true;
    // Another one's by now, if ours counted as left behind.
    if (holderOf(path) === self) unlock(path);
  };
  if (lock(path, self)) return leave;
  const holder = holderOf(path);
  if (holder === undefined || isAlive(holder, path, self)) return undefined;
  return takeOver(path, holder, self) ? leave : undefined;
}

/** Milliseconds between two looks whether somebody else is done: at first, and at most, after having doubled. */
export interface Pauses {
  readonly first: number;
  readonly most: number;
}

/** Ask again and again until somebody else is done. @throws the signal's reason */
export async function turnWhen<T>(
  enter: () => T | undefined,
  signal: AbortSignal,
  { first, most }: Pauses = { first: 1, most: 50 },
): Promise<T> {
  for (let pause = first; ; pause = Math.min(pause * 2, most)) {
    signal.throwIfAborted();
    const turn = enter();
    if (turn) return turn;
    await sleep(pause * (0.5 + Math.random()), signal);
  }
}

/** The number of the process that has the turn, for a person; undefined when nobody has. */
export const holderInWords = (path: string): string | undefined => holderOf(path)?.split(' ')[0];

/**
 * A process that was killed while it had the turn must not block those that come after it until the next boot. Whatever it
 * was at is lost; who takes over begins anew.
 *
 * Only who has the second lock may remove the lock of a dead holder, and looks again before: otherwise the slower one of
 * two would remove the new lock of the quicker. The second lock of somebody who died over it is taken over just so, under
 * a third: there is no other way to remove a file only if it still is what it was.
 */
function takeOver(path: string, dead: string, self: string): boolean {
  const second = `${path}.over`;
  if (!lock(second, self)) {
    const holder = holderOf(second);
    if (holder === undefined || isAlive(holder, second, self) || !takeOver(second, holder, self)) return false;
  }
  try {
    if (holderOf(path) !== dead) return false;
    unlock(path);
    return lock(path, self);
  } finally {
    unlock(second);
  }
}

function lock(path: string, self: string): boolean {
  try {
    symlinkSync(self, path);
    return true;
  } catch (error) {
    if (systemCodeOf(error) === 'EEXIST') return false;
    throw error;
  }
}

function unlock(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (systemCodeOf(error) !== 'ENOENT') throw error;
  }
}

function holderOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return undefined;
    // Something else stands there, which nobody will ever take away.
    if (systemCodeOf(error) === 'EINVAL') return '';
    throw error;
  }
}

/**
 * `4711 815000 pid:[4026531836]`: the process, when it started (numbers are used again), and where the number counts.
 * Without /proc, as on macOS, the number alone.
 */
function nameOfSelf(): string {
  const [pid, , start] = statusOf('self') ?? [];
  return pid === undefined ? String(process.pid) : `${pid} ${start} ${readlinkSync('/proc/self/ns/pid')}`;
}

function isAlive(holder: string, path: string, self: string): boolean {
  const [pid = '', start, space] = holder.split(' ');
  if (space !== undefined && space !== self.split(' ')[2]) return isNew(path);
  if (!/^[1-9]\d{0,9}$/.test(pid)) return false;
  const status = statusOf(pid);
  if (status !== undefined) return !/^[ZX]$/i.test(status[1]) && status[2] === start;
  // No /proc, or one that hides the processes of others (hidepid): the number may be another one's by now.
  return isRunning(Number(pid)) && isNew(path);
}

function isNew(path: string): boolean {
  const since = lstatSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  return Math.abs(Date.now() - since) < UNSEEN_LIFE;
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0); // sends nothing
  } catch (error) {
    return systemCodeOf(error) === 'EPERM';
  }
}

/** Number, state and start of a process (proc(5), /proc/PID/stat: fields 1, 3 and 22); undefined when none shows. */
function statusOf(pid: string): readonly [pid: string, state: string, start: string] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field is the name of the program, which may hold blanks and parentheses.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return [text.slice(0, text.indexOf(' ')), fields[0] ?? '', fields[19] ?? ''];
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT' || systemCodeOf(error) === 'ESRCH') return undefined;
    throw error;
  }
}
