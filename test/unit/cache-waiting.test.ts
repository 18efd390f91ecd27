import { lstatSync, readFileSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { afterEach, expect, jest, test } from '@jest/globals';
import { HoldfastError, ServiceError } from '../../src/errors.ts';
import type { BoughtSession } from '../../src/serve/index.ts';
import { entry, keyOf, makeWorld, names, session, world } from '../helpers/cache-world.ts';
import { describeUnless } from '../helpers/exercised.ts';
import { rejectionOf } from '../helpers/thrown.ts';

makeWorld();

const describeLinux = await describeUnless('linux');

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

  test.each([
    ['a deadline', { deadline: 100 }],
    ['no deadline after half a minute', { deadline: undefined }],
  ])('and does not go on, it is not waited for any longer: %s', async (_, changes) => {
    const { turn, path } = await occupied();
    if (changes.deadline === undefined) hurryUp();
    // Several that gave up do not wait for each other.
    await Promise.all([session(changes), session(changes), session(changes)]);
    expect(world.told).toContainEqual(
      expect.stringMatching(
        `^note: the other holdfast \\(process ${process.ppid}\\) is not done after \\d+ s: this one`,
      ),
    );
    expect(world.told).toContainEqual(expect.stringMatching(/^debug: cache: miss in .+ \(waited \d+ s for another/));
    expect(lstatSync(turn).isSymbolicLink()).toBe(true);
    const before = world.bought;
    await session(changes); // what they bought they left
    expect([world.bought, lstatSync(path).isFile()]).toEqual([before, true]);
  });

  /** From now on a minute passes at each look at the steady clock. */
  function hurryUp(): void {
    let time = process.hrtime.bigint();
    jest.spyOn(process.hrtime, 'bigint').mockImplementation(() => {
      time += 16_000_000_000n;
      return time;
    });
  }
  afterEach(() => {
    jest.restoreAllMocks();
  });

  test('and fails the service alone, it does not take away what another one left', async () => {
    await occupied();
    const refusal = new ServiceError('ERR_SERVICE_FAILED', 'no');
    const buy = async (): Promise<never> => {
      await session({ deadline: 1 });
      throw refusal;
    };
    expect(await rejectionOf(session({ deadline: 1, buy }))).toBe(refusal);
    await session();
    expect(world.bought).toBe(1);
  });
});

describeLinux('while a person is asked', () => {
  /** Somebody who is asked, and when they may answer. */
  function asked(): { readonly isAsked: Promise<void>; readonly done: Promise<unknown>; readonly answer: () => void } {
    let [ask, answer] = [(): void => {}, (): void => {}];
    const isAsked = new Promise<void>((resolve) => {
      ask = resolve;
    });
    const isAnswered = new Promise<void>((resolve) => {
      answer = resolve;
    });
    const buy = async (handOver: () => void): Promise<BoughtSession> => {
      handOver();
      ask();
      await isAnswered;
      return { credentials: await session({ key: keyOf({ roleSessionName: 'me' }) }) };
    };
    return { isAsked, done: session({ asks: true, buy }), answer };
  }

  test('those who have the secret do not wait', async () => {
    const person = asked();
    await person.isAsked;
    await session();
    expect([world.bought, world.told.filter((line) => line.startsWith('note'))]).toEqual([1, []]);
    person.answer();
    await person.done;
    expect(names().filter((name) => /turn|asking/.test(name))).toEqual([]);
  });

  test('those who would ask as well do, and take what was bought with the answer', async () => {
    const person = asked();
    await person.isAsked;
    const waiting = Array.from({ length: 3 }, () => session({ asks: true, buy: () => Promise.reject(new Error()) }));
    await Promise.race([...waiting, new Promise((resolve) => setTimeout(resolve, 300))]);
    person.answer();
    expect(new Set(await Promise.all([person.done, ...waiting])).size).toBe(4);
    expect(world.bought).toBe(1);
    expect(names().filter((name) => /turn|asking/.test(name))).toEqual([]);
  });

  test('and does not answer, others ask in the end', async () => {
    const person = asked();
    await person.isAsked;
    await session({ asks: true, deadline: 50 });
    expect(world.bought).toBe(1);
    person.answer();
    await person.done;
  });
});
