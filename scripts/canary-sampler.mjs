// Looks at argv and environment of everything that a process has started, twenty times a second (Linux: /proc). Other
// users of the machine can read the one; who becomes this user can read the other.
import { appendFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';

/** Milliseconds. */
const PAUSE = 50;

/** Where a canary belongs, and why. Nowhere else, and in no environment. */
const EXCUSES = [
  // They take a PIN by argument only; tests and the demo make their tokens with them. Nothing in production runs them.
  { place: 'argv', program: 'softhsm2-util', canary: 'pin' },
  { place: 'argv', program: 'pkcs11-tool', canary: 'pin' },
];

/**
 * Sample until SIGTERM.
 *
 * @param root whose children, and theirs, are looked at: a process id
 * @param report gets a line of JSON for each hit, at once, and at the end one that says how many processes were seen
 * @param look the canaries in some bytes
 */
export async function sampleUntilStopped(root, report, look) {
  writeFileSync(report, '');
  const tell = (line) => appendFileSync(report, `${JSON.stringify(line)}\n`);
  const known = new Map();
  const timer = setInterval(() => {
    for (const one of descendantsOf(root, known)) for (const hit of hitsOf(one, look)) tell(hit);
  }, PAUSE);
  await new Promise((resolve) => process.once('SIGTERM', resolve));
  clearInterval(timer);
  tell({ looked: known.size });
}

/** The descendants that run now, old and new. */
function descendantsOf(root, known) {
  const running = readdirSync('/proc').filter(isNumber).flatMap(statOf);
  const ours = running.find(({ pid }) => pid === root)?.session;
  // One whose parent has ended belongs to nobody's children any more, but still to its session.
  const sessions = new Set([...known.values()].map(({ session }) => session).filter((session) => session !== ours));
  const old = running.filter(({ key, session }) => known.has(key) || sessions.has(session));
  const queue = [root, ...old.map(({ pid }) => pid)];
  const found = new Set(old);
  for (const parent of queue) {
    for (const one of running) {
      if (one.parent !== parent || found.has(one)) continue;
      found.add(one);
      queue.push(one.pid);
    }
  }
  for (const one of found) if (!known.has(one.key)) known.set(one.key, { ...one, said: new Set() });
  return [...found].map(({ key }) => known.get(key));
}

const isNumber = (name) => /^\d+$/.test(name);

/** Without what has ended meanwhile, or belongs to another user. */
function read(pid, name) {
  try {
    return readFileSync(`/proc/${pid}/${name}`);
  } catch {
    return Buffer.alloc(0);
  }
}

/** proc(5): "pid (comm) state ppid pgrp session ...", where 22 is the time of its start. */
function statOf(text) {
  const stat = read(text, 'stat').toString('latin1');
  const [, parent, , session, ...rest] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  if (rest.length === 0) return [];
  return [{ pid: Number(text), parent: Number(parent), session, key: `${text} ${rest[15]}` }];
}

/** What a process tells now and has not told before. */
function hitsOf(one, look) {
  const argv = read(one.pid, 'cmdline');
  // Neither changes unless it runs another program.
  if (one.argv?.equals(argv)) return [];
  one.argv = argv;
  const [program = '', ...words] = argv.toString().split('\0');
  const began = words
    .filter((word) => look(Buffer.from(word)).length === 0)
    .map((word) => basename(word).split('\n')[0].slice(0, 40));
  const hits = [];
  for (const [place, bytes] of Object.entries({ argv, environment: read(one.pid, 'environ') })) {
    for (const { canary, spelling } of look(bytes)) {
      if (one.said.has(`${place} ${canary}`)) continue;
      one.said.add(`${place} ${canary}`);
      const hit = { place, program: basename(program), pid: one.pid, canary, spelling, began: began.slice(0, 4) };
      hits.push({ ...hit, isExcused: EXCUSES.some((excuse) => matches(excuse, hit)) });
    }
  }
  return hits;
}

const matches = (excuse, hit) => Object.entries(excuse).every(([field, value]) => hit[field] === value);
