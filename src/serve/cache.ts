import { ServiceError, systemCodeOf } from '../errors.ts';
import { findRuntimeDir } from '../runtime-dir.ts';
import type { Credentials } from '../session-answer.ts';
import { holderInWords, takeTurn, turnWhen } from '../turn.ts';
import { contentsOf } from './cache-content.ts';
import { type CacheEntry, type CacheFile, cacheFileOf, sweep } from './cache-entry.ts';
import { type CacheKey, LEAST_LEFT } from './cache-key.ts';

export interface BoughtSession {
  readonly credentials: Credentials;
  /** Milliseconds by which the service's clock is ahead of ours, as far as it is known. Default: 0. */
  readonly skew?: number | undefined;
}

export interface SharedSessionOptions {
  /**
   * Called at most once, when nobody has left a session that is good for long enough.
   *
   * @param handOver to be called before a person is asked: from then on others may buy who have their secret
   */
  buy: (handOver: () => void) => Promise<BoughtSession>;
  /** Whether a person is asked where a secret is needed. Default: false. */
  asks?: boolean | undefined;
  signal: AbortSignal;
  /** Milliseconds to wait for others at most. Default: 30 seconds. */
  deadline?: number | undefined;
  /** Told what happens; `note` is for the person who waits. No secret is in it. */
  tell: (label: 'note' | 'debug', message: string) => void;
  /** Default: the system's. */
  clock?: CacheClock | undefined;
}

export interface CacheClock {
  /** Milliseconds since 1970. */
  now(): number;
  /** Milliseconds of a clock that nobody sets, the same for all processes. */
  steady(): number;
}

/** `performance` costs a start two milliseconds. */
const SYSTEM: CacheClock = {
  now: () => Date.now(),
  steady: () => Number(process.hrtime.bigint() / 1_000_000n),
};

/** Milliseconds between two looks whether another process is done. Two hundred wait at a tenth of one core. */
const PAUSES = { first: 5, most: 200 };

/** Milliseconds of waiting after which a person is told. */
const SILENCE = 1000;

/**
 * Milliseconds of waiting after which one buys alone. Whoever runs `credential_process` may have a limit too (the AWS SDK
 * for Go: a minute), and half of that is left for the purchase.
 */
const PATIENCE = 30_000;

/** Milliseconds by which a clock may be set back without being one that was set back. */
const TOLERANCE = 5000;

/**
 * A session for this key out of the private directory of this user; else one that is bought and left there. Of all
 * processes that want the same one, one buys while the others wait, though not for ever. What goes wrong with the cache is
 * no error: then the session is bought as without one.
 *
 * @throws what `buy` throws; the signal's reason
 */
export async function sharedSession(key: CacheKey, options: SharedSessionOptions): Promise<Credentials> {
  const { buy, signal, tell, clock = SYSTEM } = options;
  const directory = findRuntimeDir();
  if (directory.path === undefined) {
    tell('debug', `cache: off, ${directory.why}`);
    return (await buy(() => {})).credentials;
  }
  const file = cacheFileOf(directory.path, key);
  const found = await turnWhen(patiently(file, options, clock.now()), signal, PAUSES);
  if (found.credentials) {
    tell('debug', `cache: hit in ${file.path}`);
    return found.credentials;
  }
  tell('debug', `cache: miss in ${file.path}${found.why === undefined ? '' : ` (${found.why})`}`);
  const contents = contentsOf(key.files); // before: what they hold afterwards may not be what the session is for
  const leaveFor = (entry: Pick<CacheEntry, 'left' | 'credentials'>): void => {
    if (contents === undefined) return;
    try {
      if (entry.credentials === undefined && usable(file.read(), clock)) return; // another one had more luck
      file.write({ at: clock.now(), steady: clock.steady(), ...entry }, contents);
      sweep(directory.path, clock.now());
    } catch (error) {
      tell('debug', `cache: nothing was left for others (${reasonOf(error)})`);
    }
  };
  try {
    const { credentials, skew = 0 } = await buy(() => found.handOver?.());
    // None is good for longer than was asked for, whatever the clocks say of it.
    const left = Math.min(credentials.expiration.getTime() - clock.now() - skew, key.life);
    leaveFor({ left, credentials });
    return credentials;
  } catch (thrown) {
    // Those who wait for a service that is away may as well find out together. Before a token, or a person with a PIN, they
    // stay in line.
    if (thrown instanceof ServiceError) leaveFor({ left: 0, credentials: undefined });
    throw thrown;
  } finally {
    found.leave?.();
  }
}

