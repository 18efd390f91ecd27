// Five thousand times open, sign and close, with keys of every way to come by one: nothing stays in the TPM, which has three
// places for keys and three for sessions; no wrong try is counted; the process does not grow.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parseKeyUri } from '../../dist/index.js';
import { create } from '../../dist/stores/tpm/index.js';
import { NOTHING_LEFT, skipped, startAlone } from '../helpers/swtpm-alone.mjs';

export { skipped };
export const asked = 5000;

/** Cycles from which on the memory tells something. */
const MANY = 1000;

/** Bytes that no cycle may leave, in the heap and beside it. */
const HEAP = 256;
const RESIDENT = 4096;

export async function slice(cycles) {
  const tpm = await startAlone();
  try {
    const uris = await keysOf(tpm);
    const before = await tpm.counter();
    const script = new URL('../helpers/tpm-cycles.mjs', import.meta.url).pathname;
    // Without a compiler, and with a young generation that stays as it is: see child-cycles.mjs.
    const flags = ['--expose-gc', '--jitless', '--max-semi-space-size=1', '--no-warnings'];
    const args = [...flags, script, String(cycles), ...uris];
    const samples = JSON.parse((await promisify(execFile)(process.execPath, args, { env: tpm.env })).stdout);
    const [left, after] = [await tpm.left(), await tpm.counter()];
    const [early, late] = [samples[Math.floor(samples.length / 4)], samples.at(-1)];
    const [heap, rss] = [growth(samples, 'heap'), growth(samples, 'rss')];
    console.log(
      `tpm-cycles: ${cycles} cycles, from quarter to quarter: heap ${(heap / 1024).toFixed(0)} KiB more, ` +
        `resident ${(rss / 1024).toFixed(0)} KiB more; ${late.descriptors} descriptors, ${late.handles} handles; ` +
        `left in the TPM: ${JSON.stringify(left)}, wrong tries ${after}`,
    );
    assert.deepEqual(left, NOTHING_LEFT);
    assert.equal(after, before);
    for (const what of ['descriptors', 'handles']) assert.equal(late[what], early[what], what);
    if (cycles < MANY) return;
    assert.ok(heap < (cycles / 4) * HEAP, `each cycle leaves more than ${HEAP} bytes in the heap`);
    assert.ok(rss < (cycles / 4) * RESIDENT, `each cycle leaves more than ${RESIDENT} bytes`);
  } finally {
    await tpm.stop();
  }
}

/** A file with an authValue whose wrong tries are counted, a persistent key, and one with a policy; salted, and one plain. */
async function keysOf({ dir, query }) {
  const secret = join(dir, 'secret');
  writeFileSync(secret, 'a secret', { mode: 0o600 });
  const make = (path, more = '') => create(parseKeyUri(`tpm:${path}?${query}${more}`), { keyType: 'P-256' });
  const pin = `&pin-source=file:${secret}`;
  await make(`file=${dir}/counted`, pin);
  await make('handle=0x81010001');
  await make('handle=0x81010002', `${pin}&pcr=sha256:0,7`);
  return [
    `tpm:file=${dir}/counted?${query}${pin}`,
    `tpm:file=${dir}/counted?${query}${pin}&session=password`,
    `tpm:handle=0x81010001?${query}`,
    `tpm:handle=0x81010002?${query}${pin}&pcr=sha256:0,7`,
  ];
}

/**
 * Bytes from one quarter of the run to the next, of the least that was held in each: what comes and goes does not count.
 * Of the last two steps the smaller: a leak is in both.
 */
function growth(samples, what) {
  const quarter = Math.floor(samples.length / 4);
  const [, second, third, last] = [0, 1, 2, 3].map((index) =>
    Math.min(...samples.slice(index * quarter, (index + 1) * quarter).map((sample) => sample[what])),
  );
  return Math.min(third - second, last - third);
}
