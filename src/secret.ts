import { isAbsolute } from 'node:path';
import { HoldfastError, messageOf, SecretError } from './errors.ts';
import { type Limits, patient, within } from './limits.ts';
import { printable, readBounded } from './read-file.ts';
import { parseKeyUri } from './uri.ts';

/** A secret as the caller has it, or a function that fetches it when it is needed and not before. */
export type SecretSource = string | Uint8Array | SecretFunction;

/**
 * Fetches a secret. It counts as a stored one, which is not spent on the last try of a token and may be used again
 * without a question, unless the function says that it asks a person: see `askPerson`.
 */
export interface SecretFunction {
  (request: SecretRequest): SecretValue | Promise<SecretValue>;
  /** True when it asks a person each time. Default: false. */
  readonly interactive?: boolean | undefined;
  /** Where a stored secret lies, so that it can be told from the same secret elsewhere. Default: unknown. */
  readonly origin?: SecretOrigin | undefined;
}

/** A place that a key URI names. */
export interface SecretOrigin {
  readonly kind: 'file' | 'variable' | 'descriptor' | 'credential' | 'command' | 'value';
  /**
   * The path of a file or credential, the name of a variable, the number of a descriptor, the SHA-256 of a command's
   * text in hex; empty for a value. Never a secret.
   */
  readonly name: string;
}

/** `undefined` means: there is nobody to ask. A `Secret` is wiped after its use, bytes stay the caller's. */
export type SecretValue = string | Uint8Array | Secret | undefined;

export interface SecretRequest {
  readonly kind: 'PIN' | 'passphrase';
  /** What it opens, for the prompt: `token "prod"`, `key file /etc/aws/key.pem`. */
  readonly of: string;
  /** Tries left before the token locks, when the store can tell. */
  readonly triesLeft?: number | undefined;
  /** Why it is wanted, from `OpenOptions.purpose`. */
  readonly purpose?: string | undefined;
}

/** A PIN or passphrase in memory that prints as `[secret]` and can be wiped. */
export class Secret {
  #bytes: Buffer;

  constructor(value: string | Uint8Array) {
    this.#bytes = Buffer.from(value as string);
    // `showHidden` with `getters` would print what `bytes` returns.
    Object.defineProperty(this, Symbol.for('nodejs.util.inspect.custom'), { value: () => '[secret]' });
  }

  /** The bytes themselves: valid until `wipe()`. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  /** A string copy, for bindings that take nothing else. A JavaScript string cannot be wiped. */
  reveal(): string {
    return this.#bytes.toString('utf8');
  }

  wipe(): void {
    this.#bytes.fill(0);
    this.#bytes = Buffer.alloc(0);
  }

  toString(): string {
    return '[secret]';
  }

  toJSON(): string {
    return '[secret]';
  }
}

/** A source that asks a person each time. Only such a secret may be spent on the last try of a token. */
export function askPerson(ask: (request: SecretRequest) => SecretValue | Promise<SecretValue>): SecretFunction {
  return Object.assign((request: SecretRequest) => ask(request), { interactive: true });
}

/** Whether a person is asked; whatever does not say so is taken for stored. */
export const asksPerson = (source: SecretSource | undefined): boolean =>
  typeof source === 'function' && source.interactive === true;

/**
 * Ask for a secret, now that it is needed. The caller wipes it.
 *
 * @throws {SecretError} `ERR_SECRET_REQUIRED` when there is no source, or the source has nothing
 * @throws {SecretError} `ERR_SECRET_UNREADABLE` when the source throws; an error of ours and an abort stay as they are
 * @throws {HoldfastError} `ERR_OPTION_INVALID` when source or answer is something else
 */
export async function askSecret(source: SecretSource | undefined, request: SecretRequest): Promise<Secret> {
  checkSecretSource(source);
  const value: unknown = typeof source === 'function' ? await answerOf(source, request) : source;
  if (value instanceof Secret) return value;
  if (typeof value === 'string' || value instanceof Uint8Array) return new Secret(value);
  // The value stays out of the error: a PIN given as a number is a PIN.
  if (value !== undefined) throw notASecret(`the ${request.kind} of ${request.of} is neither text nor bytes`);
  throw new SecretError('ERR_SECRET_REQUIRED', `${request.of} needs its ${request.kind}, and none was given`, {
    hint:
      source === undefined
        ? `give the ${request.kind} (docs/cli.md names the ways)`
        : `there was nobody to ask: ${waysFor(request)}`,
    triesLeft: request.triesLeft,
  });
}

async function answerOf(source: SecretFunction, request: SecretRequest): Promise<unknown> {
  try {
    return await source(request);
  } catch (cause) {
    if (cause instanceof HoldfastError || (cause as Error | undefined)?.name === 'AbortError') throw cause;
    // What it says is not ours to repeat: it stands in the cause.
    throw new SecretError(
      'ERR_SECRET_UNREADABLE',
      `the function that gives the ${request.kind} of ${request.of} failed`,
      {
        hint: 'look at the cause: that is what the function threw',
        triesLeft: request.triesLeft,
        cause,
      },
    );
  }
}

