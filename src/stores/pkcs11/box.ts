import type { ChildProcess, StdioOptions } from 'node:child_process';
import type { Socket } from 'node:net';
import type { HoldfastError } from '../../errors.ts';
import { onAbort } from '../../limits.ts';
import { askSecret, asksPerson, type SecretSource } from '../../secret.ts';
import type { Notice } from '../store.ts';
import {
  childFile,
  crashed,
  isAnother,
  neverBegan,
  notStarted,
  saysNonsense,
  unsendable,
  withoutInspector,
} from './child-program.ts';
import { learn } from './known-pins.ts';
import { type Answer, type CallName, gathering, SECRETS, type ToChild, type ToParent, VERSION } from './messages.ts';
import { received, sendable } from './sent-error.ts';
import { turnsOf } from './turns.ts';

/** Milliseconds that a child has to end once it was told to, or to finish what must not be left undone. */
export const GRACE = 2000;

/**
 * Milliseconds that it has to notice that a caller is gone, where nothing is lost with it: unless it is stuck, it does so at
 * once. Those who call meanwhile wait for it.
 */
const PATIENCE = 200;

/** What writes to the token, or to the record of refused PINs. */
const WRITING: ReadonlySet<CallName> = new Set(['create', 'putCertificate', 'removeCertificate', 'retryPin']);

/** Milliseconds for what a child said before it ended to arrive. */
const LAST_WORDS = 100;

/** What a child process is started with. */
export interface BoxOptions {
  readonly childPath: string | undefined;
  readonly env: NodeJS.ProcessEnv;
  /** Where the parent gets the secret from when the child asks. */
  readonly source: SecretSource | undefined;
  readonly notify: ((notice: Notice) => void) | undefined;
  /** What it is about, for an error: a key URI without its secrets. */
  readonly of: string;
}

/** Without the number, which the box gives. */
type Request = ToChild extends infer One ? (One extends { id: number } ? Omit<One, 'id'> : never) : never;

/** A child process that has a PKCS#11 module. A driver that hangs, crashes or leaks does that there. */
export interface Box {
  /** What it is about, once more is known. */
  of: string;
  /** @throws what the child throws; the reason of the signal, at once; `ERR_STORE_CRASHED` */
  request(message: Request, signal: AbortSignal): Promise<Answer>;
  /** Settled when the process is gone: by itself, or killed after two seconds. */
  close(): Promise<void>;
  /** Kills the process. Who waits for it, and who asks it for something from now on, gets this error. */
  drop(error: HoldfastError): void;
}

