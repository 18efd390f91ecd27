// Open, sign and close in a child process, 500 times: no child is left, no zombie, no descriptor, and the parent does not
// grow. A bare loop that starts processes does the same beside it: what Node and malloc keep of them is not ours.
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parseKeyUri, storeOf } from '../../dist/index.js';

/** Runs of the whole. */
export const asked = 1;
const CYCLES = 500;

/** Bytes that no cycle may leave: in the heap less than what a child is known by here, beside it less than its buffers. */
const HEAP = 256;
const RESIDENT = 16_384;

const MODULE = [process.env.HOLDFAST_TEST_SOFTHSM ?? '', '/usr/lib/softhsm/libsofthsm2.so'].find(
  (path) => path !== '' && existsSync(path),
);
export const skipped = MODULE === undefined ? 'SoftHSM is not installed' : undefined;

export async function slice() {
  const place = mkdtempSync(join(tmpdir(), 'holdfast-child-cycles-'));
  try {
    const pin = randomBytes(4).toString('hex');
    const pinFile = join(place, 'pin');
    writeFileSync(pinFile, pin, { mode: 0o600 });
    writeFileSync(
      join(place, 'conf'),
      `directories.tokendir = ${place}\nobjectstore.backend = file\nlog.level = ERROR\n`,
    );
    process.env.SOFTHSM2_CONF = join(place, 'conf');
    execFileSync('softhsm2-util', ['--init-token', '--free', '--label', 'cycles', '--so-pin', pin, '--pin', pin]);
    const uri = `pkcs11:token=cycles;object=key?module-path=${MODULE}&pin-source=file:${pinFile}`;
    const parsed = parseKeyUri(uri);
    await (await storeOf(parsed)).create(parsed, { keyType: 'P-256' });

    const script = new URL('../helpers/child-cycles.mjs', import.meta.url).pathname;
    const run = async (...args) => {
      // Without a compiler: what it makes of code that is run again and again lies in the heap, too, and grows for hours.
      // With a young generation that stays as it is: V8 takes a larger one when it sees fit, all at once.
      const flags = ['--expose-gc', '--jitless', '--max-semi-space-size=1', '--no-warnings'];
      return JSON.parse((await promisify(execFile)(process.execPath, [...flags, script, ...args])).stdout);
    };
    const [ours, bare] = await Promise.all([run('ours', String(CYCLES), uri), run('bare', String(CYCLES))]);
    const kibibytes = (bytes) => (bytes / 2 ** 10).toFixed(0);
    const heap = growth(ours, 'heap') - growth(bare, 'heap');
    const rss = growth(ours, 'rss') - growth(bare, 'rss');
    const [early, late] = [ours[3], ours.at(-1)];
    console.log(
      `child-cycles: ${CYCLES} cycles, from quarter to quarter: heap ${kibibytes(growth(ours, 'heap'))} KiB more (bare ${kibibytes(growth(bare, 'heap'))}), ` +
        `resident ${kibibytes(growth(ours, 'rss'))} KiB more (bare ${kibibytes(growth(bare, 'rss'))}); ` +
        `${late.children} children left, ${late.descriptors} descriptors, ${late.handles} handles`,
    );
    assert.equal(late.children, 0);
    for (const what of ['descriptors', 'handles']) assert.equal(late[what], early[what], what);
    assert.ok(heap < (CYCLES / 4) * HEAP, `each cycle leaves more than ${HEAP} bytes in the heap`);
    assert.ok(rss < (CYCLES / 4) * RESIDENT, `each cycle leaves more than ${RESIDENT} bytes`);
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

/**
 * Bytes from one quarter of the run to the next, of the least that was held in each: what comes and goes does not count.
 * Of the last two steps the smaller: a leak is in both, and what malloc or V8 takes once, all at a time, in one.
 */
function growth(samples, what) {
  const quarter = samples.length / 4;
  const [, second, third, last] = [0, 1, 2, 3].map((index) =>
    Math.min(...samples.slice(index * quarter, (index + 1) * quarter).map((sample) => sample[what])),
  );
  return Math.min(third - second, last - third);
}
