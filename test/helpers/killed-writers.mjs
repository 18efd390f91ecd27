// Writers of a credentials file that are killed at random moments.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { randomFrom } from './random.mjs';

const WRITER = fileURLToPath(new URL('credentials-writer.mjs', import.meta.url));

/** Others' lines around the profile that is written, which must stay as they are. */
const BEFORE = `# first\r\n[default]\r\nregion = eu-west-1\r\n${'# long\r\n'.repeat(500)}`;
const AFTER = `[other]\naws_access_key_id = AKIAOTHER\n${'# more\n'.repeat(500)}last = line`;

/** @returns {import('node:child_process').ChildProcess} */
export const startWriter = (file, profile, milliseconds) =>
  spawn(process.execPath, [WRITER, file, profile, String(milliseconds)], { stdio: ['ignore', 'pipe', 'inherit'] });

/**
 * Kill a writer at this many moments and look at the file each time.
 *
 * @returns {Promise<{ written: number, left: number }>} how many of them had written, and how many were killed at it
 */
export async function killWriters(times, seed) {
  const random = randomFrom(seed);
  const place = mkdtempSync(join(tmpdir(), 'holdfast-killed-'));
  const file = join(place, 'credentials');
  const start = `${BEFORE}[build]\nkept = 1\n${AFTER}`;
  let written = 0;
  let left = 0;
  try {
    writeFileSync(file, start, { mode: 0o600 });
    for (let i = 0; i < times; i += 1) {
      const before = readFileSync(file, 'utf8');
      const child = startWriter(file, 'build', 60_000);
      await once(child.stdout, 'data');
      await new Promise((done) => setTimeout(done, random.below(30)));
      child.kill('SIGKILL');
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
      const after = readFileSync(file, 'utf8');
      checkWhole(after, start);
      if (after !== before) written += 1;
      if (readdirSync(place).length > 1) left += 1;
    }
    // Whoever comes next is not in the way of the dead, and takes away what they left.
    const child = startWriter(file, 'build', 0);
    const [status] = await once(child, 'exit');
    assert.equal(status, 0);
    checkWhole(readFileSync(file, 'utf8'), start);
    assert.equal(readdirSync(place).join(), 'credentials');
    assert(!existsSync(`${file}.holdfast-lock`));
    return { written, left };
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

const OURS =
  /# holdfast: expires [-0-9T:]+Z\naws_access_key_id = ASIA-build-(\d+)\naws_secret_access_key = secret-build-\1-s*\naws_session_token = token-build-\1-t*\n/;

/** Wholly as it was, or with all of one session. */
function checkWhole(text, start) {
  if (text === start) return;
  assert.match(text, OURS);
  assert.equal(text.replace(OURS, ''), start);
}
