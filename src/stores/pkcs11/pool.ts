import { orAborted } from './limits.ts';

/** PKCS#11 sessions for signatures: one for each in flight, a few at a time, the rest waits its turn. */
export interface SessionPool {
  /** When `signal` aborts, the caller is free at once; a native call that runs on keeps its place until it returns. */
  run<T>(use: (session: Buffer) => Promise<T>, signal: AbortSignal): Promise<T>;
  /** Native calls whose callers have gone, once nobody waits any more. */
  readonly busy: number;
  /** Waits for every native call, then closes the sessions. */
  drain(): Promise<void>;
}

export function sessionPool(size: number, open: () => Buffer, close: (session: Buffer) => void): SessionPool {
  const idle: Buffer[] = [];
  const waiting: (() => void)[] = [];
  const running = new Set<Promise<unknown>>();
  let places = size;

  async function turn(signal: AbortSignal): Promise<void> {
    if (places > 0) {
      places -= 1;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const enter = (): void => {
        signal.removeEventListener('abort', leave);
        resolve();
      };
      const leave = (): void => {
        waiting.splice(waiting.indexOf(enter), 1);
        reject(signal.reason as Error);
      };
      waiting.push(enter);
      signal.addEventListener('abort', leave, { once: true });
    });
  }

  const next = (): void => {
    const enter = waiting.shift();
    if (enter) enter();
    else places += 1;
  };

  async function work<T>(use: (session: Buffer) => Promise<T>, signal: AbortSignal): Promise<T> {
    signal.throwIfAborted();
    const session = idle.pop() ?? open();
    let sound = false;
    try {
      const result = await use(session);
      sound = !signal.aborted;
      return result;
    } finally {
      // A failed call may leave its operation active: such a session is not used again.
      if (sound) idle.push(session);
      else close(session);
    }
  }

  return {
    async run(use, signal) {
      signal.throwIfAborted();
      await turn(signal);
      const working = work(use, signal).finally(() => {
        running.delete(working);
        next();
      });
      running.add(working);
      return orAborted(working, signal);
    },
    get busy() {
      return running.size;
    },
    async drain() {
      await Promise.allSettled(running);
      for (const session of idle.splice(0)) close(session);
    },
  };
}
