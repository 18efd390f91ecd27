import { KeyObject } from 'node:crypto';
import { readCertificates as certificatesIn } from '../../certificate.ts';
import { HoldfastError } from '../../errors.ts';
import { orAborted, within } from '../../limits.ts';
import { secretOf } from '../../pin-source.ts';
import { checkSecretSource, type SecretSource } from '../../secret.ts';
import { checkAttributes, type KeyUri } from '../../uri.ts';
import type { OpenKey, OpenOptions } from '../store.ts';
import { checkExposure } from './exposure.ts';
import { isPkcs12 } from './identify.ts';
import { findKey, sortCertificates, unlockKey } from './key-file.ts';
import { nodeKey } from './node-key.ts';
import { sourceOf } from './source.ts';

/**
 * Open the private key in a file, an environment variable (`env:NAME`) or a descriptor of this process (`fd:3`; `-` is
 * standard input): PEM or DER; PKCS#1, SEC1, PKCS#8, encrypted PKCS#8, old encrypted PEM, PKCS#12. RSA from 1024 bits,
 * EC on every curve that Node has, ML-DSA where Node has it. The passphrase comes from `options.secret`, else from the
 * URI's `pin-value` (the passphrase itself) or `pin-source` (where it is), and is asked for only when the key is
 * encrypted.
 *
 * @throws {HoldfastError} `ERR_FILE_NOT_FOUND`, `ERR_FILE_UNREADABLE`, `ERR_FILE_TOO_LARGE` (over 1 MiB);
 * `ERR_KEY_INVALID`, `ERR_KEY_UNSUPPORTED`, `ERR_KEY_AMBIGUOUS`, saying what the file is instead; `ERR_KEY_EXPOSED` when
 * others can write it, or read it under `strictFiles`; `ERR_SECRET_REQUIRED`, `ERR_SECRET_WRONG`,
 * `ERR_SECRET_UNREADABLE`; `ERR_URI_INVALID`, `ERR_OPTION_INVALID`; `ERR_INTERRUPTED`, `ERR_SIGNING_TIMEOUT`
 */
export async function open(uri: KeyUri, options: OpenOptions): Promise<OpenKey> {
  const named = namedSecret(uri, options);
  const secret = options.secret ?? named;
  const { name, read } = sourceOf(uri, 'key file', options);
  return inTime(`opening the ${name}`, options, async (signal) => {
    const { data, stat } = await read(signal);
    // What the file is comes first: to be told of the permissions of what is no key helps nobody.
    const found = await findKey(data, name);
    if (stat) checkExposure(stat, name, options, process.getuid?.());
    return openFound(found, name, { ...options, secret });
  });
}

/**
 * The certificates in a file, a variable or a descriptor, PEM, DER or PKCS#12, in its order. The file may be anybody's:
 * certificates are public. In PKCS#12 they are encrypted all the same, so that its passphrase may be asked for.
 *
 * @throws {HoldfastError} `ERR_FILE_*`; `ERR_CERTIFICATE_INVALID` when there is none; for PKCS#12 as {@link open}
 */
export async function readCertificates(uri: KeyUri, options: OpenOptions): Promise<readonly Uint8Array[]> {
  // The option is that of the key, which may be another file or a token: what this URI says comes first.
  const secret = namedSecret(uri, options) ?? options.secret;
  const { name, read } = sourceOf(uri, 'certificate file', options);
  return inTime(`reading the ${name}`, options, async (signal) => {
    const { data } = await read(signal);
    if (!isPkcs12(data)) return certificatesIn(data, `the ${name}`).map(({ der }) => der);
    const { withPkcs12 } = await import('./pkcs12.ts');
    const request = { kind: 'passphrase', of: name, purpose: options.purpose } as const;
    return withPkcs12(data, secret, request, async ({ certificates }) => certificates);
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
  return inTime(`opening the ${name}`, options, async () =>
    openFound(await findKey(typeof data === 'string' ? Buffer.from(data) : data, name), name, options),
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
 * @throws {HoldfastError} `ERR_KEY_UNSUPPORTED` for anything but RSA, EC and ML-DSA; `ERR_OPTION_INVALID`
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

/** Work that does not heed the signal, such as a prompt, goes on unseen. */
const inTime = <T>(what: string, options: OpenOptions, work: (signal: AbortSignal) => Promise<T>): Promise<T> =>
  within(options, what, (signal) => orAborted(work(signal), signal));

async function openFound(
  found: Awaited<ReturnType<typeof findKey>>,
  name: string,
  options: OpenOptions,
): Promise<OpenKey> {
  const { purpose, signal, deadline } = options;
  const { key, certificates } = await unlockKey(found, options.secret, { kind: 'passphrase', of: name, purpose });
  return nodeKey(key, { name, signal, deadline, certificates: sortCertificates(certificates, key) });
}

/** The secret that the URI names, once URI and options were checked. */
function namedSecret(uri: KeyUri, options: OpenOptions): SecretSource | undefined {
  checkAttributes(uri, { path: [], query: ['pin-source', 'pin-value'] });
  checkSecretSource(options.secret);
  return secretOf(uri, options);
}
