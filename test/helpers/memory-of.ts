import { closeSync, openSync, readFileSync, readSync } from 'node:fs';

/** Read at once, bytes. */
const CHUNK = 1 << 20;

/**
 * How often a text is in the memory of a process: what a core dump of it would hold, and without one (proc_pid_mem(5)).
 * Linux only.
 *
 * @param pid of a process that was started here, or by one that was
 */
export function timesInMemory(pid: number, text: string): number {
  const spellings = [Buffer.from(text, 'utf8'), Buffer.from(text, 'utf16le')];
  const longest = Math.max(...spellings.map(({ length }) => length));
  const memory = openSync(`/proc/${pid}/mem`, 'r');
  try {
    const chunk = Buffer.alloc(CHUNK + longest - 1);
    let times = 0;
    for (const [start, end] of readableParts(pid)) {
      for (let at = start; at < end; at += CHUNK) {
        const read = readPart(memory, chunk.subarray(0, Math.min(chunk.length, end - at)), at);
        for (const spelling of spellings) {
          // Each hit belongs to the part that it begins in.
          const found = chunk.subarray(0, Math.min(read, CHUNK + spelling.length - 1));
          for (let hit = found.indexOf(spelling); hit >= 0; hit = found.indexOf(spelling, hit + 1)) times += 1;
        }
      }
    }
    return times;
  } finally {
    closeSync(memory);
  }
}

function readableParts(pid: number): [start: number, end: number][] {
  const lines = readFileSync(`/proc/${pid}/maps`, 'latin1').matchAll(/^([0-9a-f]+)-([0-9a-f]+) r.*$/gm);
  // The kernel's own pages are no program's.
  const own = [...lines].filter(([line]) => !/\[v(var|syscall|dso)/.test(line));
  return own.map(([, start, end]) => [Number.parseInt(start ?? '', 16), Number.parseInt(end ?? '', 16)]);
}

/** @returns 0 for what is mapped but not there, as behind the end of a file */
function readPart(memory: number, into: Buffer, at: number): number {
  try {
    return readSync(memory, into, 0, into.length, at);
  } catch (error) {
    if (['EIO', 'EFAULT'].includes((error as NodeJS.ErrnoException).code ?? '')) return 0;
    throw error;
  }
}
