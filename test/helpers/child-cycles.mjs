// node --expose-gc --jitless child-cycles.mjs ours CYCLES KEY-URI: open, sign and close a key so many times, each time in a
// child process. With `bare` instead, and without a URI: start a process of no use, hear from it three times and see it end.
// Prints sixteen samples of what this process holds, at equal distances.
import { execFileSync, fork } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';

const [kind, count, uri] = process.argv.slice(2);
const cycles = Number(count);
const { openKey } = kind === 'ours' ? await import('../../dist/index.js') : {};
const SAMPLES = 16;
const message = Buffer.from('message');

async function ours() {
  const key = await openKey(uri);
  await key.sign(message);
  await key.close();
}

async function bare() {
  const options = { execArgv: [], serialization: 'advanced', stdio: ['ignore', 2, 2, 'ipc'] };
  const child = fork(import.meta.filename, ['echo'], { ...options, env: { ...process.env } });
  const gone = once(child, 'exit');
  for (const last of [false, false, true]) {
    child.send({ message, last }, () => {});
    await once(child, 'message');
  }
  await gone;
}

function echo() {
  process.on('message', (said) => process.send(said, () => said.last && process.disconnect()));
}

/** Of this process, zombies too, but for the program that looks. */
function children() {
  const listed = execFileSync('ps', ['-A', '-o', 'pid=,ppid=,comm='], { encoding: 'utf8' });
  return listed.split('\n').filter((line) => {
    const [, parent, name] = line.trim().split(/\s+/);
    return Number(parent) === process.pid && name !== 'ps';
  }).length;
}

async function sample() {
  // What the last child leaves to be cleared away here is cleared away in the next turns of the event loop.
  await wait(200);
  globalThis.gc();
  const descriptors = process.platform === 'linux' ? readdirSync('/proc/self/fd').length : 0;
  const handles = process.getActiveResourcesInfo().length;
  const { heapUsed: heap, rss } = process.memoryUsage();
  return { children: children(), descriptors, handles, heap, rss };
}

async function run(cycle) {
  const samples = [];
  for (let done = 1; done <= cycles; done += 1) {
    await cycle();
    if (Math.floor((done * SAMPLES) / cycles) > Math.floor(((done - 1) * SAMPLES) / cycles))
      samples.push(await sample());
  }
  process.stdout.write(JSON.stringify(samples));
}

if (kind === 'echo') echo();
else await run(kind === 'ours' ? ours : bare);
