import { HoldfastError } from '../../errors.ts';
import { printable } from '../../read-file.ts';
import { type KeyUri, textOf } from '../../uri.ts';
import { pathDevice } from './char-device.ts';
import { type Framing, MSSIM, type Place, RAW, socketDevice } from './socket.ts';
import type { Device } from './transport.ts';

/** The query attributes that say how the TPM is reached. */
export const REACH = ['device', 'tcp', 'mssim'] as const;

/** Where Linux offers a TPM to several programs. */
const USUAL = '/dev/tpmrm0';

/**
 * The TPM that a key URI names; else that of `TPM_DEVICE` (a path, as the reference client has it), else that of
 * `TPM2TOOLS_TCTI` (as tpm2-tools have it), else `/dev/tpmrm0`.
 *
 * @throws {HoldfastError} `ERR_URI_INVALID`, `ERR_OPTION_INVALID` for a variable
 */
export function deviceOf({ query }: KeyUri, env: NodeJS.ProcessEnv = process.env): Device {
  const named = REACH.filter((name) => query.has(name));
  if (named.length > 1) {
    throw new HoldfastError('ERR_URI_INVALID', `the key URI names a TPM twice: ${named.join(' and ')}`, {
      hint: 'keep one of them',
    });
  }
  const [name] = named;
  if (name === 'device') return pathDevice(textOf(query, name) || USUAL);
  if (name !== undefined) {
    const place = addressIn(textOf(query, name) ?? '');
    if (place) return socketDevice(place, name === 'mssim' ? MSSIM : RAW);
    throw new HoldfastError('ERR_URI_INVALID', `the attribute "${name}" is no host and port`, {
      hint: `write ${name}=127.0.0.1:2321`,
    });
  }
  if (env.TPM_DEVICE) return pathDevice(env.TPM_DEVICE);
  return env.TPM2TOOLS_TCTI ? tctiDevice(env.TPM2TOOLS_TCTI) : pathDevice(USUAL);
}

type HostAndPort = Exclude<Place, { readonly path: string }>;

/** `127.0.0.1:2321`, `[::1]:2321`. */
function addressIn(text: string): HostAndPort | undefined {
  const [, bracketed, bare, digits = ''] = /^(?:\[([0-9a-f:.]+)\]|([^:/[\]\s]+)):(\d{1,5})$/i.exec(text) ?? [];
  const host = bracketed ?? bare;
  const port = Number(digits);
  return host !== undefined && port > 0 && port < 65536 ? { host, port } : undefined;
}

/** `NAME:CONFIGURATION`, as tpm2-tss reads it (tcti(7)). */
function tctiDevice(tcti: string): Device {
  const [, name = tcti, configuration = ''] =
    /^(?:libtss2-tcti-)?([a-z0-9-]+?)(?:\.so[.0-9]*)?(?::(.*))?$/.exec(tcti) ?? [];
  if (name === 'device') return pathDevice(configuration || USUAL);
  const framing: Framing | undefined = name === 'swtpm' ? RAW : name === 'mssim' ? MSSIM : undefined;
  if (!framing) {
    throw new HoldfastError(
      'ERR_OPTION_INVALID',
      `TPM2TOOLS_TCTI names a way to the TPM that holdfast does not know: ${printable(name)}`,
      {
        hint: 'set TPM_DEVICE to its path, or name the TPM in the key URI: ?device=/dev/tpmrm0',
      },
    );
  }
  const settings = new Map(
    configuration.split(',').map((each) => [each.slice(0, each.indexOf('=')), each.slice(each.indexOf('=') + 1)]),
  );
  const path = settings.get('path');
  if (path) return socketDevice({ path }, framing);
  const port = settings.get('port') ?? '2321';
  const place = addressIn(`127.0.0.1:${port}`);
  if (!place) {
    throw new HoldfastError('ERR_OPTION_INVALID', `TPM2TOOLS_TCTI names a port that is none: ${printable(port)}`, {
      hint: `set it to ${name}:host=127.0.0.1,port=2321`,
    });
  }
  return socketDevice({ ...place, host: settings.get('host') ?? '127.0.0.1' }, framing);
}
