import { HoldfastError, SecretError } from '../../errors.ts';
import { orAborted } from '../../limits.ts';
import { fault, nameOf, valueBehind } from './faults.ts';
import { Retired } from './pool.ts';

/** What signs until it is lost. */
export interface Holding {
  /** Settled once no call of its is in flight; the same each time. */
  retire(): Promise<void>;
}

/** One way to have a lost key again. */
export interface Rung<H> {
  /** For a person: `a new login`. */
  readonly name: string;
  /**
   * @param lost what is retired by now
   * @returns undefined where it is not possible here
   */
  climb(signal: AbortSignal, lost: H): Promise<H | undefined>;
  /** What to do where it is not possible. */
  readonly otherwise?: string;
}

export interface LadderOptions<H> {
  /** The least of them first. */
  readonly rungs: readonly Rung<H>[];
  /** Whether an error means that the key is lost, and may be had again. */
  readonly isLost: (thrown: unknown) => boolean;
  /** Each signature costs a person something: what is lost is had again for the next one only. */
  readonly attended: boolean;
  /** `key "web" on token "prod"`. */
  readonly description: string;
}

/** What somebody saw fail. */
export interface Lost<H> {
  readonly held: H;
  readonly thrown: unknown;
}

export interface Ladder<H> {
  /**
   * Use the key; where it is lost, have it again and use it once more. All who lost it climb together, nobody climbs a
   * rung twice, and a rung that fails is followed by the next one.
   *
   * @param seen a use that failed already
   * @throws what `use` throws; {HoldfastError} which says what was tried
   */
  run<T>(use: (held: H) => Promise<T>, signal: AbortSignal, seen?: Lost<H>): Promise<T>;
  /** What is held, once nobody climbs any more. */
  settled(): Promise<H>;
}

/** Somebody's way up. */
interface Climb {
  waiting: number;
  /** Nobody waited any more. */
  abandoned: boolean;
  readonly stop: AbortController;
  readonly done: Promise<void>;
}

