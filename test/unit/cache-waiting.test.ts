import { lstatSync, readFileSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { expect, test } from '@jest/globals';
import { HoldfastError, ServiceError } from '../../src/errors.ts';
import { describeLinux, entry, makeWorld, names, session, world } from '../helpers/cache-world.ts';
import { rejectionOf } from '../helpers/thrown.ts';

makeWorld();

describeLinux('while another process buys', () => {
  const startOf = (pid: number): string =>
    readFileSync(`/proc/${pid}/stat`, 'latin1')
      .replace(/^.*\) /s, '')
      .split(' ')[19] as string;
  /** The turn of a process that lives as long as this one. */
  async function occupied(): Promise<{ readonly turn: string; readonly text: string; readonly path: string }> {
    await session();
    const path = entry();
    const text = readFileSync(path, 'utf8');
    rmSync(path);
    world.bought = 0;
    world.told = [];
    symlinkSync(`${process.ppid} ${startOf(process.ppid)} ${readlinkSync('/proc/self/ns/pid')}`, `${path}.turn`);
    return { turn: `${path}.turn`, text, path };
  }
  const untilTold = (what: string): Promise<void> =>
    new Promise((resolve) => {
      const timer = setInterval(() => {
        if (!world.told.some((line) => line.includes(what))) return;
        clearInterval(timer);
        resolve();
      }, 5);
    });

  test('it is waited for, a person learns of it, and what it leaves is taken', async () => {
    const { path, text, turn } = await occupied();
    const waiting = session();
    await untilTold(`waiting for another holdfast (process ${process.ppid})`);
    writeFileSync(path, text, { mode: 0o600 });
    expect((await waiting).accessKeyId).toBe('ASIA1');
    expect(world.bought).toBe(0);
    expect(lstatSync(turn).isSymbolicLink()).toBe(true); // it was never ours
    expect(world.told.filter((line) => line.startsWith('note:'))).toHaveLength(1);
  });

  test('the wait can be ended, and leaves the other one its turn', async () => {
    const { turn } = await occupied();
    const stop = new AbortController();
    const reason = new HoldfastError('ERR_INTERRUPTED', 'enough');
    const waiting = rejectionOf(session({ signal: stop.signal }));
    stop.abort(reason);
    expect(await waiting).toBe(reason);
    expect([world.bought, names()]).toEqual([0, [turn.slice(turn.lastIndexOf('/') + 1)]]);
  });

  test('that ended without a session: the next one buys', async () => {
    const { turn } = await occupied();
    const waiting = session();
    rmSync(turn);
    await waiting;
    expect([world.bought, names()]).toEqual([1, [expect.not.stringContaining('turn')]]);
  });

  test('and gets none from the service, those who wait go on by themselves', async () => {
    const { path, text } = await occupied();
    const waiting = session();
    const { credentials: _, ...failed } = JSON.parse(text) as { credentials: unknown };
    world.now += 1;
    writeFileSync(path, JSON.stringify({ ...failed, at: world.now }), { mode: 0o600 });
    await waiting;
    expect(world.bought).toBe(1);
    expect(world.told).toContainEqual(expect.stringContaining('left nothing'));
  });

  test('the turn is given back whatever becomes of the session', async () => {
    const failure = new HoldfastError('ERR_SECRET_WRONG', 'no');
    expect(await rejectionOf(session({ buy: () => Promise.reject(failure) }))).toBe(failure);
    expect(names()).toEqual([]);
    const refusal = new ServiceError('ERR_SERVICE_FAILED', 'no');
    expect(await rejectionOf(session({ buy: () => Promise.reject(refusal) }))).toBe(refusal);
    expect(names()).toHaveLength(1);
    await session(); // a failure before this one began is none of its own
    expect([world.bought, names()]).toEqual([1, [expect.not.stringContaining('turn')]]);
  });
});
