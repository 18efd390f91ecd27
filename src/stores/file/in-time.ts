import { HoldfastError } from '../../errors.ts';
import type { OpenOptions } from '../store.ts';

/** setTimeout fires at once beyond this. */
const LONGEST_TIMER = 2 ** 31 - 1;

/**
 * Run `work` until it is done, the caller's signal aborts, or the deadline passes. Work that does not heed the signal it
 * is given goes on unseen.
 *
 * @throws {HoldfastError} `ERR_INTERRUPTED`, `ERR_SIGNING_TIMEOUT`, and what `work` throws
 */
export async function inTime<T>(
  what: string,
  { signal, deadline }: Pick<OpenOptions, 'signal' | 'deadline'>,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const stop = new AbortController();
  const interrupt = (): void =>
    stop.abort(new HoldfastError('ERR_INTERRUPTED', `${what} was interrupted`, { cause: signal?.reason }));
  const expire = (): void =>
    stop.abort(
      new HoldfastError('ERR_SIGNING_TIMEOUT', `${what} took longer than ${deadline} ms`, {
        hint: 'give it more time',
      }),
    );

  if (signal?.aborted) interrupt();
  stop.signal.throwIfAborted();
  signal?.addEventListener('abort', interrupt, { once: true });
  const timer = deadline === undefined ? undefined : setTimeout(expire, Math.min(deadline, LONGEST_TIMER));
  try {
    return await new Promise((resolve, reject) => {
      stop.signal.addEventListener('abort', () => reject(stop.signal.reason as HoldfastError), { once: true });
      work(stop.signal).then(resolve, reject);
    });
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', interrupt);
  }
}
