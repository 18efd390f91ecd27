import type { KeyUri } from '../../uri.ts';
import type { OpenKey, OpenOptions } from '../store.ts';
import { readAddress } from './address.ts';
import { openAt } from './open.ts';

/**
 * Open a key of a TPM 2.0: `tpm:handle=0x81010001` (or `handle:0x81010001`) for a persistent one, `tpm:file=/etc/aws/key.tpm`
 * for a TSS2 key file. The TPM is that of `?device=PATH`, `?tcp=HOST:PORT` (swtpm) or `?mssim=HOST:PORT`, else that of
 * `TPM_DEVICE` or `TPM2TOOLS_TCTI`, else `/dev/tpmrm0`. The authValue comes from `options.secret`, `pin-value` or
 * `pin-source`; that of a storage key or hierarchy from `parent-pin-value` or `parent-pin-source`. What crosses the bus is
 * encrypted and proven in both directions unless `session=password` is given.
 *
 * @throws {HoldfastError} `ERR_URI_INVALID`, `ERR_OPTION_INVALID`, `ERR_FILE_*`, `ERR_TOKEN_NOT_FOUND`, `ERR_TOKEN_FAILED`,
 *   `ERR_KEY_NOT_FOUND`, `ERR_KEY_INVALID`, `ERR_KEY_UNSUPPORTED`, `ERR_KEY_POLICY`, `ERR_SECRET_*`, `ERR_INTERRUPTED`,
 *   `ERR_SIGNING_TIMEOUT`
 */
export async function open(uri: KeyUri, options: OpenOptions): Promise<OpenKey> {
  return openAt(readAddress(uri, options), options);
}
