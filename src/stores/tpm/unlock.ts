import { HoldfastError, SecretError } from '../../errors.ts';
import { orAborted } from '../../limits.ts';
import { askSecret, asksPerson, Secret, type SecretRequest, type SecretSource } from '../../secret.ts';
import type { OpenOptions } from '../store.ts';
import { checkAuth, flush, startSession } from './commands.ts';
import type { Tpm } from './execute.ts';
import { sendOnce } from './guard.ts';
import type { Hold } from './hold.ts';
import { authorizationFor, type Loaded } from './load-key.ts';
import { checkLength, checkTries, lockedError, readLockout } from './lockout.ts';
import { has } from './public-area.ts';
import { isResponse, RC, type TpmError } from './response-codes.ts';
import { LostError } from './socket.ts';

/** A key that may want an authValue. */
export interface Lock {
  readonly hold: Hold<Loaded>;
  /** What the key, and what its TPM is called, without an article. */
  readonly name: string;
  readonly deviceName: string;
  readonly source: SecretSource | undefined;
  /** What the key file says: a hint. */
  readonly emptyAuth: boolean | undefined;
  readonly options: OpenOptions;
  /** What a person runs to have a refused authValue sent once more. */
  readonly retry: string;
}

/**
 * The authValue of a key, which is right by then, asked for when nothing else is left. The caller wipes it.
 *
 * Whether a key has one, no TPM tells. A stored one is tried at once. Else the empty one is tried where that costs nothing
 * (a key whose wrong tries are not counted), where the key file says that it has none, or where there is nobody to ask.
 *
 * @throws {SecretError} `ERR_SECRET_REQUIRED`, `ERR_SECRET_WRONG`, `ERR_SECRET_LAST_TRY`, `ERR_SECRET_LOCKED`
 */
export async function unlock(lock: Lock, signal: AbortSignal): Promise<Secret> {
  const { key, policy } = await lock.hold.use(async (loaded) => loaded, signal);
  const counted = !has(key.area, 'noDA');
  if (policy && !policy.wantsAuth) return new Secret('');
  const { source } = lock;
  const stored = source !== undefined && !asksPerson(source);
  const request: SecretRequest = { kind: 'PIN', of: lock.name, purpose: lock.options.purpose };
  if (!stored && (!counted || lock.emptyAuth === true || source === undefined)) {
    const empty = new Secret('');
    if (await takesEmpty(lock, empty, key.name, counted, signal)) return empty;
    if (source === undefined) return askSecret(undefined, request);
  }
  const triesLeft = counted
    ? (await lock.hold.use((_, tpm) => checkTries(tpm, lock.deviceName, stored), signal)).triesLeft
    : undefined;
  const asking = askSecret(source, { ...request, triesLeft });
  asking.then(
    (late) => signal.aborted && late.wipe(),
    () => {},
  );
  const secret = await orAborted(asking, signal);
  try {
    checkLength(secret.bytes, key.area.nameAlg, lock.name);
    const refused = await attempt(lock, secret, key.name, { counted, stored, source }, signal);
    if (!refused) return secret;
    const left = counted ? (await lock.hold.use((_, tpm) => readLockout(tpm), signal)).triesLeft : undefined;
    throw refusal(lock, refused, stored && counted, left);
  } catch (error) {
    secret.wipe();
    throw error;
  }
}

/** @returns false also where it is known to be wrong, and where somebody can still be asked instead of a last try */
async function takesEmpty(
  lock: Lock,
  empty: Secret,
  name: Uint8Array,
  counted: boolean,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    return !(await attempt(lock, empty, name, { counted, stored: true, source: undefined }, signal));
  } catch (error) {
    const code = error instanceof SecretError ? error.code : undefined;
    if (code === 'ERR_SECRET_WRONG' || (code === 'ERR_SECRET_LAST_TRY' && lock.source !== undefined)) return false;
    throw error;
  }
}

interface Attempt {
  /** The TPM counts wrong ones. */
  readonly counted: boolean;
  /** Nobody was asked for it. */
  readonly stored: boolean;
  readonly source: SecretSource | undefined;
}

/** @returns the TPM's refusal; undefined when it takes it */
async function attempt(
  lock: Lock,
  secret: Secret,
  name: Uint8Array,
  { counted, stored, source }: Attempt,
  signal: AbortSignal,
): Promise<TpmError | undefined> {
  const send = (): Promise<TpmError | undefined> =>
    lock.hold.use((loaded, tpm) => refusalBy(lock, tpm, loaded, secret), signal);
  if (!counted) return send();
  await lock.hold.use((_, tpm) => checkTries(tpm, lock.deviceName, stored), signal);
  if (!stored) return send();
  const guarded = { what: lock.name, name, source, notify: lock.options.notify, retry: lock.retry };
  return sendOnce(guarded, secret, send, signal);
}

/** Ask the TPM without signing anything. */
async function refusalBy(lock: Lock, tpm: Tpm, loaded: Loaded, secret: Secret): Promise<TpmError | undefined> {
  const trial = await startSession(tpm, 'TRIAL');
  try {
    const authorization = await authorizationFor(tpm, loaded, secret.bytes, false);
    await checkAuth(tpm, loaded.key, trial, authorization);
    return undefined;
  } catch (error) {
    if (isRefusal(error)) return error;
    // A policy that is for signatures alone: the first one will tell.
    if (isResponse(error, RC.POLICY_CC)) return undefined;
    // Nobody knows whether it was counted: it is not sent a second time over a new connection.
    if (error instanceof LostError)
      throw new HoldfastError(error.code, error.message, { hint: error.hint, cause: error });
    if (isResponse(error, RC.LOCKOUT)) throw lockedError(lock.deviceName, await readLockout(tpm), error);
    throw error;
  } finally {
    // What cannot be flushed now goes when the key is unloaded; the reason why must not hide that of the command.
    await flush(tpm, trial.handle).catch(() => {});
  }
}

/** The authValue was wrong. */
export const isRefusal = (error: unknown): error is TpmError => isResponse(error, RC.AUTH_FAIL, RC.BAD_AUTH);

export function refusal(
  { name, retry }: Pick<Lock, 'name' | 'retry'>,
  cause: TpmError,
  recorded = false,
  triesLeft?: number,
): SecretError {
  const code = isResponse(cause, RC.BAD_AUTH) ? 'TPM_RC_BAD_AUTH' : 'TPM_RC_AUTH_FAIL';
  const left =
    triesLeft === 0 ? ', and its TPM is in lockout now' : triesLeft === 1 ? ', and its TPM has one try left' : '';
  return new SecretError('ERR_SECRET_WRONG', `the ${name} refused the authValue${left} (${code})`, {
    hint: `give the right one${recorded ? `; if this one is right by now: ${retry}` : ''}`,
    triesLeft,
    cause,
  });
}
