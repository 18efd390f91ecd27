import { HoldfastError } from './errors.ts';

/** What a caller may give to end something early. */
export interface Limits {
  signal?: AbortSignal | undefined;
  /** Milliseconds. */
  deadline?: number | undefined;
}

/** The signal of those who gave neither signal nor deadline: nobody listens to it, which a fast token is worth. */
const NEVER: AbortSignal = new AbortController().signal;

/** Whether a signal that `within` gave may abort. */
export const mayAbort = (signal: AbortSignal): boolean => signal !== NEVER;

/**
 * Who waits for a signal, behind one listener of ours: Node warns of a leak at the eleventh, and one signal of a caller's
 * may be that of any number of calls.
 */
const WAITING: WeakMap<AbortSignal, { readonly all: Set<() => void>; readonly tell: () => void }> = new WeakMap();

/**
 * Be told when the signal aborts; of one that has aborted before, never.
 *
 * @returns how to be told no more, to be called in any case
 */
export function onAbort(signal: AbortSignal, abort: () => void): () => void {
  if (signal === NEVER) return () => {};
  const waiting = WAITING.get(signal) ?? listen(signal);
  waiting.all.add(abort);
  return () => {
    waiting.all.delete(abort);
    if (waiting.all.size > 0) return;
    signal.removeEventListener('abort', waiting.tell);
    if (WAITING.get(signal) === waiting) WAITING.delete(signal);
  };
}

function listen(signal: AbortSignal): { readonly all: Set<() => void>; readonly tell: () => void } {
  const all = new Set<() => void>();
  const tell = (): void => {
    WAITING.delete(signal);
    for (const abort of all) abort();
  };
  const waiting = { all, tell };
  signal.addEventListener('abort', tell, { once: true });
  WAITING.set(signal, waiting);
  return waiting;
}

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
  const stop = signal && onAbort(signal, interrupt);
  const timer = deadline === undefined ? undefined : setTimeout(expire, Math.min(deadline, LONGEST_TIMER));
  try {
    controller.signal.throwIfAborted();
    return await work(controller.signal);
  } finally {
    clearTimeout(timer);
    stop?.();
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
  let stop = (): void => {};
  const aborted = new Promise<never>((_, reject) => {
    const abort = (): void => reject(signal.reason as HoldfastError);
    if (signal.aborted) abort();
    stop = onAbort(signal, abort);
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    stop();
  }
}

/** Ends early, but never fails: who is aborted finds out next. */
export const sleep = (milliseconds: number, signal?: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const wake = (): void => {
      clearTimeout(timer);
      stop?.();
      resolve();
    };
    const timer = setTimeout(wake, milliseconds);
    const stop = signal && onAbort(signal, wake);
  });

/** The error for an aborted signal; a deadline aborts with its own error as the reason. */
export function interrupted({ reason }: AbortSignal, what?: string): HoldfastError {
  if (reason instanceof HoldfastError) return reason;
  const message = what === undefined ? 'interrupted before it was done' : `${what} was interrupted`;
  return new HoldfastError('ERR_INTERRUPTED', message, { cause: reason });
}
