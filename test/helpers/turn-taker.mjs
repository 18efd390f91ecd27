// turn-taker.mjs TIMES PATH: takes the turn at PATH so many times, and leaves it each time as a process that was killed does.
// Prints how often somebody else had it at the same time.
import { closeSync, openSync, readlinkSync, renameSync, symlinkSync, unlinkSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const dist = resolve(fileURLToPath(new URL('../..', import.meta.url)), process.env.HOLDFAST_TEST_DIST ?? 'dist');
const { takeTurn } = await import(pathToFileURL(resolve(dist, 'turn.js')));

const [times, path] = process.argv.slice(2);
const pause = new Int32Array(new SharedArrayBuffer(4));
let shared = 0;
for (let i = 0; i < Number(times); i += 1) {
  while (!takeTurn(path)) Atomics.wait(pause, 0, 0, 0.05);
  try {
    closeSync(openSync(`${path}.inside`, 'wx'));
    unlinkSync(`${path}.inside`);
  } catch {
    shared += 1;
  }
  const own = `${path}.${process.pid}`;
  symlinkSync(`${2 ** 22 + 1} ${process.pid}-${i} ${readlinkSync('/proc/self/ns/pid')}`, own);
  renameSync(own, path);
}
console.log(shared);