export function makeLadder<H extends Holding>(first: H, options: LadderOptions<H>): Ladder<H> {
  const { rungs, isLost, attended, description } = options;
  let held = first;
  /** Why `held` is of no use. */
  let lostBy: { readonly thrown: unknown } | undefined;
  /** The rung that `held` came from. */
  let reached = 0;
  let climbing: Climb | undefined;

  async function climb(from: number, thrown: unknown, signal: AbortSignal): Promise<void> {
    lostBy = { thrown };
    const tried = rungs.slice(0, from).map(({ name }) => name);
    let failed: unknown;
    let otherwise: string | undefined;
    for (const [index, rung] of rungs.entries()) {
      if (index < from) continue;
      try {
        await orAborted(held.retire(), signal);
        const fresh = await rung.climb(signal, held);
        if (fresh) {
          held = fresh;
          reached = index;
          lostBy = undefined;
          return;
        }
        otherwise = rung.otherwise;
      } catch (error) {
        failed = error;
        tried.push(rung.name);
        if (signal.aborted || !isLost(error)) break;
      }
    }
    throw failed === undefined ? stillLost(thrown, tried, otherwise) : notBack(thrown, tried, failed, otherwise);
  }

  function start(from: number, thrown: unknown): void {
    const stop = new AbortController();
    const done = climb(from, thrown, stop.signal).finally(() => {
      climbing = undefined;
    });
    done.catch(() => undefined); // for those who wait
    climbing = { waiting: 0, abandoned: false, stop, done };
  }

  async function join(one: Climb, signal: AbortSignal): Promise<void> {
    if (one.abandoned) {
      await orAborted(
        one.done.catch(() => undefined),
        signal,
      );
      return;
    }
    one.waiting += 1;
    try {
      await orAborted(one.done, signal);
    } catch (error) {
      throw signal.aborted && lostBy ? underWay(lostBy.thrown, error) : error;
    } finally {
      one.waiting -= 1;
      if (one.waiting === 0 && signal.aborted) {
        one.abandoned = true;
        one.stop.abort(signal.reason);
      }
    }
  }

  /** @param next the first rung that may be climbed for this use */
  async function useful(lost: Lost<H> | undefined, next: number, signal: AbortSignal): Promise<H> {
    for (;;) {
      signal.throwIfAborted();
      if (climbing) await join(climbing, signal);
      else if (!lostBy && held !== lost?.held) return held;
      else start(next, lostBy?.thrown ?? lost?.thrown);
    }
  }

  async function run<T>(use: (held: H) => Promise<T>, signal: AbortSignal, seen?: Lost<H>): Promise<T> {
    let lost = seen;
    let next = 0;
    for (;;) {
      // What was given up by others while this waited for its turn was not tried.
      const counts = lost !== undefined && !(lost.thrown instanceof Retired);
      if (lost && counts) {
        if (signal.aborted || !isLost(lost.thrown)) throw told(lost.thrown, next);
        if (attended && held === lost.held) lostBy ??= lost;
        if (attended) throw notAgain(lost.thrown);
        if (next >= rungs.length) throw told(lost.thrown, next);
      }
      const now = await useful(lost, next, signal);
      if (counts) next = Math.max(next, reached) + 1;
      try {
        return await use(now);
      } catch (thrown) {
        lost = { held: now, thrown };
      }
    }
  }

  /** @param climbed how many rungs */
  const told = (thrown: unknown, climbed: number): unknown =>
    climbed === 0 || thrown instanceof SecretError || !isLost(thrown)
      ? thrown
      : stillLost(
          thrown,
          rungs.slice(0, climbed).map(({ name }) => name),
        );

  function stillLost(thrown: unknown, tried: readonly string[], otherwise?: string): HoldfastError {
    const after = tried.length > 0 ? `also after ${tried.join(' and ')}` : '';
    return thrown instanceof HoldfastError
      ? retold(thrown, after ? `${after}: ${thrown.message}` : thrown.message, otherwise)
      : fault('ERR_SIGNING_FAILED', `${description} did not sign${after && `, ${after}`}`, thrown, otherwise);
  }

  function notBack(thrown: unknown, tried: readonly string[], failed: unknown, otherwise?: string): HoldfastError {
    const lost = `${description} was lost (${reasonOf(thrown)}) and did not come back with ${tried.join(' and ')}`;
    return failed instanceof HoldfastError
      ? retold(failed, `${lost}: ${failed.message}`, otherwise)
      : fault('ERR_TOKEN_FAILED', lost, failed, otherwise);
  }

  const underWay = (thrown: unknown, error: unknown): unknown =>
    error instanceof HoldfastError
      ? retold(error, `${error.message}; it was lost (${reasonOf(thrown)}) and was to be had again meanwhile`)
      : error;

  const notAgain = (thrown: unknown): HoldfastError => {
    const hint = 'look after the token, then sign again yourself: nothing signs unasked with a key that needs a person';
    return thrown instanceof HoldfastError
      ? retold(thrown, thrown.message, hint)
      : fault('ERR_SIGNING_FAILED', `${description} did not sign`, thrown, hint);
  };

  return {
    run,
    async settled() {
      await climbing?.done.catch(() => undefined);
      return held;
    },
  };
}

/** The same error in other words. */
function retold(error: HoldfastError, message: string, hint: string | undefined = error.hint): HoldfastError {
  return error instanceof SecretError
    ? new SecretError(error.code, message, { hint, triesLeft: error.triesLeft, cause: error })
    : new HoldfastError(error.code, message, { hint, cause: error });
}

/** `CKR_DEVICE_REMOVED`, or a code of ours. */
const reasonOf = (thrown: unknown): string =>
  valueBehind(thrown) === undefined && thrown instanceof HoldfastError ? thrown.code : nameOf(valueBehind(thrown));
