import { isAbsolute } from 'node:path';
import { HoldfastError, messageOf, SecretError } from './errors.ts';
import { readBounded } from './read-file.ts';
import { type KeyUri, parseKeyUri, textOf } from './uri.ts';

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

/** Largest secret file that is read, bytes. */
const SECRET_FILE_LIMIT = 4096;

/**
 * The secret in a file, read when asked, without its final line end.
 *
 * @param source an absolute path, or its `file:` URI (RFC 7512 §2.4 `pin-source`)
 * @throws {SecretError} `ERR_SECRET_UNREADABLE` when asked
 */
export function secretFromFile(source: string): SecretSource {
  return async () => {
    const path = pathOf(source);
    try {
      const { data } = await readBounded(path, { limit: SECRET_FILE_LIMIT, what: 'secret file' });
      const end = data.at(-1) === 0x0a ? (data.at(-2) === 0x0d ? -2 : -1) : undefined;
      const secret = new Secret(data.subarray(0, end));
      data.fill(0);
      return secret;
    } catch (cause) {
      const hint = 'name a file that can be read and that holds the secret and nothing else';
      throw new SecretError('ERR_SECRET_UNREADABLE', messageOf(cause), { hint, cause });
    }
  };
}

/**
 * The secret that a key URI carries as `pin-value`, or names as `pin-source` (RFC 7512 §2.4); undefined when it does
 * neither. Nothing is read yet.
 *
 * @throws {HoldfastError} `ERR_URI_INVALID` for both at once, and for a source that is no file
 */
export function secretOf({ query }: KeyUri): SecretSource | undefined {
  const value = query.get('pin-value');
  const source = textOf(query, 'pin-source');
  if (source === undefined) return value;
  const refuse = (message: string, hint: string): never => {
    throw new HoldfastError('ERR_URI_INVALID', message, { hint });
  };
  if (value) return refuse('the key URI has a pin-value and a pin-source', 'keep one of them');
  if (isAbsolute(source.replace(/^file:(\/\/)?(?=\/)/, ''))) return secretFromFile(source);
  return refuse('the pin-source is neither a file: URI nor an absolute path', 'write pin-source=file:/path/to/secret');
}

/** The path of a secret's file. What is no path may be the secret itself, so it is not repeated. */
function pathOf(source: string): string {
  let uri: KeyUri | undefined;
  try {
    uri = parseKeyUri(source);
  } catch {}
  if (uri?.scheme === 'file' && uri.query.size === 0 && isAbsolute(uri.location)) return uri.location;
  throw new SecretError(
    'ERR_SECRET_UNREADABLE',
    'the source of the secret is neither an absolute path nor the URI of a file',
    { hint: 'write /path/to/secret or file:/path/to/secret' },
  );
}

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
  if (source === undefined || typeof source === 'string' || typeof source === 'function') return;
  if (source instanceof Uint8Array) return;
  throw notASecret('a secret is a string, bytes, or a function that returns one');
}

const notASecret = (message: string): HoldfastError =>
  new HoldfastError('ERR_OPTION_INVALID', message, { hint: 'correct the option "secret": a number is no PIN' });
