import { SecretError } from '../../errors.ts';
import { withoutEndingZeros } from './bytes.ts';
import { properties } from './commands.ts';
import { IN_LOCKOUT, PT } from './constants.ts';
import type { Tpm } from './execute.ts';
import { hashOf } from './hashes.ts';

/** How a TPM keeps people from guessing (TPM 2.0 Part 1 §19.8): one count for all keys that take part. */
export interface Lockout {
  readonly locked: boolean;
  /** Wrong authValues that it still takes; undefined when it does not say. */
  readonly triesLeft: number | undefined;
  /** There were wrong ones, which it has not forgotten. */
  readonly tried: boolean;
  /** Seconds after which one try is given back; 0 for never. */
  readonly interval: number;
}

/** Read without trying anything. */
export async function readLockout(tpm: Tpm): Promise<Lockout> {
  const found = await properties(tpm, PT.PERMANENT, PT.LOCKOUT_RECOVERY - PT.PERMANENT + 1);
  const [counter, most] = [found.get(PT.LOCKOUT_COUNTER), found.get(PT.MAX_AUTH_FAIL)];
  return {
    locked: ((found.get(PT.PERMANENT) ?? 0) & IN_LOCKOUT) !== 0,
    triesLeft: counter === undefined || most === undefined ? undefined : Math.max(0, most - counter),
    tried: (counter ?? 0) > 0,
    interval: found.get(PT.LOCKOUT_INTERVAL) ?? 0,
  };
}

/**
 * Look before a counted authValue is tried.
 *
 * @param name of the TPM
 * @param stored nobody was asked for it: it is not spent on the last try
 * @throws {SecretError} `ERR_SECRET_LOCKED`, `ERR_SECRET_LAST_TRY`
 */
export async function checkTries(tpm: Tpm, name: string, stored: boolean): Promise<Lockout> {
  const lockout = await readLockout(tpm);
  if (lockout.locked) throw lockedError(name, lockout);
  if (!stored || lockout.triesLeft === undefined || lockout.triesLeft > 1) return lockout;
  throw new SecretError(
    'ERR_SECRET_LAST_TRY',
    `the ${name} has one try left before its lockout, and a stored authValue is not spent on it`,
    {
      hint: 'enter it yourself once, where you are asked for it, or wait until the TPM forgets a wrong one',
      triesLeft: 1,
    },
  );
}

/**
 * Refuse what no authValue can be: it would only be counted (TPM 2.0 Part 3 §12.1: at most as long as a digest of the name
 * algorithm).
 *
 * @param name what it is for, without an article
 * @throws {SecretError} `ERR_SECRET_WRONG`
 */
export function checkLength(authValue: Uint8Array, nameAlg: number, name: string): void {
  const most = hashOf(nameAlg)?.size ?? 0;
  if (withoutEndingZeros(authValue).length <= most) return;
  throw new SecretError(
    'ERR_SECRET_WRONG',
    `the authValue for the ${name} has more than ${most} bytes, which none has`,
    {
      hint: 'check where it comes from; nothing was tried',
    },
  );
}

/** The error for a TPM in lockout, which says when it recovers. */
export function lockedError(name: string, { interval }: Lockout, cause?: unknown): SecretError {
  const wait =
    interval > 0 ? `wait: it allows one more try every ${inWords(interval)}` : 'it does not recover by itself';
  return new SecretError(
    'ERR_SECRET_LOCKED',
    `the ${name} is in lockout: wrong authValues were tried too often (TPM_RC_LOCKOUT)`,
    {
      hint: `${wait}; or clear it with the lockout authorisation (tpm2_dictionarylockout --clear-lockout)${cause ? '' : '; nothing was tried'}`,
      triesLeft: 0,
      cause,
    },
  );
}

function inWords(seconds: number): string {
  const [size, unit] = (
    [
      [86_400, 'day'],
      [3_600, 'hour'],
      [60, 'minute'],
      [1, 'second'],
    ] as const
  ).find(([each]) => seconds % each === 0 && seconds >= each) as readonly [number, string];
  const count = seconds / size;
  return count === 1 ? unit : `${count} ${unit}s`;
}
