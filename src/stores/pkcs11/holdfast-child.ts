// The process that has a PKCS#11 module in its parent's stead, for one call or one open key. `box.ts` starts it, and says
// what it is for. Its name is its own, because it may be copied beside a bundle.
import { readSync } from 'node:fs';
import { type Limits, orAborted } from '../../limits.ts';
import { Secret, type SecretFunction } from '../../secret.ts';
import { formatKeyUri, type KeyUri, parseKeyUri } from '../../uri.ts';
import type { CreateOptions, ListOptions } from '../store.ts';
import * as inPlace from './in-place.ts';
import { beginWith, type KnownPin, knownPins, type LearntPins, learn, learntSince, placeOf } from './known-pins.ts';
import {
  type Answer,
  type AskedSecret,
  type Call,
  gathering,
  SECRETS,
  type ToChild,
  type ToParent,
  VERSION,
} from './messages.ts';
import { registry, type TokenMemory } from './modules.ts';
import type { LimitedKey } from './open.ts';
import { received, sendable } from './sent-error.ts';

/** Milliseconds for an orderly end once the parent is gone: a call in a driver may never return. */
const GRACE = 2000;

/** Milliseconds between two looks whether the parent is there. */
const WATCH = 5000;

/** A terminal and a service manager send these to all processes of a group: the parent decides what they mean. */
const SIGNALS = ['SIGINT', 'SIGHUP', 'SIGTERM'] as const;

