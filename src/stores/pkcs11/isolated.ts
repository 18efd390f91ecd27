import { HoldfastError } from '../../errors.ts';
import { mayAbort, within } from '../../limits.ts';
import { checkHash, checkMessage, timeOf } from '../../option-types.ts';
import { asksPerson, type SecretSource } from '../../secret.ts';
import { formatKeyUri, type KeyUri, parseKeyUri } from '../../uri.ts';
import type { CreateOptions, KeyInfo, ListOptions, OpenKey, OpenOptions, RetriedPins } from '../store.ts';
import { type Address, OBJECT_TYPES, readAddress } from './address.ts';
import { type Box, GRACE, startBox } from './box.ts';
import { knownPins } from './known-pins.ts';
import type { Ladder } from './ladder.ts';
import type { Answer, Call, CallName, SentKey } from './messages.ts';
import type { Boxed } from './new-process.ts';
import { Retired } from './pool.ts';

/** The functions of this store's door, each call and each open key in a process of its own. */

export async function open(uri: KeyUri, options: OpenOptions): Promise<OpenKey> {
  const first = await openIn(uri, options);
  return { ...first.opened, ...signing(first, uri, options) };
}

const openIn = (uri: KeyUri, options: OpenOptions): Promise<Boxed> =>
  inChild(uri, options, 'opening the key', async (box, request) => {
    const opened = (await request('open')) as SentKey;
    box.of = opened.description;
    let retired = false;
    return {
      box,
      opened,
      isRetired: () => retired,
      retire() {
        retired = true;
        return box.close();
      },
    };
  });

export const readCertificates = (uri: KeyUri, options: OpenOptions): Promise<readonly Uint8Array[]> =>
  once('readCertificates', uri, options, 'reading certificates') as Promise<readonly Uint8Array[]>;

export const list = (uri: KeyUri, options: ListOptions): Promise<readonly KeyInfo[]> =>
  once('list', uri, options, 'looking around') as Promise<readonly KeyInfo[]>;

export const create = async (uri: KeyUri, options: CreateOptions): Promise<KeyUri> =>
  parseKeyUri((await once('create', uri, options, 'making the key')) as string);

export const putCertificate = (uri: KeyUri, chain: readonly Uint8Array[], options: OpenOptions): Promise<void> =>
  once('putCertificate', uri, options, 'writing certificates', chain) as Promise<undefined>;

export const removeCertificate = (uri: KeyUri, options: OpenOptions): Promise<void> =>
  once('removeCertificate', uri, options, 'removing a certificate') as Promise<undefined>;

export const retryPin = (uri: KeyUri, options: OpenOptions): Promise<RetriedPins> =>
  // No secret is fetched, so a command is not run either.
  once('retryPin', uri, { ...options, allowCommands: true }, 'forgetting what was refused') as Promise<RetriedPins>;

type Options = OpenOptions & Partial<Pick<CreateOptions, 'keyType'> & Pick<ListOptions, 'login'>>;

const once = (
  name: CallName,
  uri: KeyUri,
  options: Options,
  what: string,
  chain: readonly Uint8Array[] = [],
): Promise<Answer> =>
  inChild(uri, options, what, async (box, request) => {
    const answer = await request(name, chain);
    await box.close();
    return answer;
  });

type RequestCall = (name: CallName, chain?: readonly Uint8Array[]) => Promise<Answer>;

/** The child is the caller's to close, unless `use` fails. */
async function inChild<T>(
  uri: KeyUri,
  options: Options,
  what: string,
  use: (box: Box, request: RequestCall) => Promise<T>,
): Promise<T> {
  const address = readAddress(uri, { ...options, notify: undefined }, OBJECT_TYPES); // to warn is the child's
  const { source, asked } = secretFor(address, options);
  const now = options.now && timeOf(options).getTime();
  return within(options, what, async (signal) => {
    const { childPath, notify } = options;
    const box = await startBox({ childPath, env: environmentFor(address), source, notify, of: address.text });
    try {
      signal.throwIfAborted();
      return await use(box, (name, chain = []) => {
        const { scheme, path, query } = uri;
        const { purpose, allowCommands, login, keyType } = options;
        const call: Omit<Call, 'id'> = {
          do: 'call',
          name,
          uri: formatKeyUri({ scheme, path, query }),
          options: { purpose, allowCommands, login, keyType, now, secret: asked },
          chain,
          pins: knownPins(),
        };
        return box.request(call, signal);
      });
    } catch (error) {
      void box.close();
      throw error;
    }
  });
}

