// node --expose-gc --jitless tpm-cycles.mjs CYCLES KEY-URI...: open, sign with and close one key after the other, so many
// times in all. Prints sixteen samples of what this process holds, at equal distances.
import assert from 'node:assert/strict';
import { createPublicKey, verify } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { openKey } from '../../dist/index.js';

const [count, ...uris] = process.argv.slice(2);
const cycles = Number(count);
const SAMPLES = 16;
const message = Buffer.from('message');

async function cycle(uri) {
  const key = await openKey(uri);
  const signature = await key.sign(message);
  const publicKey = createPublicKey({ key: Buffer.from(key.publicKey), format: 'der', type: 'spki' });
  assert.ok(verify('sha256', message, publicKey, signature));
  await key.close();
}

async function sample() {
  // What a closed connection leaves to be cleared away is cleared away in the next turns of the event loop.
  await wait(50);
  globalThis.gc();
  const descriptors = process.platform === 'linux' ? readdirSync('/proc/self/fd').length : 0;
  const { heapUsed: heap, rss } = process.memoryUsage();
  return { descriptors, handles: process.getActiveResourcesInfo().length, heap, rss };
}

const samples = [];
for (let done = 1; done <= cycles; done += 1) {
  await cycle(uris[done % uris.length]);
  if (Math.floor((done * SAMPLES) / cycles) > Math.floor(((done - 1) * SAMPLES) / cycles)) samples.push(await sample());
}
process.stdout.write(JSON.stringify(samples));
