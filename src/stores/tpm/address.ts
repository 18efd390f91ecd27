import { HoldfastError } from '../../errors.ts';
import { secretOf } from '../../pin-source.ts';
import type { SecretFunction } from '../../secret.ts';
import { checkAttributes, type KeyUri, textOf } from '../../uri.ts';
import type { OpenOptions } from '../store.ts';
import { HIERARCHIES, HT, kindOfHandle } from './constants.ts';
import { deviceOf, REACH } from './device.ts';
import { type PcrSelection, pcrSelection } from './policy.ts';
import type { Device } from './transport.ts';

/** What a `tpm:` URI says. */
export interface Address {
  readonly uri: KeyUri;
  /** Persistent. */
  readonly handle: number | undefined;
  /** Path of a key file. */
  readonly file: string | undefined;
  /** Hierarchy or persistent storage key below which a key is made. */
  readonly parent: number | undefined;
  readonly device: Device;
  /** Show authValues to the TPM in clear, instead of proving them in a session. */
  readonly plain: boolean;
  readonly pcrs: PcrSelection | undefined;
  /** The key's authValue. */
  readonly secret: SecretFunction | undefined;
  /** That of its parent: of a storage key, or of the hierarchy. */
  readonly parentSecret: SecretFunction | undefined;
  /** That of the owner hierarchy, which says what is kept at handles. */
  readonly ownerSecret: SecretFunction | undefined;
}

const QUERY = [
  ...REACH,
  'session',
  'pcr',
  ...['', 'parent-', 'owner-'].flatMap((whose) => [`${whose}pin-value`, `${whose}pin-source`]),
];

/**
 * @param path what may stand before the "?" besides `handle` and `file`
 * @throws {HoldfastError} `ERR_URI_INVALID`, `ERR_OPTION_INVALID`
 */
export function readAddress(uri: KeyUri, options: OpenOptions, path: readonly string[] = []): Address {
  checkAttributes(uri, { path: uri.scheme === 'handle' ? [] : ['handle', 'file', ...path], query: QUERY });
  const text = uri.scheme === 'handle' ? uri.location : textOf(uri.path, 'handle');
  const file = textOf(uri.path, 'file');
  if (text !== undefined && file !== undefined) {
    throw invalid('the key URI names a handle and a file', 'keep one of them');
  }
  if (file === '') throw invalid('the attribute "file" is empty', 'write tpm:file=/path/to/key.tpm');
  const session = textOf(uri.query, 'session');
  if (session !== undefined && session !== 'password') {
    throw invalid('the attribute "session" has no such value', 'write session=password, or leave it out');
  }
  const pcr = textOf(uri.query, 'pcr');
  return {
    uri,
    file,
    handle: text === undefined ? undefined : persistentHandle(text, 'handle'),
    parent: parentOf(textOf(uri.path, 'parent')),
    device: deviceOf(uri),
    plain: session === 'password',
    pcrs: pcr === undefined ? undefined : pcrSelection(pcr),
    secret: secretOf(uri, options),
    parentSecret: secretOf(secretAs(uri, 'parent-'), options),
    ownerSecret: secretOf(secretAs(uri, 'owner-'), options),
  };
}

function persistentHandle(text: string, name: string): number {
  const handle = /^(0x)?[0-9a-f]{1,8}$/i.test(text) ? Number.parseInt(text, 16) : 0;
  if (kindOfHandle(handle) === HT.PERSISTENT) return handle;
  throw invalid(
    `the ${name} is not that of a persistent key`,
    'write one from 0x81000000 to 0x81ffffff (holdfast list tpm:)',
  );
}

const parentOf = (text: string | undefined): number | undefined =>
  text === undefined ? undefined : (HIERARCHIES.get(text) ?? persistentHandle(text, 'parent'));

/** The same URI with the secret of another in the place of the key's. */
function secretAs(uri: KeyUri, whose: 'parent-' | 'owner-'): KeyUri {
  const query = new Map(
    [...uri.query].filter(([name]) => name.startsWith(whose)).map(([name, value]) => [name.slice(whose.length), value]),
  );
  return { ...uri, query };
}

const invalid = (message: string, hint: string): HoldfastError =>
  new HoldfastError('ERR_URI_INVALID', message, { hint });
