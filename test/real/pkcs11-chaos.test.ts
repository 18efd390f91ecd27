import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from '@jest/globals';

const pathOf = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));
const suite = pathOf('../long/pkcs11-chaos.mjs');
const { skipped } = (await import(suite)) as { skipped: string | undefined };

const maybe = skipped === undefined ? test : test.skip;

maybe(
  `one round of the chaos that test/long has fifty of${skipped ? ` (skipped: ${skipped})` : ''}`,
  async () => {
    const args = [pathOf('../../scripts/test-long.mjs'), '--slice', suite, '--cases', '1', '--seed', '1'];
    const { stdout } = await promisify(execFile)(process.execPath, args);
    for (const what of ['server killed', 'module slow', 'SIGKILL', 'SIGSEGV', 'SIGSTOP']) {
      expect(stdout).toContain(`pkcs11-chaos: ${what}`);
    }
    expect(stdout.match(/signed, none wrong/g)).toHaveLength(4);
  },
  120_000,
);
