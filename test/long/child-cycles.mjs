// Open, sign and close in a child process, 500 times: no child is left, no zombie, no descriptor, and the parent does not grow.
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
    const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', script, String(CYCLES), uri]);
    const [early, late] = JSON.parse(stdout);
    const megabytes = (bytes) => (bytes / 2 ** 20).toFixed(1);
    console.log(
      `child-cycles: from ${CYCLES / 4} to ${CYCLES}: heap ${megabytes(early.heap)} to ${megabytes(late.heap)} MiB, resident ${megabytes(early.rss)} to ` +
        `${megabytes(late.rss)} MiB; ${late.children} children left, ${late.descriptors} descriptors, ${late.handles} handles`,
    );
    assert.equal(late.children, 0);
    for (const what of ['descriptors', 'handles']) assert.equal(late[what], early[what], what);
    assert.ok(late.heap < early.heap * 1.05, `the heap grew from ${early.heap} to ${late.heap}`);
    assert.ok(late.rss < early.rss * 1.1, `memory grew from ${early.rss} to ${late.rss}`);
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}
