import { onAbort, orAborted } from '../../limits.ts';
import { flush, handles, startup } from './commands.ts';
import { HT } from './constants.ts';
import { type Tpm, tpmOver } from './execute.ts';
import { isGone, isResponse, RC, TpmError } from './response-codes.ts';
import { LostError } from './socket.ts';
import type { Connection, Device } from './transport.ts';

/** Something loaded into a TPM, used by one after the other. */
export interface Hold<T> {
  /**
   * Do something with it, alone. It is loaded first, where it is not, and once again where the TPM has lost it.
   *
   * @throws what `work` throws, and the signal's reason as soon as it aborts
   */
  use<R>(work: (held: T, tpm: Tpm) => Promise<R>, signal: AbortSignal): Promise<R>;
  /** Waits for what is under way, flushes what was loaded and hangs up. */
  close(): Promise<void>;
}

/** Milliseconds that a TPM without a resource manager is kept without using it: others wait for it. */
const LINGER = 20;
/** Milliseconds after which others get their turn there, however busy we are. */
const TURN = 1000;
/** Milliseconds that a command which nobody waits for any more may take before the connection is cut. */
const GRACE = 1000;

interface HoldOptions {
  /** Told when what others had left in a full TPM was flushed. */
  readonly cleared?: () => void;
}

interface Held<T> {
  readonly connection: Connection;
  readonly tpm: Tpm;
  readonly value: T;
  readonly since: number;
}

/**
 * Keep something loaded in a TPM as long as it is used.
 *
 * With a resource manager that is until `close`. Without one there are three places for all programs and one connection:
 * what is idle is flushed after a moment, and loaded again when it is wanted.
 *
 * @param load what it had loaded when it fails is flushed
 */