const waysFor = ({ kind }: SecretRequest): string => {
  const file = 'name its file in the key URI (pin-source=file:/path)';
  return kind === 'PIN' ? file : `${file}, or give --pkcs8-password`;
};

/** Largest secret that is read from somewhere, bytes. */
export const SECRET_LIMIT = 4096;

/** Without its one final line end. */
export const withoutLineEnd = (data: Buffer): Buffer =>
  data.subarray(0, data.at(-1) === 0x0a ? (data.at(-2) === 0x0d ? -2 : -1) : undefined);

/**
 * The secret in a file, read when asked, without its final line end.
 *
 * @param source an absolute path, or its `file:` URI (RFC 7512 §2.4 `pin-source`)
 * @param limits how long to wait for the writer of a FIFO; default: a minute
 * @throws {SecretError} `ERR_SECRET_UNREADABLE` when asked
 * @throws {HoldfastError} `ERR_INTERRUPTED`, `ERR_SIGNING_TIMEOUT` when asked
 */
export function secretFromFile(source: string, limits: Limits = {}): SecretFunction {
  const path = pathOf(source);
  const read = async (): Promise<Secret> => {
    if (path === undefined) throw noSource();
    const hint = 'name a file that can be read and that holds the secret and nothing else';
    return readSecretFile(path, 'secret file', hint, limits);
  };
  return Object.assign(read, { origin: path === undefined ? undefined : ({ kind: 'file', name: path } as const) });
}

/**
 * @param what it is to the person who named it
 * @param hint for when it cannot be read
 */
export async function readSecretFile(path: string, what: string, hint: string, limits: Limits): Promise<Secret> {
  try {
    const { data } = await within(patient(limits), `reading the ${what} ${printable(path)}`, (signal) =>
      readBounded(path, { limit: SECRET_LIMIT, what, signal }),
    );
    const secret = new Secret(withoutLineEnd(data));
    data.fill(0);
    return secret;
  } catch (cause) {
    throw asUnreadable(cause, hint);
  }
}

/** An error of a file, as one of a secret; an interruption and a deadline stay what they are. */
export function asUnreadable(cause: unknown, hint: string): HoldfastError {
  if (cause instanceof HoldfastError && /^ERR_(INTERRUPTED|SIGNING_TIMEOUT|SECRET_)/.test(cause.code)) return cause;
  return new SecretError('ERR_SECRET_UNREADABLE', messageOf(cause), { hint, cause });
}

/** The path of a secret's file. */
function pathOf(source: string): string | undefined {
  try {
    const { scheme, location, query } = parseKeyUri(source);
    return scheme === 'file' && query.size === 0 && isAbsolute(location) ? location : undefined;
  } catch {
    return undefined;
  }
}

/** What is no path may be the secret itself, so it is not repeated. */
const noSource = (): SecretError =>
  new SecretError(
    'ERR_SECRET_UNREADABLE',
    'the source of the secret is neither an absolute path nor the URI of a file',
    { hint: 'write /path/to/secret or file:/path/to/secret' },
  );

/** Run `use` with a secret and wipe it afterwards, whatever happens. */
export async function withSecret<T>(
  source: SecretSource | undefined,
  request: SecretRequest,
  use: (secret: Secret) => T | Promise<T>,
): Promise<T> {
  const secret = await askSecret(source, request);
  try {
    return await use(secret);
  } finally {
    secret.wipe();
  }
}

/** Refuse what a secret can never be. @throws {HoldfastError} `ERR_OPTION_INVALID` */
export function checkSecretSource(source: unknown): asserts source is SecretSource | undefined {
  if (typeof source === 'function') return checkOrigin(source);
  if (source === undefined || typeof source === 'string' || source instanceof Uint8Array) return;
  throw notASecret('a secret is a string, bytes, or a function that returns one');
}

/** It stands in records and in errors, and crosses to another process. */
function checkOrigin(source: object): void {
  let cause: unknown;
  try {
    const { origin } = source as { readonly origin?: unknown };
    if (origin === undefined || origin === null) return;
    const { kind, name } = origin as Partial<Record<keyof SecretOrigin, unknown>>;
    if (typeof kind === 'string' && typeof name === 'string') return;
  } catch (thrown) {
    cause = thrown;
  }
  throw new HoldfastError('ERR_OPTION_INVALID', 'the "origin" of the function that is the option "secret" is none', {
    hint: 'give an object with kind and name, both text, or leave it out',
    cause,
  });
}

const notASecret = (message: string): HoldfastError =>
  new HoldfastError('ERR_OPTION_INVALID', message, { hint: 'correct the option "secret": a number is no PIN' });
