import { sleep } from '../limits.ts';

/** Milliseconds before the end of a session at which the next one is bought, and no more than a third of its life. */
const BEFORE = 5 * 60_000;

/** By how much of that a refresh is earlier at most, so that a thousand machines do not come at once. */
const JITTER = 0.1;

/** Milliseconds between two sessions at least, however short they live. */
const LEAST = 1000;

/** Milliseconds after a failure: doubled each time, up to the last. */
const RETRY = { first: 5000, last: 300_000 } as const;

/** Milliseconds between two looks at the clock: it may have been set, or the machine was suspended. */
const LOOK = 20_000;

export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
  /** Milliseconds of a clock that nobody sets, and that may stand still while the machine is suspended. */
  steady(): number;
  sleep(milliseconds: number, signal: AbortSignal): Promise<void>;
}

const SYSTEM: Clock = { now: () => Date.now(), steady: () => performance.now(), sleep };

/**
 * When the next session is bought.
 *
 * @param now and `expires`: milliseconds since 1970, by the same clock
 * @param random from 0 to 1
 */
export function refreshTime(now: number, expires: number, random: number = Math.random()): number {
  const before = Math.min(BEFORE, (expires - now) / 3);
  return Math.max(now + LEAST, expires - before * (1 + JITTER * random));
}

/** Milliseconds from one failure to the next try. @param failures before this one, without a success between them */
export const backOff = (failures: number, random: number = Math.random()): number =>
  Math.min(RETRY.last, RETRY.first * 2 ** failures) * (0.5 + random / 2);

/**
 * Wait until a time by the system's clock, but no longer than it was away at first: after a suspension the time is over at
 * once, and a clock that is set back does not make a session end unseen.
 *
 * @throws the signal's reason
 */
export async function waitUntil(time: number, signal: AbortSignal, clock: Clock = SYSTEM): Promise<void> {
  const end = clock.steady() + time - clock.now();
  for (;;) {
    signal.throwIfAborted();
    const left = Math.min(time - clock.now(), end - clock.steady());
    if (left <= 0) return;
    await clock.sleep(Math.min(left, LOOK), signal);
  }
}
