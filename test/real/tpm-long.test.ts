import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from '@jest/globals';
import { describeUnless } from '../helpers/exercised.ts';

const pathOf = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));

/** A slice of a suite of test/long, as scripts/test-long.mjs runs it: what it prints. */
async function slice(suite: string, cases: number): Promise<string> {
  const args = ['--slice', pathOf(`../long/${suite}.mjs`), '--cases', String(cases), '--seed', '1'];
  return (await promisify(execFile)(process.execPath, [pathOf('../../scripts/test-long.mjs'), ...args])).stdout;
}

const describeTpm = await describeUnless('swtpm');

describeTpm('a little of what test/long does with a TPM', () => {
  test('20 of 5,000 cycles of open, sign, close', async () => {
    expect(await slice('tpm-cycles', 20)).toContain('20 cycles');
  });

  test('5 of 200 kills in the middle of a signature', async () => {
    expect(await slice('tpm-kills', 5)).toContain('5 killed');
  });
});
