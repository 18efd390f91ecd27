import { HoldfastError } from '../../errors.ts';
import { type SecretSource, secretOf } from '../../secret.ts';
import { checkAttributes, formatKeyUri, type KeyUri, textOf } from '../../uri.ts';

/** What a `pkcs11:` URI says (RFC 7512 §2.3). */
export interface Address {
  readonly uri: KeyUri;
  /** The URI to show: without the PIN. */
  readonly text: string;
  readonly modulePath: string;
  readonly token: string | undefined;
  readonly serial: string | undefined;
  readonly model: string | undefined;
  readonly manufacturer: string | undefined;
  readonly slotId: bigint | undefined;
  /** `CKA_ID`. */
  readonly id: Buffer | undefined;
  /** `CKA_LABEL`. */
  readonly object: Buffer | undefined;
  /** The PIN, from `pin-value` or `pin-source`. */
  readonly pin: SecretSource | undefined;
}

const PATH = ['token', 'serial', 'model', 'manufacturer', 'slot-id', 'object', 'id', 'type'];
const QUERY = ['pin-value', 'pin-source', 'module-path'];

/** @throws {HoldfastError} `ERR_URI_INVALID`, `ERR_MODULE_NOT_FOUND` when no module is named */
export function readAddress(uri: KeyUri): Address {
  checkAttributes(uri, { path: PATH, query: QUERY });
  const type = textOf(uri.path, 'type');
  if (type !== undefined && type !== 'private' && type !== 'cert') {
    throw invalid(`pkcs11: has no use for type=${type}`, 'write type=private or type=cert, or leave it out');
  }
  const slotId = textOf(uri.path, 'slot-id');
  if (slotId !== undefined && !/^\d{1,20}$/.test(slotId)) {
    throw invalid('the slot-id is not a decimal number', 'write slot-id=0 or the like');
  }
  const modulePath = textOf(uri.query, 'module-path');
  if (modulePath === undefined || modulePath === '') {
    throw new HoldfastError('ERR_MODULE_NOT_FOUND', `${uri.toString()} names no PKCS#11 module`, {
      hint: 'add it: ?module-path=/usr/lib/softhsm/libsofthsm2.so or the like',
    });
  }
  const bytesOf = (name: string): Buffer | undefined => {
    const value = uri.path.get(name);
    return value && Buffer.from(value);
  };
  return {
    uri,
    text: uri.toString(),
    modulePath,
    token: textOf(uri.path, 'token'),
    serial: textOf(uri.path, 'serial'),
    model: textOf(uri.path, 'model'),
    manufacturer: textOf(uri.path, 'manufacturer'),
    slotId: slotId === undefined ? undefined : BigInt(slotId),
    id: bytesOf('id'),
    object: bytesOf('object'),
    pin: secretOf(uri),
  };
}

/**
 * A URI to show or to go on with: these path attributes, and the query of the address.
 *
 * @param keepPin whether the PIN goes along; never for one that is shown
 */
export function uriWith(
  { uri }: Address,
  path: readonly (readonly [string, Uint8Array | string])[],
  keepPin = false,
): string {
  const query = [...uri.query].filter(([name]) => keepPin || name !== 'pin-value');
  return formatKeyUri({ scheme: 'pkcs11', path, query });
}

/** At most so many URIs are listed in an error. */
const LISTED = 10;

/** `use one of these:` and the URIs, each on a line of its own. */
export function listing(intro: string, uris: readonly string[]): string {
  const more = uris.length > LISTED ? [`(and ${uris.length - LISTED} more)`] : [];
  return [`${intro}:`, ...uris.slice(0, LISTED), ...more].join('\n  ');
}

const invalid = (message: string, hint: string): HoldfastError =>
  new HoldfastError('ERR_URI_INVALID', message, { hint });
