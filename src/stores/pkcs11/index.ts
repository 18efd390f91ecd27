import { HoldfastError, systemCodeOf } from '../../errors.ts';
import { checkOptionTypes } from '../../option-types.ts';
import { checkSecretSource } from '../../secret.ts';
import type { KeyUri } from '../../uri.ts';
import type { CreateOptions, KeyInfo, KeyStore, ListOptions, OpenKey, OpenOptions, RetriedPins } from '../store.ts';
import { type Failing, registry } from './modules.ts';

/**
 * Open a private key on a PKCS#11 token: `pkcs11:token=prod;object=web?module-path=/usr/lib/x.so&pin-source=file:/run/pin`
 * (RFC 7512). Logs in at most once. The module runs in a process of its own, which ends with the key, unless
 * `isolation` says otherwise.
 *
 * @throws {HoldfastError} `ERR_URI_INVALID`, `ERR_DRIVER_*`, `ERR_MODULE_*`, `ERR_TOKEN_*`, `ERR_KEY_*`, `ERR_SECRET_*`,
 *   `ERR_STORE_CRASHED`, `ERR_CHILD_MISSING`, `ERR_TOKEN_RESTING`, `ERR_INTERRUPTED`, `ERR_SIGNING_TIMEOUT`
 */
export async function open(uri: KeyUri, options: OpenOptions): Promise<OpenKey> {
  const way = await wayOf(options);
  const key = await sparingly(uri, 'open', () => way.open(uri, options));
  return { ...key, sign: (message, hash) => sparingly(uri, 'sign', () => key.sign(message, hash)) };
}

/**
 * DER certificates that the URI selects, the leaf first, then their issuers. Never logs in.
 *
 * @returns empty when the URI selects none
 * @throws {HoldfastError} `ERR_URI_INVALID`, `ERR_DRIVER_*`, `ERR_MODULE_*`, `ERR_TOKEN_*`, `ERR_CERTIFICATE_AMBIGUOUS`,
 *   `ERR_STORE_CRASHED`, `ERR_CHILD_MISSING`, `ERR_TOKEN_RESTING`
 */
export async function readCertificates(uri: KeyUri, options: OpenOptions): Promise<readonly Uint8Array[]> {
  const way = await wayOf(options);
  return sparingly(uri, 'read', () => way.readCertificates(uri, options));
}

/**
 * What is there: all tokens of a module, or what one token holds, or what the URI names of that. Never logs in unless
 * `login` is set, and then on one token only: without it most tokens show no private objects.
 *
 * @throws {HoldfastError} as `open` does
 */
export async function list(uri: KeyUri, options: ListOptions): Promise<readonly KeyInfo[]> {
  const way = await wayOf(options);
  return sparingly(uri, 'read', () => way.list(uri, options));
}

/**
 * Make a key pair in the token, where it stays: sensitive and not extractable. `object`, which is UTF-8, becomes its
 * label; without an `id` it gets a random one. A name that is taken is refused, also when several processes of one user
 * want it at once, provided that they have a private directory in memory (Linux: `XDG_RUNTIME_DIR`, `/run`, `/dev/shm`).
 * Without one, and among users or machines, two may both get it: PKCS#11 cannot look and make in one step.
 *
 * @returns the URI that opens it
 * @throws {HoldfastError} `ERR_KEY_EXISTS`, and as `open` does
 */
export async function create(uri: KeyUri, options: CreateOptions): Promise<KeyUri> {
  return (await wayOf(options)).create(uri, options);
}

/**
 * Put certificates beside a key: the leaf under the key's identifier and label, its issuers under their own.
 *
 * @throws {HoldfastError} `ERR_KEY_EXISTS` when another certificate is there, `ERR_CERTIFICATE_*`, and as `open` does
 */
export async function putCertificate(uri: KeyUri, chain: readonly Uint8Array[], options: OpenOptions): Promise<void> {
  return (await wayOf(options)).putCertificate(uri, chain, options);
}

/**
 * Remove the one certificate that the URI selects by its `id` or `object`; never a key.
 *
 * @throws {HoldfastError} `ERR_CERTIFICATE_AMBIGUOUS`, `ERR_CERTIFICATE_REQUIRED` when there is none, and as `open` does
 */
export async function removeCertificate(uri: KeyUri, options: OpenOptions): Promise<void> {
  return (await wayOf(options)).removeCertificate(uri, options);
}

/**
 * Forget which PINs the token of this URI refused, among all processes of the user, so that they are sent once more.
 * Sends none.
 *
 * @throws {HoldfastError} `ERR_URI_INVALID`, `ERR_DRIVER_*`, `ERR_MODULE_*`, `ERR_TOKEN_*`, `ERR_STORE_CRASHED`,
 *   `ERR_CHILD_MISSING`, `ERR_INTERRUPTED`
 */
export async function retryPin(uri: KeyUri, options: OpenOptions): Promise<RetriedPins> {
  return (await wayOf(options)).retryPin(uri, options);
}

/**
 * With the circuit breaker, which is loaded once something has failed. Only what a program does again and again needs it:
 * what writes to a token is asked for once, and does not wait for others' failures.
 */
async function sparingly<T>(uri: KeyUri, use: Failing['use'], work: () => Promise<T>): Promise<T> {
  if (registry().failing.size > 0) return (await import('./breaker.ts')).sparing(uri, use, work);
  try {
    return await work();
  } catch (error) {
    // Nothing can be loaded where all descriptors are taken, and that is not the error.
    const breaker = await import('./breaker.ts').catch(() => undefined);
    breaker?.note(uri, use, error);
    throw error;
  }
}

async function wayOf(options: OpenOptions): Promise<Required<KeyStore>> {
  checkOptionTypes(options);
  checkSecretSource(options.secret ?? undefined);
  if ((options.isolation ?? 'child') === 'child') return import('./isolated.ts');
  // Each thread would have its own idea of who initialised the module and who is logged in, which belong to the process.
  if (!isWorker()) return import('./in-place.ts');
  throw new HoldfastError('ERR_OPTION_INVALID', 'a worker thread cannot have a PKCS#11 module in place', {
    hint: "use isolation: 'child' there, which is the default",
  });
}

/** `node:worker_threads` would say so too, and costs a start two milliseconds. Only the main thread may change directory. */
function isWorker(): boolean {
  try {
    process.chdir('.'); // where we are already
    return false;
  } catch (error) {
    return systemCodeOf(error) === 'ERR_WORKER_UNSUPPORTED_OPERATION';
  }
}