function serve(): void {
  /** Those whose callers may go have a controller. */
  const calls = new Map<number, AbortController | undefined>();
  const questions = new Map<number, { resolve: (secret: Secret) => void; reject: (error: Error) => void }>();
  const refusedQuestions = new WeakMap<object, number>();
  /** Of this process at its token, which were asked for. */
  const turns: (() => void)[] = [];
  const person = { interactive: false };
  let asked = 0;
  let saying = 0;
  let pins: readonly KnownPin[] = [];
  let key: LimitedKey | undefined;
  /** What this process is for was said. */
  let begun = false;
  let closing = false;

  // What cannot be sent has nobody who waits for it: the end of the channel is an event of its own.
  const { send, flush } = gathering<ToParent>((messages) => {
    saying += 1;
    process.send?.(messages, undefined, {}, () => {
      saying -= 1;
      endIfIdle();
    });
  });

  const learnt = (): LearntPins | undefined => {
    const found = learntSince(pins);
    pins = knownPins().refused;
    return found;
  };

  /** @returns how to give it back */
  async function takeTurn(memory: TokenMemory, signal: AbortSignal): Promise<() => void> {
    const place = placeOf(memory);
    if (!place) return () => {};
    const granted = new Promise<void>((resolve) => turns.push(resolve));
    send({ is: 'turn', place, learnt: learnt() });
    let left = false;
    const leave = (): void => {
      if (left) return;
      left = true;
      send({ is: 'left', learnt: learnt() });
      flush(); // what the token refused must not be lost with this process
    };
    try {
      await orAborted(granted, signal);
      return leave;
    } catch (error) {
      void granted.then(leave);
      throw error;
    }
  }

  const askParent = ({ origin }: AskedSecret): SecretFunction => {
    const ask: SecretFunction = (request) =>
      new Promise((resolve, reject) => {
        asked += 1;
        questions.set(asked, { resolve, reject });
        send({ is: 'asking', question: asked, request });
      });
    return Object.defineProperties(ask, {
      interactive: { get: () => person.interactive },
      origin: { value: origin },
    });
  };

  async function answer(id: number, limited: boolean, work: (limits: Limits) => Promise<Answer>): Promise<void> {
    const controller = limited ? new AbortController() : undefined;
    calls.set(id, controller);
    try {
      const value = await work({ signal: controller?.signal });
      send({ is: 'done', id, value, learnt: learnt() });
    } catch (thrown) {
      send({ is: 'failed', id, error: sendable(thrown, refusedQuestions), learnt: learnt() });
    } finally {
      calls.delete(id);
    }
  }

  async function begin(call: Call, { signal }: Limits): Promise<Answer> {
    begun = true;
    beginWith(call.pins);
    pins = knownPins().refused;
    const { now, secret, purpose, allowCommands, login, keyType } = call.options;
    person.interactive = secret?.interactive ?? false;
    const options = {
      purpose,
      allowCommands,
      login,
      signal,
      secret: secret && askParent(secret),
      now: now === undefined ? undefined : () => new Date(now),
      notify: (notice) => send({ is: 'notice', notice }),
    } satisfies ListOptions;
    const uri = parseKeyUri(call.uri);
    if (call.name !== 'open') return run(call, uri, { ...options, keyType: keyType as CreateOptions['keyType'] });
    const opened = await inPlace.open(uri, options);
    key = opened;
    const { publicKey, certificates, attended, description } = opened;
    return { publicKey, certificates, attended, description };
  }

  /** Nothing is left to do: without a channel the process ends by itself. */
  function endIfIdle(): void {
    const awaits = !begun || key !== undefined;
    if (calls.size > 0 || (awaits && !closing)) return;
    flush();
    if (saying === 0 && process.connected) process.disconnect();
  }

  async function close(): Promise<void> {
    if (closing) return;
    closing = true;
    for (const controller of calls.values()) controller?.abort();
    await key?.close();
    endIfIdle();
  }

  process.on('message', (messages: readonly ToChild[]) => {
    for (const message of messages) hear(message);
  });

  function hear(message: ToChild): void {
    if (message.do === 'call') void answer(message.id, true, (limits) => begin(message, limits));
    else if (message.do === 'sign') {
      const { id, message: data, hash, limited } = message;
      void answer(id, limited, (limits) => (key as LimitedKey).sign(data, hash, limits));
    } else if (message.do === 'abort') calls.get(message.id)?.abort();
    else if (message.do === 'answer') {
      person.interactive = message.interactive;
      const answered = readSecret(message.length);
      if (answered) questions.get(message.question)?.resolve(answered);
    } else if (message.do === 'turn') {
      learn({ refused: message.refused, forgotten: [] });
      pins = knownPins().refused;
      turns.shift()?.();
    } else if (message.do === 'refuse') {
      const error = received(message.error);
      refusedQuestions.set(error, message.question);
      questions.get(message.question)?.reject(error);
    } else void close();
  }
  registry().takeTurn = takeTurn;
  registry().loggingIn = (underWay) => {
    send({ is: 'login', underWay });
    if (underWay) flush(); // C_Login blocks, and may be all that is heard of this process
  };
  function abandoned(): void {
    void close();
    setTimeout(() => process.kill(process.pid, 'SIGKILL'), GRACE).unref();
  }
  process.on('disconnect', abandoned);
  // A driver that closes descriptors which are not its own takes the channel away without an event.
  const parent = process.ppid;
  const watch = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(watch);
    abandoned();
  }, WATCH).unref();
  send({ is: 'ready', version: VERSION });
  for (const name of SIGNALS) process.on(name, () => {});
}

/** @returns undefined when the parent is gone: a part of a PIN would cost a try */
function readSecret(length: number): Secret | undefined {
  const bytes = Buffer.alloc(length);
  let done = 0;
  // Waits for what is on its way: the parent writes it before it says how long it is.
  for (let read = 1; done < length && read > 0; done += read)
    read = readSync(SECRETS, bytes, done, length - done, null);
  const secret = done === length ? new Secret(bytes) : undefined;
  bytes.fill(0);
  return secret;
}

async function run(call: Call, uri: KeyUri, options: CreateOptions & ListOptions): Promise<Answer> {
  if (call.name === 'list') return inPlace.list(uri, options);
  if (call.name === 'readCertificates') return inPlace.readCertificates(uri, options);
  if (call.name === 'putCertificate') return inPlace.putCertificate(uri, call.chain, options) as Promise<undefined>;
  if (call.name === 'removeCertificate') return inPlace.removeCertificate(uri, options) as Promise<undefined>;
  if (call.name === 'retryPin') return inPlace.retryPin(uri, options);
  return formatKeyUri(await inPlace.create(uri, options));
}

if (process.channel) serve();
