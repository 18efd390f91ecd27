import { describe, expect, test } from '@jest/globals';
import { backOff, type Clock, refreshTime, waitUntil } from '../../src/cli/refresh-times.ts';
import { HoldfastError } from '../../src/errors.ts';
import { rejectionOf } from '../helpers/thrown.ts';

const MINUTE = 60_000;

describe('when the next session is bought', () => {
  test.each([
    ['12 hours', 720 * MINUTE, 715 * MINUTE, 714.5 * MINUTE],
    ['an hour', 60 * MINUTE, 55 * MINUTE, 54.5 * MINUTE],
    ['15 minutes', 15 * MINUTE, 10 * MINUTE, 9.5 * MINUTE],
    ['6 seconds', 6000, 4000, 3800],
    ['a second', 1000, 1000, 1000],
    ['nothing, by a clock that is wrong', -MINUTE, 1000, 1000],
  ])('of a life of %s', (_, life, latest, earliest) => {
    expect(refreshTime(0, life, 0)).toBeCloseTo(latest, 6);
    expect(refreshTime(0, life, 1)).toBeCloseTo(earliest, 6);
  });

  test('after failures: doubled, up to five minutes, never at once', () => {
    expect(Array.from({ length: 9 }, (_, failures) => backOff(failures, 1) / 1000)).toEqual([
      5, 10, 20, 40, 80, 160, 300, 300, 300,
    ]);
    expect(backOff(0, 0)).toBe(2500);
    expect(backOff(5000, 0)).toBe(150_000);
  });
});

/** A clock that moves when somebody sleeps; `jumps` says what else happens to it in the nth sleep. */
function clockThat(jumps: Readonly<Record<number, Partial<Record<'now' | 'steady', number>>>> = {}): Clock & {
  readonly slept: number[];
} {
  let now = 1_800_000_000_000;
  let steady = 500;
  const slept: number[] = [];
  return {
    slept,
    now: () => now,
    steady: () => steady,
    sleep: (milliseconds) => {
      const jump = jumps[slept.push(milliseconds)];
      now += milliseconds + (jump?.now ?? 0);
      steady += milliseconds + (jump?.steady ?? 0);
      return Promise.resolve();
    },
  };
}

const { signal: never } = new AbortController();

describe('the wait', () => {
  test('looks at the clock at least once a minute', async () => {
    const clock = clockThat();
    await waitUntil(clock.now() + 55 * MINUTE, never, clock);
    expect(Math.max(...clock.slept)).toBeLessThanOrEqual(MINUTE);
    expect(clock.slept.reduce((sum, one) => sum + one)).toBe(55 * MINUTE);
  });

  test('is over once the machine wakes up', async () => {
    const clock = clockThat({ 2: { now: 60 * MINUTE } });
    await waitUntil(clock.now() + 55 * MINUTE, never, clock);
    expect(clock.slept).toHaveLength(2);
  });

  test('takes no longer when the clock is set back', async () => {
    const clock = clockThat({ 2: { now: -600 * MINUTE } });
    await waitUntil(clock.now() + 55 * MINUTE, never, clock);
    expect(clock.slept.reduce((sum, one) => sum + one)).toBe(55 * MINUTE);
  });

  test('is none for a time that is over', async () => {
    const clock = clockThat();
    await waitUntil(clock.now() - 1, never, clock);
    expect(clock.slept).toEqual([]);
  });

  test('ends with the signal, and by the system', async () => {
    const stop = new AbortController();
    const waiting = rejectionOf(waitUntil(Date.now() + 60 * MINUTE, stop.signal));
    stop.abort(new HoldfastError('ERR_INTERRUPTED', 'interrupted'));
    expect((await waiting).code).toBe('ERR_INTERRUPTED');
    await waitUntil(Date.now() + 5, never);
  });
});