/** @throws {HoldfastError} `ERR_CHILD_MISSING` */
export async function startBox({ childPath, env, source, notify, of }: BoxOptions): Promise<Box> {
  const file = childFile(childPath);
  const { fork } = await import('node:child_process');
  const pending = new Map<number, { settle: (message: ToParent) => void; reject: (error: unknown) => void }>();
  /** Calls whose callers have gone, and the end of the child's time to say that it has noticed. */
  const abandoned = new Map<number, NodeJS.Timeout>();
  /** What was thrown here when the child asked: it comes back as it was. */
  const answers = new Map<number, unknown>();
  let last = 0;
  let held = true;
  let isReady = false;
  let loggingIn = false;
  let killed = false;
  let lost: HoldfastError | undefined;
  let isGone = false;
  let closing: Promise<void> | undefined;

  const child = begin();
  const gone = new Promise<void>((resolve) => {
    child.once('exit', (status, signal) => {
      isGone = true;
      const end = (): void => {
        const how = killed ? undefined : (signal ?? `exit status ${status}`);
        fail(isReady || killed || signal ? crashed(box.of, how) : neverBegan(file, status));
        resolve();
      };
      const timer = setTimeout(end, LAST_WORDS);
      const endNow = (): void => {
        clearTimeout(timer);
        end();
      };
      if (child.connected) child.once('disconnect', endNow);
      else endNow();
    });
    child.once('error', (cause) => {
      if (child.pid !== undefined) return; // a message could not be sent: its end is on the way
      isGone = true;
      fail(notStarted(cause));
      resolve();
    });
  });

  // Without a way to say something it is of no use.
  child.once('disconnect', () => {
    if (isGone) return;
    const timer = setTimeout(kill, GRACE);
    child.once('exit', () => clearTimeout(timer));
  });
  // There are none where there were no descriptors left: that is an event of its own, which comes next.
  const secrets = (child.stdio as readonly unknown[] | undefined)?.[SECRETS] as Socket | undefined;
  secrets?.unref();
  secrets?.on('error', () => {}); // a child that is gone says so in its own events

  function begin(): ChildProcess {
    try {
      // What a driver prints belongs to no output of ours: all of it goes to stderr.
      const stdio: StdioOptions = ['ignore', 2, 2, 'ipc', source === undefined ? 'ignore' : 'pipe'];
      return fork(file, [], { env: withoutInspector(env), execArgv: [], serialization: 'advanced', stdio });
    } catch (cause) {
      throw notStarted(cause);
    }
  }

  function fail(error: HoldfastError): void {
    lost ??= error;
    turns.end();
    for (const { reject } of pending.values()) reject(lost);
    for (const timer of abandoned.values()) clearTimeout(timer);
    pending.clear();
    abandoned.clear();
  }

  function kill(): void {
    killed = true;
    if (child.pid !== undefined) child.kill('SIGKILL'); // 0 would be all of our group
  }

  const { send } = gathering<ToChild>(write);

  function write(messages: readonly ToChild[]): void {
    if (!child.connected) return; // a child that is gone says so in its own events
    try {
      child.send(messages as ToChild[], () => {});
    } catch {
      // One of them is what cannot be serialised: the others are to go.
      if (messages.length > 1) for (const message of messages) write([message]);
      else for (const { id } of messages as readonly { id?: number }[]) pending.get(id ?? 0)?.reject(unsendable());
    }
  }

  const turns = turnsOf((refused) => send({ do: 'turn', refused }));

  /** This process may end while a key is open, but not while it waits for an answer or an end. */
  function hold(): void {
    const isNeeded = pending.size > 0 || abandoned.size > 0 || closing !== undefined;
    if (isNeeded === held) return;
    held = isNeeded;
    const to = isNeeded ? 'ref' : 'unref';
    child[to]();
    (child.channel as { ref(): void; unref(): void } | null | undefined)?.[to]();
  }

  child.on('message', (messages: readonly ToParent[]) => {
    try {
      for (const message of messages) hear(message);
    } catch {
      box.drop(isReady ? saysNonsense(box.of) : isAnother(file));
    }
    hold();
  });

  /** @throws what is not the protocol */
  function hear(message: ToParent): void {
    if (!isReady) {
      if (message.is !== 'ready' || message.version !== VERSION) throw new Error();
      isReady = true;
    } else if (message.is === 'notice') tell(message.notice);
    else if (message.is === 'login') loggingIn = message.underWay;
    else if (message.is === 'turn' || message.is === 'left') turns.hear(message);
    else if (message.is === 'asking') void answer(message);
    else if (message.is !== 'done' && message.is !== 'failed') throw new Error();
    else {
      if (message.learnt) learn(message.learnt);
      clearTimeout(abandoned.get(message.id));
      abandoned.delete(message.id);
      pending.get(message.id)?.settle(message);
    }
  }

  function tell(notice: Notice): void {
    try {
      notify?.(notice);
    } catch (thrown) {
      for (const { reject } of pending.values()) reject(thrown);
      pending.clear();
      void box.close();
    }
  }

  async function answer({ question, request }: Extract<ToParent, { is: 'asking' }>): Promise<void> {
    try {
      const secret = await askSecret(source, request);
      const { length } = secret.bytes;
      // A socket writes bytes from where they are (uv_write), without a copy.
      secrets?.write(secret.bytes, () => secret.wipe());
      send({ do: 'answer', question, length, interactive: asksPerson(source) });
    } catch (thrown) {
      answers.set(question, thrown);
      send({ do: 'refuse', question, error: sendable(thrown, new WeakMap()) });
    }
  }

  /** Ends the process, unless it says soon that it has noticed: whoever else calls is not to wait behind one that hangs. */
  function abandon(id: number, writes: boolean): void {
    const look = (isLast: boolean): void => {
      if (!abandoned.has(id)) return;
      if (isLast || !(writes || loggingIn)) kill();
      else wait(GRACE - PATIENCE, true);
    };
    const wait = (milliseconds: number, isLast: boolean): void => {
      // What arrived while this process was busy itself is read first.
      abandoned.set(
        id,
        setTimeout(() => setImmediate(look, isLast), milliseconds),
      );
    };
    wait(PATIENCE, false);
  }

  const box: Box = {
    of,
    request(message, signal) {
      if (lost) return Promise.reject(lost);
      last += 1;
      const id = last;
      return new Promise<Answer>((resolve, reject) => {
        const stop = onAbort(signal, () => {
          leave();
          abandon(id, message.do === 'call' && WRITING.has(message.name));
          send({ do: 'abort', id });
          reject(signal.reason as Error);
        });
        const leave = (): void => {
          pending.delete(id);
          stop();
        };
        pending.set(id, {
          settle(answer) {
            if (answer.is === 'done') resolve(answer.value);
            else if (answer.is === 'failed') reject(received(answer.error, answers));
            leave();
          },
          reject(error) {
            leave();
            reject(error as Error);
          },
        });
        send({ ...message, id });
        hold();
      });
    },
    close() {
      closing ??= end();
      hold();
      return closing;
    },
    drop(error) {
      fail(error);
      kill();
    },
  };

  async function end(): Promise<void> {
    if (isGone) return gone;
    send({ do: 'close' });
    const timer = setTimeout(kill, GRACE);
    try {
      await gone;
    } finally {
      clearTimeout(timer);
    }
  }

  hold();
  return box;
}
