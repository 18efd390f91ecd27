import { execFileSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';

/** The processes that a process has its PKCS#11 modules in, zombies too. */
export function childrenOf(parent: number): number[] {
  const listed = execFileSync('ps', ['-A', '-o', 'pid=,ppid=,args='], { encoding: 'utf8' });
  return listed.split('\n').flatMap((line) => {
    const [pid, ppid, ...args] = line.trim().split(/\s+/);
    return Number(ppid) === parent && /holdfast-child|<defunct>/.test(args.join(' ')) ? [Number(pid)] : [];
  });
}

/** Settles once a process is gone; a test that waits in vain ends by its own limit. */
export async function whenGone(pid: number): Promise<void> {
  while (isThere(pid)) await sleep(20);
}

export function isThere(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
