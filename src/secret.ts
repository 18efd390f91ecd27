import { readFile } from 'node:fs/promises';
import { HoldfastError, messageOf, SecretError } from './errors.ts';

/** A secret as the caller has it, or a function that fetches it when it is needed and not before. */
export type SecretSource = string | Uint8Array | ((request: SecretRequest) => SecretValue | Promise<SecretValue>);

/** `undefined` means: there is nobody to ask. */
export type SecretValue = string | Uint8Array | undefined;

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

/**
 * Ask for a secret, now that it is needed. The caller wipes it.
 *
 * @throws {SecretError} `ERR_SECRET_REQUIRED` when there is no source, or the source has nothing
 */
export async function askSecret(source: SecretSource | undefined, request: SecretRequest): Promise<Secret> {
  const value = typeof source === 'function' ? await source(request) : source;
  if (value !== undefined) return new Secret(value);
  throw new SecretError('ERR_SECRET_REQUIRED', `${request.of} needs its ${request.kind}, and none was given`, {
    hint: source === undefined ? `give the ${request.kind} (docs/cli.md names the ways)` : `there was nobody to ask`,
    triesLeft: request.triesLeft,
  });
}

/** Largest secret file that is read, bytes. */
const SECRET_FILE_LIMIT = 4096;

/**
 * The secret in a file, read when asked, without its final line end.
 *
 * @param source `file:/path` (a `file:` URI, RFC 7512 §2.4 `pin-source`) or a bare absolute path
 * @throws {SecretError} `ERR_SECRET_UNREADABLE`
 */
export function secretFromFile(source: string): SecretSource {
  return async () => {
    const path = source.replace(/^file:(\/\/)?(?=\/)/, '');
    let data: Buffer;
    try {
      data = await readFile(path);
    } catch (cause) {
      throw new SecretError('ERR_SECRET_UNREADABLE', `cannot read the secret file ${path}: ${messageOf(cause)}`, {
        hint: 'check the path and its permissions',
        cause,
      });
    }
    if (data.length > SECRET_FILE_LIMIT) {
      throw new SecretError('ERR_SECRET_UNREADABLE', `${path} has ${data.length} bytes: that is no PIN or passphrase`, {
        hint: 'name a file that holds the secret and nothing else',
      });
    }
    const end = data.at(-1) === 0x0a ? (data.at(-2) === 0x0d ? -2 : -1) : undefined;
    return end === undefined ? data : data.subarray(0, end);
  };
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
  throw new HoldfastError('ERR_OPTION_INVALID', 'a secret is a string, bytes, or a function that returns one', {
    hint: 'correct the option "secret"',
  });
}
