import { readCertificates } from '../../certificate.ts';
import { HoldfastError } from '../../errors.ts';
import { printable, readBounded } from '../../read-file.ts';
import type { Address } from './address.ts';
import { hex } from './constants.ts';
import { readKeyFile } from './key-file.ts';
import type { Target } from './load-key.ts';

const HAS_CERTIFICATE = /-----BEGIN (X509 )?CERTIFICATE-----/;

/** Bytes: a key file has about 700. */
const FILE_LIMIT: number = 64 * 1024;

/** The key that an address names; a key file is read. @throws {HoldfastError} `ERR_URI_INVALID`, `ERR_FILE_*`, `ERR_KEY_*` */
export async function targetOf(
  { device, file, handle, pcrs, plain }: Address,
  parentAuth: () => Uint8Array,
  signal: AbortSignal,
): Promise<Target> {
  const common = { pcrs, plain, parentAuth, deviceName: device.name };
  if (file !== undefined) {
    const name = `TPM key file ${printable(file)}`;
    const { data } = await readBounded(file, { limit: FILE_LIMIT, what: 'TPM key file', signal });
    const certificates = HAS_CERTIFICATE.test(data.toString('latin1'))
      ? readCertificates(data, `the ${name}`).map(({ der }) => der)
      : [];
    return { ...common, name, handle: undefined, file: readKeyFile(data, name), certificates };
  }
  if (handle !== undefined) {
    return { ...common, name: `key ${hex(handle)} in the ${device.name}`, handle, file: undefined, certificates: [] };
  }
  throw new HoldfastError('ERR_URI_INVALID', 'the key URI names no key of the TPM', {
    hint: 'write tpm:handle=0x81010001 or tpm:file=/path/to/key.tpm (holdfast list tpm: shows what there is)',
  });
}
