import { mkdtempSync, readFileSync, readlinkSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { takeTurn } from '../../src/stores/pkcs11/pin-turn.ts';
import { start } from '../helpers/cli.ts';

const TAKER = fileURLToPath(new URL('../helpers/turn-taker.mjs', import.meta.url));
const describeLinux = process.platform === 'linux' ? describe : describe.skip;

describeLinux('the turn among processes', () => {
  let dir: string;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'holdfast-turn-'));
  });
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  test('goes from one that was killed to one other, each of 2,000 times', async () => {
    const path = join(dir, 'contended');
    const env = { HOLDFAST_TEST_DIST: process.env.HOLDFAST_TEST_DIST };
    const takers = Array.from({ length: 4 }, () => start([TAKER, '500', path], { env }));
    const ended = await Promise.all(takers.map(({ finished }) => finished));
    expect(ended.map(({ stdout, stderr }) => stdout.trim() + stderr)).toEqual(['0', '0', '0', '0']);
  });

  test('of a process that ended, and that nobody has asked about, is taken over', async () => {
    const path = join(dir, 'zombie');
    // `exec` leaves the shell's child to a program that never asks for it.
    const parent = start(['-c', 'true & echo "$!."; exec sleep 600'], { program: '/bin/sh' });
    try {
      await parent.saw('.');
      const pid = Number.parseInt(parent.seen.stdout, 10);
      const status = (): string[] =>
        readFileSync(`/proc/${pid}/stat`, 'latin1')
          .replace(/^.*\) /s, '')
          .split(' ');
      while (status()[0] !== 'Z') await new Promise((resolve) => setTimeout(resolve, 5));
      symlinkSync(`${pid} ${status()[19]} ${readlinkSync('/proc/self/ns/pid')}`, path);
      expect(takeTurn(path)).toBeDefined();
    } finally {
      parent.child.kill('SIGKILL');
      await parent.finished;
    }
  });
});
