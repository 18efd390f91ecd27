// Ten thousand times open, sign and close in one process: from the 2,500th on nothing grows. A bare loop over the driver does
// the same beside it: what the driver or the module lose by themselves is not ours.
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
const CYCLES = 10_000;

const MODULE = [process.env.HOLDFAST_TEST_SOFTHSM ?? '', '/usr/lib/softhsm/libsofthsm2.so'].find(
  (path) => path !== '' && existsSync(path),
);
export const skipped = MODULE === undefined ? 'SoftHSM is not installed' : undefined;

export async function slice() {
  const place = mkdtempSync(join(tmpdir(), 'holdfast-cycles-'));
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
    const uri = parseKeyUri(`pkcs11:token=cycles;object=key?module-path=${MODULE}`);
    await (await storeOf(uri)).create(uri, { keyType: 'P-256', secret: pin });

    const script = new URL('../helpers/pkcs11-cycles.mjs', import.meta.url).pathname;
    const run = async (kind) => {
      const args = ['--expose-gc', script, kind, String(CYCLES), MODULE, pinFile];
      return JSON.parse((await promisify(execFile)(process.execPath, args)).stdout);
    };
    // One after the other: SoftHSM fails now and then where two processes begin with one token at the same moment.
    const [early, late] = await run('ours');
    const [bareEarly, bareLate] = await run('bare');
    const growth = (from, to) => (to.rss / from.rss - 1) * 100;
    const [percent, barePercent] = [growth(early, late), growth(bareEarly, bareLate)];
    const megabytes = ({ rss }) => (rss / 2 ** 20).toFixed(1);
    console.log(
      `pkcs11-cycles: from ${CYCLES / 4} to ${CYCLES}: ${megabytes(early)} to ${megabytes(late)} MiB (${percent.toFixed(1)} %), ` +
        `bare ${megabytes(bareEarly)} to ${megabytes(bareLate)} MiB (${barePercent.toFixed(1)} %); ` +
        `${late.sessions} PKCS#11 sessions left, ${late.descriptors} descriptors, ${late.handles} handles`,
    );
    assert.equal(late.sessions, 0);
    for (const what of ['descriptors', 'handles']) assert.equal(late[what], early[what], what);
    assert.ok(
      percent <= 5,
      `resident memory grew by ${percent.toFixed(1)} %, that of the bare loop by ${barePercent.toFixed(1)} %`,
    );
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}
