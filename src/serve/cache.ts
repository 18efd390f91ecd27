import { ServiceError, systemCodeOf } from '../errors.ts';
import { findRuntimeDir } from '../runtime-dir.ts';
import type { Credentials } from '../session-answer.ts';
import { holderInWords, takeTurn, turnWhen } from '../turn.ts';
import { contentsOf } from './cache-content.ts';
import { type CacheEntry, type CacheFile, cacheFileOf, sweep } from './cache-entry.ts';
import { type CacheKey, LEAST_LEFT } from './cache-key.ts';

export interface SharedSessionOptions {
  /** Called at most once, when nobody has left a session that is good for long enough. */
  buy: () => Promise<Credentials>;
  signal: AbortSignal;
  /** Told what happens; `note` is for the person who waits. No secret is in it. */
  tell: (label: 'note' | 'debug', message: string) => void;
  /** Default: the system's clock. */
  now?: (() => Date) | undefined;
}

/** Milliseconds between two looks whether another process is done. Two hundred wait at a tenth of one core. */
const PAUSES = { first: 5, most: 200 };

/** Nanoseconds of waiting after which a person is told. */
const SILENCE = 1_000_000_000n;

/**
 * A session for this key out of the private directory of this user; else one that is bought and left there. Of all
 * processes that want the same one, one buys while the others wait. What goes wrong with the cache is no error: then the
 * session is bought as without one.
 *
 * @throws what `buy` throws; the signal's reason
 */
export async function sharedSession(key: CacheKey, options: SharedSessionOptions): Promise<Credentials> {
  const { buy, signal, tell, now = () => new Date() } = options;
  const directory = findRuntimeDir();
  if (directory.path === undefined) {
    tell('debug', `cache: off, ${directory.why}`);
    return buy();
  }
  const file = cacheFileOf(directory.path, key);
  const begun = now().getTime();
  const found = await turnWhen(
    sayingWhom(() => look(file, key, begun, now), file, tell),
    signal,
    PAUSES,
  );
  if (found.credentials) {
    tell('debug', `cache: hit in ${file.path}`);
    return found.credentials;
  }
  tell('debug', `cache: miss in ${file.path}${found.why === undefined ? '' : ` (${found.why})`}`);
  const contents = contentsOf(key.files); // before: what they hold afterwards may not be what the session is for
  const leaveFor = (credentials: Credentials | undefined): void => {
    if (contents === undefined) return;
    try {
      file.write({ at: now().getTime(), credentials }, contents);
      sweep(directory.path, now().getTime());
    } catch (error) {
      tell('debug', `cache: nothing was left for others (${reasonOf(error)})`);
    }
  };
  try {
    const credentials = await buy();
    leaveFor(credentials);
    return credentials;
  } catch (thrown) {
    // Those who wait for a service that is away may as well find out together. Before a token, or a person with a PIN, they
    // stay in line.
    if (thrown instanceof ServiceError) leaveFor(undefined);
    throw thrown;
  } finally {
    found.leave?.();
  }
}

/** Credentials, or the right to buy some: with the turn, or without it where there is a reason why. */
type Found =
  | { readonly credentials: Credentials }
  | { readonly credentials?: undefined; readonly leave?: () => void; readonly why?: string };

/** @returns undefined while another process buys */
function look(file: CacheFile, key: CacheKey, begun: number, now: () => Date): Found | undefined {
  const entry = file.read();
  const credentials = usable(entry, key, now());
  if (credentials) return { credentials };
  // Somebody has tried in the meantime, and it helps nobody else: the service failed, or gave a session that is too short.
  // To go on one after the other would make the last one wait for the failures of all.
  if (entry && entry.at > begun) return { why: 'the one that was waited for left nothing' };
  try {
    const take = takeTurn(file.turn);
    if (!take) return undefined;
    const leave = quietly(take);
    const left = usable(file.read(), key, now()); // by who had the turn until now
    if (!left) return { leave };
    leave();
    return { credentials: left };
  } catch (error) {
    return { why: reasonOf(error) };
  }
}

/**
 * Credentials that are good for long enough. Ones that seem good for longer than was asked for are not taken: the clock
 * was set back, and nobody knows how long they really are.
 */
function usable(entry: CacheEntry | undefined, { life }: CacheKey, now: Date): Credentials | undefined {
  const left = (entry?.credentials?.expiration.getTime() ?? 0) - now.getTime();
  return left > LEAST_LEFT && left <= life + LEAST_LEFT ? entry?.credentials : undefined;
}

/** The same, but a person learns once whom this waits for. */
function sayingWhom<T>(
  ask: () => T | undefined,
  file: CacheFile,
  tell: SharedSessionOptions['tell'],
): () => T | undefined {
  let since: bigint | undefined;
  let isSaid = false;
  return () => {
    const answer = ask();
    if (answer !== undefined || isSaid) return answer;
    const time = process.hrtime.bigint(); // `performance` costs a start two milliseconds
    since ??= time;
    if (time - since >= SILENCE) {
      isSaid = true;
      const holder = holderInWords(file.turn) ?? 'that has just ended';
      tell('note', `waiting for another holdfast (process ${holder}), which is buying this session for all`);
    }
    return answer;
  };
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