/** Credentials, or the right to buy some: with the turn, or without it where there is a reason why. */
type Found = { readonly credentials: Credentials } | ({ readonly credentials?: undefined } & (Turn | NoTurn));

interface NoTurn {
  readonly why: string;
  readonly handOver?: undefined;
  readonly leave?: undefined;
}

interface Turn {
  readonly why?: undefined;
  readonly handOver: () => void;
  readonly leave: () => void;
}

/** What {@link look} finds, again and again until there was time enough for anybody to buy a session. */
function patiently(
  file: CacheFile,
  { asks = false, deadline = PATIENCE, tell, clock = SYSTEM }: SharedSessionOptions,
  begun: number,
): () => Found | undefined {
  let since: number | undefined;
  let isSaid = false;
  return () => {
    const found = look(file, asks, begun, clock);
    if (found) return found;
    const time = SYSTEM.steady();
    since ??= time;
    const holder = (): string =>
      (asks ? holderInWords(file.asking) : undefined) ?? holderInWords(file.turn) ?? 'that has just ended';
    if (time - since >= deadline) {
      const seconds = Math.round(deadline / 1000);
      tell(
        'note',
        `the other holdfast (process ${holder()}) is not done after ${seconds} s: this one buys its own session`,
      );
      return { why: `waited ${seconds} s for another process` };
    }
    if (time - since >= SILENCE && !isSaid) {
      isSaid = true;
      tell('note', `waiting for another holdfast (process ${holder()}), which is buying this session for all`);
    }
    return undefined;
  };
}

/** @returns undefined while another process buys */
function look(file: CacheFile, asks: boolean, begun: number, clock: CacheClock): Found | undefined {
  const entry = file.read();
  const credentials = usable(entry, clock);
  if (credentials) return { credentials };
  // Somebody has tried in the meantime, and it helps nobody else: the service failed, or gave a session that is too short.
  // To go on one after the other would make the last one wait for the failures of all.
  if (entry && entry.at > begun) return { why: 'the one that was waited for left nothing' };
  try {
    const turn = take(file, asks);
    if (!turn) return undefined;
    const left = usable(file.read(), clock); // by who had the turn until now
    if (!left) return turn;
    turn.leave();
    return { credentials: left };
  } catch (error) {
    return { why: reasonOf(error) };
  }
}

/**
 * Who asks a person needs two locks, and keeps the second while they type: those who have their secret do not wait for a
 * terminal, and of those who would ask as well one asks at a time. What is typed on one terminal reaches any of several
 * that read there, and a PIN in pieces costs a try.
 */
function take(file: CacheFile, asks: boolean): Turn | undefined {
  const end = asks ? takeTurn(file.asking) : () => {};
  if (!end) return undefined;
  let leave: (() => void) | undefined;
  try {
    leave = takeTurn(file.turn);
  } finally {
    if (!leave) quietly(end)();
  }
  if (!leave) return undefined;
  const handOver = quietly(leave);
  return {
    handOver,
    leave() {
      handOver();
      quietly(end)();
    },
  };
}

/**
 * Credentials that are good for long enough. Their end is a time of the service's clock, and ours may be wrong: what counts
 * is how long they were good when they were left, and how long that was ago. After a clock was set back nobody may know.
 */
function usable(entry: CacheEntry | undefined, clock: CacheClock): Credentials | undefined {
  if (!entry) return undefined;
  const [ago, steady] = [clock.now() - entry.at, clock.steady() - entry.steady];
  if (ago < -TOLERANCE || steady < 0) return undefined;
  return entry.left - Math.max(ago, steady) > LEAST_LEFT ? entry.credentials : undefined;
}

const reasonOf = (error: unknown): string => systemCodeOf(error) ?? String(error);

/** A lock that cannot be given back is taken over once this process has ended. */
function quietly(leave: () => void): () => void {
  return () => {
    try {
      leave();
    } catch {
      // The session is bought.
    }
  };
}