export function holdOn<T>(device: Device, load: (tpm: Tpm) => Promise<T>, { cleared }: HoldOptions = {}): Hold<T> {
  let held: Held<T> | undefined;
  let current: AbortSignal | undefined;
  let connection: Connection | undefined;
  let waiting = 0;
  let timer: NodeJS.Timeout | undefined;
  let tail: Promise<unknown> = Promise.resolve();

  async function attach(signal: AbortSignal): Promise<Held<T>> {
    const made = await device.connect(signal);
    connection = made;
    const tpm = tpmOver(made, () => signalNow());
    try {
      return { connection: made, tpm, value: await loaded(tpm), since: Date.now() };
    } catch (error) {
      await clear(tpm, made);
      throw error;
    }
  }

  async function loaded(tpm: Tpm): Promise<T> {
    try {
      return await load(tpm);
    } catch (error) {
      if (device.managed) throw error;
      await flushAll(tpm);
      if (isResponse(error, RC.INITIALIZE)) await startup(tpm);
      else if (!(await madeRoom(error, tpm))) throw error;
      return load(tpm);
    }
  }

  /** @returns whether it was room that was missing, and there is some now */
  async function madeRoom(error: unknown, tpm: Tpm): Promise<boolean> {
    if (device.managed || !isResponse(error, ...FULL) || !(await flushOthers(tpm))) return false;
    cleared?.();
    return true;
  }

  const signalNow = (): AbortSignal => current ?? AbortSignal.abort();

  async function detach(): Promise<void> {
    const last = held;
    held = undefined;
    if (!last) return;
    await clear(last.tpm, last.connection);
  }

  /** A kernel flushes what a connection had loaded. */
  async function clear(tpm: Tpm, made: Connection): Promise<void> {
    const cut = setTimeout(() => made.close(), GRACE);
    try {
      if (!device.managed) await flushAll(tpm);
    } catch {
      // The connection is lost, or the TPM was reset: then there is nothing to flush.
    } finally {
      clearTimeout(cut);
      made.close();
      for (const key of tpm.keys) key.fill(0);
      if (connection === made) connection = undefined;
    }
  }

  async function once<R>(work: (held: T, tpm: Tpm) => Promise<R>, signal: AbortSignal): Promise<R> {
    held ??= await attach(signal);
    return work(held.value, held.tpm);
  }

  async function twice<R>(work: (held: T, tpm: Tpm) => Promise<R>, signal: AbortSignal): Promise<R> {
    const wasHeld = held !== undefined;
    try {
      return await once(work, signal);
    } catch (error) {
      const hasRoom = held !== undefined && (await madeRoom(error, held.tpm));
      const mayHelp = hasRoom || (wasHeld && (error instanceof LostError || isGone(error)));
      if (!mayHelp || signal.aborted) throw error;
      await detach();
      return once(work, signal);
    }
  }

  async function turn<R>(work: (held: T, tpm: Tpm) => Promise<R>, signal: AbortSignal): Promise<R> {
    signal.throwIfAborted();
    current = signal;
    let cut: NodeJS.Timeout | undefined;
    const stop = onAbort(signal, () => {
      cut = setTimeout(() => connection?.close(), GRACE);
    });
    try {
      if (!device.managed && held && Date.now() - held.since > TURN) await detach();
      return await twice(work, signal);
    } catch (error) {
      // No refusal is proven, and after an answer that was damaged the TPM's nonce is another than ours (Part 1 §19.6.3):
      // in such a session the right authValue fails, and is counted.
      await detach();
      throw error;
    } finally {
      stop();
      clearTimeout(cut);
    }
  }

  /** Behind the last of those who wait. */
  function rest(): void {
    if (device.managed || waiting > 0) return;
    timer = setTimeout(() => {
      if (waiting === 0) tail = tail.then(detach);
    }, LINGER);
  }

  return {
    use(work, signal) {
      clearTimeout(timer);
      waiting += 1;
      const working = tail
        .then(() => turn(work, signal))
        .finally(() => {
          waiting -= 1;
          rest();
        });
      tail = working.catch(() => {});
      return orAborted(working, signal);
    },
    async close() {
      const closing = tail.then(detach);
      // A command that nobody waits for any more, on a TPM that does not answer, must not keep us.
      const cut = setTimeout(() => connection?.close(), GRACE);
      await closing;
      clearTimeout(timer);
      clearTimeout(cut);
    },
  };
}

/** Go to a TPM for one thing, and leave nothing there. */
export async function visit<T>(device: Device, work: (tpm: Tpm) => Promise<T>, signal: AbortSignal): Promise<T> {
  const hold = holdOn(device, work);
  try {
    return await hold.use(async (result) => result, signal);
  } finally {
    const closing = hold.close();
    // Somebody who does not want to wait any more does not wait for this either.
    if (!signal.aborted) await closing;
  }
}

const FULL: readonly number[] = [RC.OBJECT_MEMORY, RC.SESSION_MEMORY, RC.MEMORY, RC.OBJECT_HANDLES, RC.SESSION_HANDLES];

async function flushAll(tpm: Tpm): Promise<void> {
  for (const handle of [...tpm.loaded]) {
    await flush(tpm, handle).catch((error: unknown) => {
      if (!(error instanceof TpmError)) throw error;
      tpm.loaded.delete(handle); // it is not there any more
    });
  }
}

/**
 * Nobody else is connected to a TPM without a resource manager, so what is loaded there was left behind: by a program that
 * was killed, or by tools that do not flush.
 *
 * @returns whether there was anything
 */
async function flushOthers(tpm: Tpm): Promise<boolean> {
  const left: number[] = [];
  for (const kind of [HT.TRANSIENT, HT.HMAC_SESSION]) {
    left.push(
      ...(await handles(tpm, kind * 2 ** 24)).filter((handle) => handle >>> 24 === kind || kind === HT.HMAC_SESSION),
    );
  }
  const others = left.filter((handle) => !tpm.loaded.has(handle));
  for (const handle of others) await flush(tpm, handle);
  return others.length > 0;
}
