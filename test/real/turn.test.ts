import { mkdtempSync, readFileSync, readlinkSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { takeTurn } from '../../src/turn.ts';
import { type Running, start } from '../helpers/cli.ts';
import { describeUnless } from '../helpers/exercised.ts';

const TAKER = fileURLToPath(new URL('../helpers/turn-taker.mjs', import.meta.url));
const WAITER = fileURLToPath(new URL('../helpers/turn-waiter.mjs', import.meta.url));
const describeLinux = await describeUnless('linux');

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

  test('50 that wait for one that is killed: one gets it, and then the next, each only after the one before', async () => {
    const path = join(dir, 'waited-for');
    const env = { HOLDFAST_TEST_DIST: process.env.HOLDFAST_TEST_DIST };
    const wait = (): Running => start([WAITER, path], { env });
    const tries = ({ seen }: Running): number => seen.stdout.split('.').length;
    const holders = (): Running[] => waiting.filter(({ seen }) => seen.stdout.includes('mine'));
    const until = async (isSo: () => boolean): Promise<void> => {
      while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 5));
    };
    const kill = async ({ child, finished }: Running): Promise<void> => {
      child.kill('SIGKILL');
      await finished;
    };
    let holder = wait();
    let waiting: Running[] = [];
    try {
      await holder.saw('mine');
      waiting = Array.from({ length: 50 }, wait);
      await until(() => waiting.every((one) => tries(one) > 3));
      expect(holders()).toEqual([]);
      for (let killed = 0; killed < 3; killed += 1) {
        await kill(holder);
        waiting = waiting.filter((one) => one !== holder);
        await until(() => holders().length > 0);
        holder = holders()[0] as Running;
        const before = new Map(waiting.map((one) => [one, tries(one)]));
        // Whoever could get it besides has had the opportunity.
        await until(() => waiting.every((one) => one === holder || tries(one) > (before.get(one) as number) + 5));
        expect(holders()).toEqual([holder]);
        expect(readlinkSync(path).split(' ')[0]).toBe(String(holder.child.pid));
      }
    } finally {
      await Promise.all([holder, ...waiting].map(kill));
    }
  }, 120_000);

  test('of a process that ended, and that nobody has asked about, is taken over', async () => {
    const path = join(dir, 'zombie');
    // `exec` leaves the shell's child, which ends later, to a program that never asks for it.
    const parent = start(['-c', 'sleep 0.5 & echo "$!."; exec sleep 600'], { program: '/bin/sh' });
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
