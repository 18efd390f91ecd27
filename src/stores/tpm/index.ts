import type { KeyUri } from '../../uri.ts';
import type { CreateOptions, KeyInfo, ListOptions, OpenKey, OpenOptions, RetriedPins } from '../store.ts';
import { readAddress } from './address.ts';
import { openAt } from './open.ts';

/**
 * Open a key of a TPM 2.0: `tpm:handle=0x81010001` (or `handle:0x81010001`) for a persistent one, `tpm:file=/etc/aws/key.tpm`
 * for a TSS2 key file. The TPM is that of `?device=PATH`, `?tcp=HOST:PORT` (swtpm) or `?mssim=HOST:PORT`, else that of
 * `TPM_DEVICE` or `TPM2TOOLS_TCTI`, else `/dev/tpmrm0`. The authValue comes from `options.secret`, `pin-value` or
 * `pin-source`; that of a storage key or hierarchy from `parent-pin-value` or `parent-pin-source`; `owner-pin-value` and
 * `owner-pin-source` are for `create`, `persist` and `remove`. What crosses the bus is encrypted and proven in both directions unless `session=password` is given.
 *
 * @throws {HoldfastError} `ERR_URI_INVALID`, `ERR_OPTION_INVALID`, `ERR_FILE_*`, `ERR_TOKEN_NOT_FOUND`, `ERR_TOKEN_FAILED`,
 *   `ERR_KEY_NOT_FOUND`, `ERR_KEY_INVALID`, `ERR_KEY_UNSUPPORTED`, `ERR_KEY_POLICY`, `ERR_SECRET_*`, `ERR_INTERRUPTED`,
 *   `ERR_SIGNING_TIMEOUT`
 */
export async function open(uri: KeyUri, options: OpenOptions): Promise<OpenKey> {
  return openAt(readAddress(uri, options), options);
}

/**
 * The TPM that a `tpm:` URI names, and what is at its persistent handles. Asks for no authValue.
 *
 * @throws {HoldfastError} `ERR_URI_INVALID`, `ERR_OPTION_INVALID`, `ERR_TOKEN_*`, `ERR_INTERRUPTED`
 */
export async function list(uri: KeyUri, options: ListOptions): Promise<readonly KeyInfo[]> {
  const { listAt } = await import('./list.ts');
  return listAt(readAddress(uri, options), options);
}

/**
 * Make a key in the TPM: `tpm:file=PATH` writes a TSS2 key file, which tpm2-openssl reads as well, `tpm:handle=0x81...`
 * makes it persistent. `parent=owner` (the default), another hierarchy or a persistent handle says below what; `options.secret` or the
 * URI's `pin-source` is its authValue, without which it has none; `?pcr=sha256:0,7` binds it to what these PCRs are now.
 * Wrong tries of an authValue are counted by the TPM.
 *
 * @returns the URI that opens it, without secrets
 * @throws {HoldfastError} `ERR_KEY_EXISTS`, `ERR_KEY_UNSUPPORTED`, `ERR_FILE_UNWRITABLE`, and as `open` does
 */
export async function create(uri: KeyUri, options: CreateOptions): Promise<KeyUri> {
  const { createKey } = await import('./administer.ts');
  return createKey(readAddress(uri, options, ['parent']), options);
}

/**
 * Put the key of a key file at a persistent handle, where it needs no file. The authValue of the owner hierarchy, which
 * decides what is kept, is `owner-pin-source` (or `parent-pin-source`, where the key was made below that hierarchy).
 *
 * @param handle from 0x81000000 to 0x817fffff; 0x8101.... is for keys of users (TCG registry of reserved handles)
 * @returns the URI that opens it there
 * @throws {HoldfastError} `ERR_KEY_EXISTS`, and as `open` does
 */
export async function persist(uri: KeyUri, handle: number, options: OpenOptions = {}): Promise<KeyUri> {
  const { persistKey } = await import('./administer.ts');
  return persistKey(readAddress(uri, options), handle, options);
}

/**
 * Remove a key from its persistent handle. The authValue of the owner hierarchy is `owner-pin-source`.
 *
 * @throws {HoldfastError} `ERR_KEY_NOT_FOUND`, and as `open` does
 */
export async function remove(uri: KeyUri, options: OpenOptions = {}): Promise<void> {
  const { removeKey } = await import('./administer.ts');
  return removeKey(readAddress(uri, options), options);
}

/**
 * The public half of a key: DER SubjectPublicKeyInfo. That of a key file is read without a TPM; no authValue is asked for.
 *
 * @throws {HoldfastError} `ERR_KEY_NOT_FOUND`, `ERR_KEY_INVALID`, `ERR_KEY_UNSUPPORTED`, `ERR_FILE_*`, `ERR_TOKEN_*`
 */
export async function readPublic(uri: KeyUri, options: OpenOptions = {}): Promise<Uint8Array> {
  const { publicKeyAt } = await import('./look.ts');
  return publicKeyAt(readAddress(uri, options), options);
}

/**
 * Forget which authValues a key refused, among all processes of the user, so that they are sent once more: or, for
 * `tpm:parent=0x81000001`, a storage key. Sends none.
 *
 * @throws {HoldfastError} as `readPublic` does
 */
export async function retryPin(uri: KeyUri, options: OpenOptions): Promise<RetriedPins> {
  const { forgetRefusals } = await import('./look.ts');
  // No secret is fetched, so a command is not run either.
  return forgetRefusals(readAddress(uri, { ...options, allowCommands: true }, ['parent']), options);
}
