// node --expose-gc child-cycles.mjs CYCLES KEY-URI: open, sign and close a key so many times, each time in a child process.
// Prints a sample of what this process holds after a quarter of the cycles, and another at the end.
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { openKey } from '../../dist/index.js';

const cycles = Number(process.argv[2]);
const uri = process.argv[3];
const message = Buffer.from('message');

/** Of this process, zombies too, but for the program that looks. */
function children() {
  const listed = execFileSync('ps', ['-A', '-o', 'pid=,ppid=,comm='], { encoding: 'utf8' });
  return listed.split('\n').filter((line) => {
    const [, parent, name] = line.trim().split(/\s+/);
    return Number(parent) === process.pid && name !== 'ps';
  }).length;
}

function sample() {
  globalThis.gc();
  const descriptors = process.platform === 'linux' ? readdirSync('/proc/self/fd').length : 0;
  const handles = process.getActiveResourcesInfo().length;
  return {
    children: children(),
    descriptors,
    handles,
    heap: process.memoryUsage().heapUsed,
    rss: process.memoryUsage.rss(),
  };
}

const samples = [];
for (let done = 1; done <= cycles; done += 1) {
  const key = await openKey(uri);
  await key.sign(message);
  await key.close();
  if (done === Math.ceil(cycles / 4) || done === cycles) {
    // What the last child leaves to be cleared away here is cleared away in the next turns of the event loop.
    await new Promise((resolve) => setTimeout(resolve, 200));
    samples.push(sample());
  }
}
process.stdout.write(JSON.stringify(samples));
