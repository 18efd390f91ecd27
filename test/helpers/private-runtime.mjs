// For every test file: what holdfast remembers of refused PINs stays among the processes of one test. Otherwise the tokens
// of all files, which are alike, would share one memory, and that would outlive the run.
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach } from '@jest/globals';

// Elsewhere nothing is remembered: Linux has a file system in memory for everybody.
if (process.platform === 'linux') {
  let base;
  beforeAll(() => {
    base = mkdtempSync('/dev/shm/holdfast-test-');
    process.env.XDG_RUNTIME_DIR = base;
  });
  beforeEach(() => rmSync(join(base, 'holdfast'), { recursive: true, force: true }));
  afterAll(() => rmSync(base, { recursive: true, force: true }));
}
