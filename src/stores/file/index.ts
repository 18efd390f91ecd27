import { KeyObject } from 'node:crypto';
import { isAbsolute } from 'node:path';
import { readCertificates as certificatesIn } from '../../certificate.ts';
import { HoldfastError } from '../../errors.ts';
import { printable, readBounded } from '../../read-file.ts';
import { checkSecretSource, type SecretSource, secretFromFile } from '../../secret.ts';
import { checkAttributes, type KeyUri, textOf } from '../../uri.ts';
import type { OpenKey, OpenOptions } from '../store.ts';
import { checkExposure } from './exposure.ts';
import { inTime } from './in-time.ts';
import { type FoundKey, findKey, sortCertificates, unlockKey } from './key-file.ts';
import { nodeKey } from './node-key.ts';

/** Largest key file that is read, bytes: a key with a long chain has some tens of thousands. */
const KEY_FILE_LIMIT = 1024 * 1024;

/**
 * Open the private key in a file: PEM or DER; PKCS#1, SEC1, PKCS#8, encrypted PKCS#8, old encrypted PEM. RSA from 1024
 * bits and EC on every curve that Node has. The passphrase comes from `options.secret`, else from the URI's `pin-value`
 * (the passphrase itself) or `pin-source` (a file that holds it), and is asked for only when the key is encrypted.
 *
 * @throws {HoldfastError} `ERR_FILE_NOT_FOUND`, `ERR_FILE_UNREADABLE`, `ERR_FILE_TOO_LARGE` (over 1 MiB);
 * `ERR_KEY_INVALID`, `ERR_KEY_UNSUPPORTED`, `ERR_KEY_AMBIGUOUS`, saying what the file is instead; `ERR_KEY_EXPOSED` when
 * others can write it, or read it under `strictFiles`; `ERR_SECRET_REQUIRED`, `ERR_SECRET_WRONG`,
 * `ERR_SECRET_UNREADABLE`; `ERR_URI_INVALID`, `ERR_OPTION_INVALID`; `ERR_INTERRUPTED`, `ERR_SIGNING_TIMEOUT`
 */
export async function open(uri: KeyUri, options: OpenOptions): Promise<OpenKey> {
  const secret = secretSourceOf(uri, options);
  const name = `key file ${printable(uri.location)}`;
  return inTime(`opening the ${name}`, options, async (signal) => {
    const { data, stat } = await readBounded(uri.location, { limit: KEY_FILE_LIMIT, what: 'key file', signal });
    // What the file is comes first: to be told of the permissions of what is no key helps nobody.
    const found = findKey(data, name);
    checkExposure(stat, name, options, process.getuid?.());
    return openFound(found, name, { ...options, secret });
  });
}

/**
 * The certificates in a file, PEM or DER, in its order. It may be anybody's: certificates are public.
 *
 * @throws {HoldfastError} `ERR_FILE_*`; `ERR_CERTIFICATE_INVALID` when there is none
 */
export async function readCertificates(uri: KeyUri, options: OpenOptions): Promise<readonly Uint8Array[]> {
  secretSourceOf(uri, options);
  const name = `certificate file ${printable(uri.location)}`;
  return inTime(`reading the ${name}`, options, async (signal) => {
    const { data } = await readBounded(uri.location, { limit: KEY_FILE_LIMIT, what: 'certificate file', signal });
    return certificatesIn(data, `the ${name}`).map(({ der }) => der);
  });
}

export interface KeyBytesOptions extends OpenOptions {
  /** What to call the key in errors and prompts, without an article. Default: `key data`. */
  name?: string | undefined;
}

/**
 * Open a private key from the content of a key file that was read from elsewhere: everything {@link open} takes.
 *
 * @throws {HoldfastError} as {@link open}, but for files and URIs
 */
export async function openKeyBytes(data: string | Uint8Array, options: KeyBytesOptions = {}): Promise<OpenKey> {
  checkSecretSource(options.secret);
  const name = options.name ?? 'key data';
  if (typeof data !== 'string' && !(data instanceof Uint8Array)) {
    throw new HoldfastError('ERR_OPTION_INVALID', 'key data is PEM text, or bytes', {
      hint: 'give the content of a key file',
    });
  }
  return inTime(`opening the ${name}`, options, () =>
    openFound(findKey(typeof data === 'string' ? Buffer.from(data) : data, name), name, options),
  );
}

export interface KeyObjectOptions extends Pick<OpenOptions, 'signal' | 'deadline'> {
  /** DER certificates that go with the key. Default: none. */
  certificates?: readonly Uint8Array[] | undefined;
  /** What to call the key, without an article. Default: `key object`. */
  name?: string | undefined;
}

/**
 * Use a private key that node:crypto already holds.
 *
 * @throws {HoldfastError} `ERR_KEY_UNSUPPORTED` for anything but RSA and EC; `ERR_OPTION_INVALID`
 */
export function openKeyObject(key: KeyObject, options: KeyObjectOptions = {}): OpenKey {
  if (!(key instanceof KeyObject)) {
    throw new HoldfastError('ERR_OPTION_INVALID', 'a key object is a KeyObject of node:crypto', {
      hint: 'make one with createPrivateKey, or use openKeyBytes',
    });
  }
  const { certificates = [], name = 'key object', ...rest } = options;
  return nodeKey(key, { ...rest, name, certificates: sortCertificates(certificates, key) });
}

async function openFound(found: FoundKey, name: string, options: OpenOptions): Promise<OpenKey> {
  const { purpose, signal, deadline } = options;
  const key = await unlockKey(found, options.secret, { kind: 'passphrase', of: name, purpose });
  return nodeKey(key, { name, signal, deadline, certificates: sortCertificates(found.certificates, key) });
}

function secretSourceOf(uri: KeyUri, { secret }: OpenOptions): SecretSource | undefined {
  checkAttributes(uri, { path: [], query: ['pin-source', 'pin-value'] });
  checkSecretSource(secret);
  const value = uri.query.get('pin-value');
  const source = textOf(uri.query, 'pin-source');
  if (source === undefined) return secret ?? value;
  // RFC 7512 §2.4: a URI with both should be refused.
  if (value) throw invalid('the key URI has a pin-value and a pin-source', 'keep one of them');
  if (!isAbsolute(source.replace(/^file:(\/\/)?(?=\/)/, ''))) {
    throw invalid(
      'the pin-source is neither a file: URI nor an absolute path',
      'write pin-source=file:/path/to/secret',
    );
  }
  return secret ?? secretFromFile(source);
}

const invalid = (message: string, hint: string): HoldfastError =>
  new HoldfastError('ERR_URI_INVALID', message, { hint });