/**
 * Who gets the secret. What a URI names is read by the child itself, and never comes into this process, unless it is
 * something that only this one has: its variables, its descriptors.
 */
function secretFor(
  { pin }: Address,
  { secret }: Options,
): { source: SecretSource | undefined; asked: Call['options']['secret'] } {
  const source = secret ?? pin;
  if (source === undefined) return { source, asked: undefined };
  const origin = (typeof source === 'function' && source.origin) || undefined;
  const isNamed = origin !== undefined && origin.kind === pin?.origin?.kind && origin.name === pin.origin.name;
  const isOurs =
    origin?.kind === 'variable' || origin?.kind === 'descriptor' || OF_THIS_PROCESS.test(origin?.name ?? '');
  if (isNamed && !isOurs) return { source: undefined, asked: undefined };
  return {
    source,
    asked: { interactive: asksPerson(source), origin: origin && { kind: origin.kind, name: origin.name } },
  };
}

/** Files that are others in another process (proc(5), fd(4)). */
const OF_THIS_PROCESS = /^\/(dev\/(fd|std(in|out|err))|proc\/(self|thread-self))(\/|$)/;

/** Without a variable that holds the secret: neither the child nor what the driver starts is to have it. */
function environmentFor({ pin }: Address): NodeJS.ProcessEnv {
  const env = { ...process.env };
  if (pin?.origin?.kind === 'variable') delete env[pin.origin.name];
  return env;
}

function signing(first: Boxed, uri: KeyUri, options: OpenOptions): Pick<OpenKey, 'sign' | 'close'> {
  const { description } = first.opened;
  const signatures = new Set<Promise<unknown>>();
  /** Once something was lost. */
  let ladder: Ladder<Boxed> | undefined;
  let closing: Promise<void> | undefined;
  /** What signed last. */
  let current = first;
  /** Once `close` has waited long enough for those who sign. */
  const stop = new AbortController();

  async function signSurely(use: (held: Boxed) => Promise<Answer>, signal: AbortSignal): Promise<Answer> {
    if (ladder) return ladder.run(use, signal);
    try {
      return await use(first);
    } catch (thrown) {
      if (signal.aborted || stop.signal.aborted) throw thrown;
      // Nothing can be loaded where all descriptors are taken, and that is not the error.
      const { recoveryIn } = await import('./new-process.ts').catch(() => Promise.reject(thrown));
      // Those who wait have limits of their own.
      ladder ??= recoveryIn(first, (limit) =>
        openIn(uri, { ...options, signal: AbortSignal.any([limit, stop.signal]), deadline: undefined }),
      );
      return ladder.run(use, signal, { held: first, thrown });
    }
  }

  async function end(): Promise<void> {
    const timer = setTimeout(() => {
      const hint = 'close a key when its signatures are done; give a deadline where a token may hang';
      const error = new HoldfastError('ERR_KEY_CLOSED', `${description} was closed before it had signed`, { hint });
      stop.abort(error);
      current.box.drop(error);
    }, GRACE);
    try {
      await Promise.allSettled(signatures);
      await ((await ladder?.settled()) ?? first).retire();
    } finally {
      clearTimeout(timer);
    }
  }

  return {
    async sign(given, hash) {
      if (closing) throw new HoldfastError('ERR_KEY_CLOSED', `${description} was closed`, { hint: 'open it again' });
      checkMessage(given);
      checkHash(hash);
      const message = Uint8Array.from(given); // it is the caller's, who may change it before it is sent once more
      const signature = within(options, `a signature with ${description}`, (signal) =>
        signSurely(async (held) => {
          stop.signal.throwIfAborted();
          current = held;
          try {
            return await held.box.request({ do: 'sign', message, hash, limited: mayAbort(signal) }, signal);
          } catch (error) {
            // A process that is ended leaves undone what it was doing for others.
            if (held.isRetired() && !signal.aborted && !stop.signal.aborted) throw new Retired();
            throw error;
          }
        }, signal),
      );
      signatures.add(signature);
      try {
        return (await signature) as Uint8Array;
      } catch (error) {
        throw stop.signal.aborted ? stop.signal.reason : error;
      } finally {
        signatures.delete(signature);
      }
    },
    close() {
      closing ??= end();
      return closing;
    },
  };
}
