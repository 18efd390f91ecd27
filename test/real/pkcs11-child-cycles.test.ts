import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from '@jest/globals';
import { parseKeyUri } from '../../src/uri.ts';
import { inChild } from '../helpers/in-child.ts';
import { describeSoftHsm, makeToken } from '../helpers/softhsm.ts';

const script = fileURLToPath(new URL('../helpers/child-cycles.mjs', import.meta.url));

/** The long run has 500. */
const CYCLES = '30';

interface Sample {
  readonly children: number;
  readonly descriptors: number;
  readonly handles: number;
}

describeSoftHsm('children that come and go', () => {
  test(`${CYCLES} times open, sign, close: no child, no zombie, no descriptor is left`, async () => {
    const token = await makeToken();
    try {
      Object.assign(process.env, token.env);
      const pinFile = join(token.dir, 'pin');
      writeFileSync(pinFile, token.pin, { mode: 0o600 });
      const uri = token.uri({ object: 'key' }, { 'pin-source': `file:${pinFile}` });
      await inChild.create(parseKeyUri(uri), { keyType: 'P-256' });
      const args = ['--expose-gc', script, 'ours', CYCLES, uri];
      const { stdout } = await promisify(execFile)(process.execPath, args, { env: { ...process.env, ...token.env } });
      const samples = JSON.parse(stdout) as Sample[];
      const early = samples[Math.floor(samples.length / 4)] as Sample;
      const late = samples.at(-1) as Sample;
      expect(late.children).toBe(0);
      expect(late.descriptors).toBe(early.descriptors);
      expect(late.handles).toBe(early.handles);
    } finally {
      await token.remove();
    }
  });
});
