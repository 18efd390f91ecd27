import type { ChildProcess, StdioOptions } from 'node:child_process';
import { existsSync } from 'node:fs';
import type { Socket } from 'node:net';
import { HoldfastError, messageOf } from '../../errors.ts';
import { onAbort } from '../../limits.ts';
import { askSecret, asksPerson, type SecretSource } from '../../secret.ts';
import type { Notice } from '../store.ts';
import { learn } from './known-pins.ts';
import { type Answer, type CallName, gathering, SECRETS, type ToChild, type ToParent } from './messages.ts';
import { received, sendable } from './sent-error.ts';

/** Milliseconds that a child has to end once it was told to, or to finish what must not be left undone. */
const GRACE = 2000;

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
  let loggingIn = false;
  let killed = false;
  let lost: HoldfastError | undefined;
  let isGone = false;
  let closing: Promise<void> | undefined;

  const child = begin();
  const secrets = (child.stdio as readonly unknown[])[SECRETS] as Socket | undefined;
  secrets?.unref();
  secrets?.on('error', () => {}); // a child that is gone says so in its own events
  const gone = new Promise<void>((resolve) => {
    child.once('exit', (status, signal) => {
      isGone = true;
      const end = (): void => {
        fail(crashed(box.of, killed ? undefined : (signal ?? `exit status ${status}`)));
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

  function begin(): ChildProcess {
    try {
      // What a driver prints belongs to no output of ours: all of it goes to stderr.
      const stdio: StdioOptions = ['ignore', 2, 2, 'ipc', source === undefined ? 'ignore' : 'pipe'];
      return fork(file, [], { env, execArgv: [], serialization: 'advanced', stdio });
    } catch (cause) {
      throw notStarted(cause);
    }
  }

  function fail(error: HoldfastError): void {
    lost ??= error;
    for (const { reject } of pending.values()) reject(lost);
    for (const timer of abandoned.values()) clearTimeout(timer);
    pending.clear();
    abandoned.clear();
  }

  function kill(): void {
    killed = true;
    child.kill('SIGKILL');
  }

  const { send } = gathering<ToChild>((messages) => {
    // A child that is gone says so in its own events.
    if (child.connected) child.send(messages as ToChild[], () => {});
  });

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
    for (const message of messages) hear(message);
    hold();
  });

  function hear(message: ToParent): void {
    if (message.is === 'notice') tell(message.notice);
    else if (message.is === 'login') loggingIn = message.underWay;
    else if (message.is === 'asking') void answer(message);
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
            leave();
            if (answer.is === 'done') resolve(answer.value);
            else if (answer.is === 'failed') reject(received(answer.error, answers));
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
      return closing;
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

/** Beside this file. In a bundle that is beside the bundle, where it is only if somebody put it there. */
const NAME = './holdfast-child.js';

function childFile(given: string | undefined): string | URL {
  // Such a program would start itself again instead.
  if (process.getBuiltinModule('node:sea')?.isSea())
    throw missing('a single executable has no Node to run it with', '');
  const path = given ?? besides();
  if (path === undefined) throw missing('this bundle does not know where it is', CURE);
  if (existsSync(path)) return path;
  throw missing(`it is not at ${typeof path === 'string' ? path : path.pathname}`, CURE);
}

function besides(): URL | undefined {
  try {
    return new URL(NAME, import.meta.url);
  } catch {
    return undefined; // a bundle in CommonJS has no import.meta.url
  }
}

const CURE =
  "put a copy of holdfast's dist/stores/pkcs11/holdfast-child.js beside the bundle, or give its path as childPath; or ";

const missing = (why: string, cure: string): HoldfastError =>
  new HoldfastError('ERR_CHILD_MISSING', `the program for the process that has the PKCS#11 module is missing: ${why}`, {
    hint: `${cure}use the option isolation: 'in-place', without the protection of a process of its own`,
  });

const notStarted = (cause: unknown): HoldfastError =>
  new HoldfastError('ERR_STORE_CRASHED', `no process was started for the PKCS#11 module: ${messageOf(cause)}`, {
    hint: "let this program start processes (Node's --allow-child-process), or use the option isolation: 'in-place'",
    cause,
  });

/** @param how undefined when it hung, and we ended it */
const crashed = (of: string, how: string | undefined): HoldfastError =>
  new HoldfastError(
    'ERR_STORE_CRASHED',
    how === undefined
      ? `${of} is gone: the PKCS#11 module hung, and its process was ended (SIGKILL)`
      : `${of} is gone: the process of the PKCS#11 module was ended by ${how}`,
    { hint: 'open the key again; if that happens again, ask the maker of the module (native-notes/pkcs11.md)' },
  );
