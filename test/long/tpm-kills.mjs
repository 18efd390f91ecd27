// Two hundred processes are killed in the middle of a signature. There is no resource manager, so what they have loaded stays
// in the TPM; the next one signs all the same, each time, and clears away what is in its way. No wrong try is counted.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createPublicKey, verify } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { openKey, parseKeyUri } from '../../dist/index.js';
import { create } from '../../dist/stores/tpm/index.js';
import { randomFrom } from '../helpers/random.mjs';
import { NOTHING_LEFT, skipped, startAlone } from '../helpers/swtpm-alone.mjs';

export { skipped };
export const asked = 200;

/** Places for keys. */
const PLACES = 3;

/** Milliseconds after the first signature at most: some fifty signatures, each of several commands. */
const LATEST = 30;

export async function slice(kills, seed) {
  const tpm = await startAlone();
  const runtime = process.env.XDG_RUNTIME_DIR;
  process.env.XDG_RUNTIME_DIR = tpm.env.XDG_RUNTIME_DIR;
  try {
    const { dir, query } = tpm;
    const secret = join(dir, 'secret');
    writeFileSync(secret, 'a secret', { mode: 0o600 });
    const pin = `&pin-source=file:${secret}`;
    await create(parseKeyUri(`tpm:file=${dir}/counted?${query}${pin}`), { keyType: 'P-256' });
    await create(parseKeyUri(`tpm:handle=0x81010001?${query}`), { keyType: 'RSA-2048' });
    const uris = [`tpm:file=${dir}/counted?${query}${pin}`, `tpm:handle=0x81010001?${query}`];
    const before = await tpm.counter();

    const random = randomFrom(seed);
    let [leaks, cleared] = [0, 0];
    const notify = ({ message }) => {
      assert.match(message, /was full/);
      cleared += 1;
    };
    for (let i = 0; i < kills; i += 1) {
      await killed(random.of(uris), tpm.env, random.below(LATEST * 1000) / 1000);
      const { keys, sessions } = await tpm.left();
      if (keys.length + sessions.length > 0) leaks += 1;
      await signsAfresh(random.of(uris), notify);
    }
    // Whatever is left fits in a TPM that a fresh start can use. When it is full, a fresh start leaves nothing at all.
    await fill(tpm);
    const clearedBefore = cleared;
    await signsAfresh(uris[0], notify);
    const [left, after] = [await tpm.left(), await tpm.counter()];
    console.log(
      `tpm-kills: ${kills} killed, ${leaks} times something stayed loaded, ${clearedBefore} fresh starts cleared it away ` +
        `to sign; left in the end: ${JSON.stringify(left)}, wrong tries ${after}`,
    );
    assert.deepEqual(left, NOTHING_LEFT);
    assert.equal(after, before);
    assert.ok(leaks >= kills / 4, 'the processes were not killed in the middle of a signature');
  } finally {
    if (runtime === undefined) delete process.env.XDG_RUNTIME_DIR;
    else process.env.XDG_RUNTIME_DIR = runtime;
    await tpm.stop();
  }
}

async function killed(uri, env, delay) {
  const program = new URL('../helpers/tpm-signer.mjs', import.meta.url).pathname;
  const child = spawn(process.execPath, [program, uri], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  const gone = once(child, 'exit');
  const first = await Promise.race([once(child.stdout, 'data'), gone]);
  assert.equal(String(first[0]), 'signing\n');
  await wait(delay);
  child.kill('SIGKILL');
  const [, signal] = await gone;
  assert.equal(signal, 'SIGKILL');
}

async function signsAfresh(uri, notify) {
  const message = Buffer.from('message');
  const key = await openKey(uri, { notify, deadline: 60_000 });
  try {
    const publicKey = createPublicKey({ key: Buffer.from(key.publicKey), format: 'der', type: 'spki' });
    assert.ok(verify('sha256', message, publicKey, await key.sign(message)), 'a signature is wrong');
  } finally {
    await key.close();
  }
}

/** Load keys until there is no place. */
async function fill(tpm) {
  for (let tries = 0; tries < PLACES; tries += 1) {
    if ((await tpm.left()).keys.length === PLACES) return;
    await tpm.tool('tpm2_createprimary', '-C', 'n', '-G', 'ecc256', '-c', 'left.ctx');
  }
}
