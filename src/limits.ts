import { HoldfastError } from './errors.ts';

/** What a caller may give to end something early. */
export interface Limits {
  signal?: AbortSignal | undefined;
  /** Milliseconds. */
  deadline?: number | undefined;
}

/** The signal of those who gave neither signal nor deadline: nobody listens to it, which a fast token is worth. */
const NEVER: AbortSignal = new AbortController().signal;

export const isDeadline = (value: unknown): boolean => typeof value === 'number' && value > 0;

/** setTimeout fires at once beyond this. */
const LONGEST_TIMER = 2 ** 31 - 1;

/**
 * Do something under the caller's signal and deadline. `work` gets one signal for both; its reason is the error to throw.
 *
 * @throws {HoldfastError} `ERR_INTERRUPTED`, `ERR_SIGNING_TIMEOUT`; `ERR_OPTION_INVALID` for a deadline that is none
 */
export function within<T>(limits: Limits, what: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  return limits.signal || limits.deadline !== undefined ? limited(limits, what, work) : work(NEVER);
}

async function limited<T>(
  { signal, deadline }: Limits,
  what: string,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  if (deadline !== undefined && !isDeadline(deadline)) {
    throw new HoldfastError('ERR_OPTION_INVALID', 'the option "deadline" must be a number of milliseconds above 0', {
      hint: 'leave it out for no deadline',
    });
  }
  const controller = new AbortController();
  const interrupt = (): void => controller.abort(signal && interrupted(signal, what));
  const expire = (): void => {
    controller.abort(
      new HoldfastError('ERR_SIGNING_TIMEOUT', `${what} took longer than ${deadline} ms`, {
        hint: 'touch or look after the device, or give more time',
      }),
    );
  };
  if (signal?.aborted) interrupt();
  signal?.addEventListener('abort', interrupt, { once: true });
  const timer = deadline === undefined ? undefined : setTimeout(expire, Math.min(deadline, LONGEST_TIMER));
  try {
    controller.signal.throwIfAborted();
    return await work(controller.signal);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', interrupt);
  }
}

/** Milliseconds for what may never end and whose caller sets no deadline: a pipe, a command. */
const PATIENCE = 60_000;

export const patient = ({ signal, deadline }: Limits): Limits => ({ signal, deadline: deadline ?? PATIENCE });

/** The promise's outcome, or the signal's reason if that comes first. The promise itself cannot be stopped. */
export function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return signal === NEVER ? promise : race(promise, signal);
}

async function race<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  let abort = (): void => {};
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason as HoldfastError);
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

/** Ends early, but never fails: who is aborted finds out next. */
export const sleep = (milliseconds: number, signal?: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const wake = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', wake);
      resolve();
    };
    const timer = setTimeout(wake, milliseconds);
    signal?.addEventListener('abort', wake, { once: true });
  });

/** The error for an aborted signal; a deadline aborts with its own error as the reason. */
export function interrupted({ reason }: AbortSignal, what?: string): HoldfastError {
  if (reason instanceof HoldfastError) return reason;
  const message = what === undefined ? 'interrupted before it was done' : `${what} was interrupted`;
  return new HoldfastError('ERR_INTERRUPTED', message, { cause: reason });
}
