// Four programs write one credentials file at the same time, each a profile of its own: none loses what another wrote.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startWriter } from '../helpers/killed-writers.mjs';

/** Seconds. */
export const asked = 60;

export async function slice(seconds) {
  const place = mkdtempSync(join(tmpdir(), 'holdfast-writers-'));
  const file = join(place, 'credentials');
  try {
    const all = await Promise.all(['default', 'one', 'two', 'three'].map((profile) => write(file, profile, seconds)));
    const text = readFileSync(file, 'utf8');
    for (const { profile, count } of all) assert(text.includes(`aws_access_key_id = ASIA-${profile}-${count - 1}\n`));
    assert.equal(text.match(/^\[/gm)?.length, 4);
    assert.equal(readdirSync(place).join(), 'credentials');
    console.log(`credentials-writers: ${all.map(({ count }) => count).join(', ')} writes in ${seconds} s`);
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

async function write(file, profile, seconds) {
  const child = startWriter(file, profile, seconds * 1000);
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (more) => {
    text += more;
  });
  const [status] = await once(child, 'close');
  assert.equal(status, 0, `${profile}: ${text}`);
  return { profile, count: Number(text.trim().split('\n').at(-1)) };
}
