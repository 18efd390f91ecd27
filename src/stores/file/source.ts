import type { Stats } from 'node:fs';
import { HoldfastError } from '../../errors.ts';
import { within } from '../../limits.ts';
import { type BoundedFile, printable, readBounded, readDescriptor } from '../../read-file.ts';
import type { KeyUri } from '../../uri.ts';
import type { OpenOptions } from '../store.ts';

/** What a URI of this store names. */
export interface Source {
  /** What it is called in errors and prompts, without an article: `key file /etc/aws/key.pem`. */
  readonly name: string;
  /** @throws {HoldfastError} `ERR_FILE_*`, `ERR_OPTION_INVALID`, `ERR_INTERRUPTED`, `ERR_SIGNING_TIMEOUT` */
  readonly read: (signal: AbortSignal) => Promise<Content>;
}

interface Content {
  readonly data: Uint8Array;
  /** Of the opened file; an environment variable has none. */
  readonly stat: Stats | undefined;
}

/** Largest content that is read, bytes: a key with a long chain has some tens of thousands. */
const LIMIT = 1024 * 1024;

/**
 * Milliseconds until whoever holds the other end of a descriptor must have written it all, where the caller sets no
 * deadline. A parent that never closes the standard input it gave to a child would else be waited for without end.
 */
const PATIENCE = 60_000;

export function sourceOf(
  uri: KeyUri,
  what: 'key file' | 'certificate file',
  { deadline }: Pick<OpenOptions, 'deadline'>,
): Source {
  const { scheme, location } = uri;
  if (scheme === 'env') {
    const name = `${what} in the variable ${location}`;
    return { name, read: async () => ({ data: readVariable(location, name), stat: undefined }) };
  }
  if (scheme === 'fd') {
    const name = `${what} on ${location === '0' ? 'standard input' : `descriptor ${location}`}`;
    const limits = { deadline: deadline === undefined ? PATIENCE : undefined };
    return {
      name,
      read: (signal) =>
        readOnce(uri, () =>
          within({ signal, ...limits }, `reading the ${name}`, (stop) =>
            readDescriptor(Number(location), { limit: LIMIT, what, signal: stop }),
          ),
        ),
    };
  }
  const options = { limit: LIMIT, what };
  return { name: `${what} ${printable(location)}`, read: (signal) => readBounded(location, { ...options, signal }) };
}

/** What came out of pipes, which give it only once; kept as long as somebody holds the URI. */
const readings = new WeakMap<KeyUri, Promise<BoundedFile>>();

async function readOnce(uri: KeyUri, read: () => Promise<BoundedFile>): Promise<BoundedFile> {
  const reading = readings.get(uri) ?? read();
  readings.set(uri, reading);
  try {
    const file = await reading;
    if (file.stat.isFile()) readings.delete(uri); // it may have changed the next time
    return file;
  } catch (error) {
    readings.delete(uri);
    throw error;
  }
}

/**
 * A variable cannot hold binary data, and what sets it often cannot hold line ends: Base64 of a whole file is decoded,
 * and `\n` stands for a line end where there is no other. The variable stays, for the next time and for other readers.
 */
function readVariable(variable: string, name: string): Buffer {
  const value = process.env[variable];
  if (value === undefined) {
    const hint = 'export it to this process; without "env:" it would be the path of a file';
    throw new HoldfastError('ERR_FILE_NOT_FOUND', `there is no ${name}: it is not set`, { hint });
  }
  if (value.length > LIMIT) {
    const hint = 'check that it is the right variable';
    throw new HoldfastError('ERR_FILE_TOO_LARGE', `the ${name} is larger than ${LIMIT} bytes`, { hint });
  }
  const text = value.trim();
  if (/^[A-Za-z0-9+/\s]+={0,2}$/.test(text)) return Buffer.from(text, 'base64');
  return Buffer.from(text.includes('\n') ? text : text.replaceAll('\\n', '\n'));
}
