import { HoldfastError, SecretError } from '../../errors.ts';
import { asksPerson, type Secret } from '../../secret.ts';
import { CC } from './constants.ts';
import type { Tpm } from './execute.ts';
import { guarded } from './guard.ts';
import type { Loaded } from './load-key.ts';
import { checkTries } from './lockout.ts';
import { has } from './public-area.ts';
import { LostError } from './socket.ts';
import { isRefusal, type Lock, refusal } from './unlock.ts';

/** Do something with a key that takes its authValue. */
export type Use = <R>(work: (loaded: Loaded, tpm: Tpm) => Promise<R>, signal: AbortSignal) => Promise<R>;

/**
 * Use a key with its authValue, which is not sent again once it was refused where wrong ones are counted.
 *
 * Where the policy is for signatures alone, the first signature is what tells whether it is right.
 *
 * @throws {SecretError} `ERR_SECRET_WRONG`, `ERR_SECRET_LAST_TRY`, `ERR_SECRET_LOCKED`, besides what `work` throws
 */
export function carefulUse(lock: Lock, secret: Secret, { key, policy }: Loaded): Use {
  const { hold, name, deviceName, source, retry, options } = lock;
  if (has(key.area, 'noDA') || (policy && !policy.wantsAuth)) return alone;
  const stored = source === undefined || !asksPerson(source);
  let proven = !policy?.steps.some(({ command }) => command === CC.PolicyCommandCode);
  let refused = false;

  async function alone<R>(work: (loaded: Loaded, tpm: Tpm) => Promise<R>, signal: AbortSignal): Promise<R> {
    return hold.use(async (loaded, tpm) => {
      try {
        return await work(loaded, tpm);
      } catch (error) {
        throw isRefusal(error) ? refusal(lock, error) : error;
      }
    }, signal);
  }

  async function once<R>(work: (loaded: Loaded, tpm: Tpm) => Promise<R>, signal: AbortSignal): Promise<R> {
    return hold.use(async (loaded, tpm) => {
      if (refused) throw refusedWhileOpen(name);
      if (!proven) await checkTries(tpm, deviceName, stored);
      try {
        const result = await work(loaded, tpm);
        proven = true;
        return result;
      } catch (error) {
        // Nobody knows whether it was counted: it is not sent a second time over a new connection.
        if (!proven && error instanceof LostError) {
          throw new HoldfastError(error.code, error.message, { hint: error.hint, cause: error });
        }
        if (!isRefusal(error)) throw error;
        refused = true;
        throw refusal(lock, error, stored && !proven);
      }
    }, signal);
  }

  return (work, signal) => {
    if (proven || !stored) return once(work, signal);
    const what = { what: name, name: key.name, source, notify: options.notify, retry };
    return guarded(what, secret, () => once(work, signal), signal);
  };
}

const refusedWhileOpen = (name: string): SecretError =>
  new SecretError('ERR_SECRET_WRONG', `the ${name} has refused this authValue before; it was not sent again`, {
    hint: 'open the key again, with the right one',
  });
