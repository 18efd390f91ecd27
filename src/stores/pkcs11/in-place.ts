import { within } from '../../limits.ts';
import { timeOf } from '../../option-types.ts';
import type { KeyUri } from '../../uri.ts';
import type { CreateOptions, KeyInfo, ListOptions, OpenOptions, RetriedPins } from '../store.ts';
import { readAddress } from './address.ts';
import { selectCertificates } from './certificates.ts';
import { connect, logIn } from './connect.ts';
import { type LimitedKey, openOn } from './open.ts';

/**
 * Open a private key on a PKCS#11 token: `pkcs11:token=prod;object=web?module-path=/usr/lib/x.so&pin-source=file:/run/pin`
 * (RFC 7512). Logs in at most once.
 *
 * @throws {HoldfastError} `ERR_URI_INVALID`, `ERR_DRIVER_*`, `ERR_MODULE_*`, `ERR_TOKEN_*`, `ERR_KEY_*`, `ERR_SECRET_*`,
 *   `ERR_INTERRUPTED`, `ERR_SIGNING_TIMEOUT`
 */
export async function open(uri: KeyUri, options: OpenOptions): Promise<LimitedKey> {
  const address = readAddress(uri, options);
  return within(options, 'opening the key', async (signal) => {
    const { connection, secret } = await logIn(address, options, signal);
    try {
      return openOn(connection, secret, options);
    } catch (error) {
      connection.close();
      throw error;
    }
  });
}

/**
 * DER certificates that the URI selects, the leaf first, then their issuers. Never logs in.
 *
 * @returns empty when the URI selects none
 * @throws {HoldfastError} `ERR_URI_INVALID`, `ERR_DRIVER_*`, `ERR_MODULE_*`, `ERR_TOKEN_*`, `ERR_CERTIFICATE_AMBIGUOUS`
 */
export async function readCertificates(uri: KeyUri, options: OpenOptions): Promise<readonly Uint8Array[]> {
  const address = readAddress(uri, options);
  return within(options, 'reading certificates', async (signal) => {
    const connection = await connect(address, signal);
    try {
      signal.throwIfAborted();
      return selectCertificates(connection, timeOf(options));
    } finally {
      connection.close();
    }
  });
}

/**
 * What is there: all tokens of a module, or what one token holds, or what the URI names of that. Never logs in unless
 * `login` is set, and then on one token only: without it most tokens show no private objects.
 *
 * @throws {HoldfastError} as `open` does
 */
export async function list(uri: KeyUri, options: ListOptions): Promise<readonly KeyInfo[]> {
  const { listAt, LISTED_TYPES } = await import('./list.ts');
  return listAt(readAddress(uri, options, LISTED_TYPES), options);
}

/**
 * Make a key pair in the token, where it stays: sensitive and not extractable. `object` becomes its label; without an
 * `id` it gets a random one.
 *
 * @returns the URI that opens it
 * @throws {HoldfastError} `ERR_KEY_EXISTS`, and as `open` does
 */
export async function create(uri: KeyUri, options: CreateOptions): Promise<KeyUri> {
  const { createKey } = await import('./administer.ts');
  return createKey(readAddress(uri, options, ['private']), options);
}

/**
 * Put certificates beside a key: the leaf under the key's identifier and label, its issuers under their own.
 *
 * @throws {HoldfastError} `ERR_KEY_EXISTS` when another certificate is there, `ERR_CERTIFICATE_*`, and as `open` does
 */
export async function putCertificate(uri: KeyUri, chain: readonly Uint8Array[], options: OpenOptions): Promise<void> {
  const { writeCertificates } = await import('./administer.ts');
  return writeCertificates(readAddress(uri, options), chain, options);
}

/**
 * Remove the one certificate that the URI selects by its `id` or `object`; never a key.
 *
 * @throws {HoldfastError} `ERR_CERTIFICATE_AMBIGUOUS`, `ERR_CERTIFICATE_REQUIRED` when there is none, and as `open` does
 */
export async function removeCertificate(uri: KeyUri, options: OpenOptions): Promise<void> {
  const { deleteCertificate } = await import('./administer.ts');
  return deleteCertificate(readAddress(uri, options, ['cert']), options);
}

/**
 * Forget which PINs the token of this URI refused, among all processes of the user, so that they are sent once more.
 * Sends none.
 *
 * @throws {HoldfastError} `ERR_URI_INVALID`, `ERR_DRIVER_*`, `ERR_MODULE_*`, `ERR_TOKEN_*`, `ERR_INTERRUPTED`
 */
export async function retryPin(uri: KeyUri, options: OpenOptions): Promise<RetriedPins> {
  const { forgetRefusals } = await import('./pin-retry.ts');
  // No secret is fetched, so a command is not run either.
  return forgetRefusals(readAddress(uri, { ...options, allowCommands: true }), options);
}
