import { onAbort, orAborted } from '../../limits.ts';

/** So many at a time, the rest in a queue. */
export interface Places {
  /**
   * Take a place, or wait for one: undefined where nobody needs to wait.
   *
   * @throws the signal's reason, and takes none, when `signal` aborts first
   */
  take(signal: AbortSignal): Promise<void> | undefined;
  /** Give one back. */
  give(): void;
}

export function makePlaces(count: number): Places {
  const waiting: (() => void)[] = [];
  let free = count;
  return {
    take(signal) {
      signal.throwIfAborted();
      if (free > 0) {
        free -= 1;
        return undefined;
      }
      return new Promise<void>((resolve, reject) => {
        const enter = (): void => {
          stop();
          resolve();
        };
        const leave = (): void => {
          waiting.splice(waiting.indexOf(enter), 1);
          stop();
          reject(signal.reason as Error);
        };
        waiting.push(enter);
        const stop = onAbort(signal, leave);
      });
    },
    give() {
      const enter = waiting.shift();
      if (enter) enter();
      else free += 1;
    },
  };
}

/** Nothing reached the token: these PKCS#11 sessions were given up while the call waited for its turn. */
export class Retired extends Error {}

/** PKCS#11 sessions for signatures: one for each in flight. */
export interface SessionPool {
  /**
   * When `signal` aborts, the caller is free at once; a native call that runs on keeps its place until it returns.
   *
   * @throws {Retired} after `drain`
   */
  run<T>(use: (session: Buffer) => Promise<T>, signal: AbortSignal): Promise<T>;
  /** Native calls whose callers have gone, once nobody waits any more. */
  readonly busy: number;
  /** Begins nothing any more, waits for every native call, then closes the sessions. To be called once. */
  drain(): Promise<void>;
}

export function sessionPool(places: Places, open: () => Buffer, close: (session: Buffer) => void): SessionPool {
  const idle: Buffer[] = [];
  let busy = 0;
  let retired = false;
  let whenQuiet: (() => void) | undefined;

  /** In a place that is taken already, and given back here. */
  async function work<T>(use: (session: Buffer) => Promise<T>, signal: AbortSignal): Promise<T> {
    busy += 1;
    let session: Buffer | undefined;
    let sound = false;
    try {
      signal.throwIfAborted();
      session = idle.pop() ?? open();
      const result = await use(session);
      sound = !signal.aborted;
      return result;
    } finally {
      // A failed call may leave its operation active: such a session is not used again.
      if (session && sound) idle.push(session);
      else if (session) close(session);
      busy -= 1;
      places.give();
      if (busy === 0) whenQuiet?.();
    }
  }

  return {
    async run(use, signal) {
      const waiting = places.take(signal);
      if (waiting) await waiting;
      if (retired) {
        places.give();
        throw new Retired();
      }
      return await orAborted(work(use, signal), signal);
    },
    get busy() {
      return busy;
    },
    async drain() {
      retired = true;
      if (busy > 0) {
        await new Promise<void>((resolve) => {
          whenQuiet = resolve;
        });
      }
      for (const session of idle.splice(0)) close(session);
    },
  };
}
