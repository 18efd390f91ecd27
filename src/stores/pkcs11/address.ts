import { isAbsolute } from 'node:path';
import { HoldfastError } from '../../errors.ts';
import { nearest } from '../../nearest.ts';
import { secretAttributesOf, secretOf } from '../../pin-source.ts';
import type { SecretFunction } from '../../secret.ts';
import { checkAttributes, formatKeyUri, isShown, type KeyUri, textOf } from '../../uri.ts';
import type { OpenOptions } from '../store.ts';

/** The values of `type` (RFC 7512 §2.3). */
export const OBJECT_TYPES = ['private', 'cert', 'public', 'secret-key', 'data'] as const;
export type ObjectType = (typeof OBJECT_TYPES)[number];

/** What a `pkcs11:` URI says (RFC 7512 §2.3, §2.4). What it does not say is undefined; an empty value is a value. */
export interface Address {
  readonly uri: KeyUri;
  /** The URI to show: without the PIN. */
  readonly text: string;
  /** Absolute; of a module, or of a directory of modules. */
  readonly modulePath: string | undefined;
  readonly moduleName: string | undefined;
  /** The text that goes to C_Initialize as its reserved parameter. */
  readonly initReserved: string | undefined;
  readonly libraryManufacturer: string | undefined;
  readonly libraryDescription: string | undefined;
  readonly libraryVersion: { readonly major: number; readonly minor: number } | undefined;
  readonly slotManufacturer: string | undefined;
  readonly slotDescription: string | undefined;
  readonly slotId: bigint | undefined;
  readonly token: string | undefined;
  readonly serial: string | undefined;
  readonly model: string | undefined;
  readonly manufacturer: string | undefined;
  readonly type: ObjectType | undefined;
  /** `CKA_ID`. */
  readonly id: Buffer | undefined;
  /** `CKA_LABEL`. */
  readonly object: Buffer | undefined;
  /** The PIN, from `pin-value` or `pin-source`. */
  readonly pin: SecretFunction | undefined;
}

/** What says which library; all the other path attributes but `type` say which token or object. */
export const LIBRARY_ATTRIBUTES: readonly string[] = ['library-manufacturer', 'library-description', 'library-version'];
const SLOT_ATTRIBUTES = ['slot-manufacturer', 'slot-description', 'slot-id'];
const PATH = [
  'token',
  'serial',
  'model',
  'manufacturer',
  ...SLOT_ATTRIBUTES,
  ...LIBRARY_ATTRIBUTES,
  'object',
  'id',
  'type',
];
const QUERY = ['pin-value', 'pin-source', 'module-path', 'module-name', 'x-init-reserved'];

/** What a URI is read for: whom to warn, and whether it may name a command. */
export type ReadOptions = Pick<OpenOptions, 'notify' | 'allowCommands' | 'signal' | 'deadline'>;

/**
 * @param types the values of `type` that make sense for what is to be done
 * @throws {HoldfastError} `ERR_URI_INVALID`
 */
export function readAddress(
  uri: KeyUri,
  options: ReadOptions,
  types: readonly ObjectType[] = ['private', 'cert'],
): Address {
  checkNames(uri, options);
  const text = (name: string): string | undefined => textOf(uri.path, name);
  const bytes = (name: string): Buffer | undefined => {
    const value = uri.path.get(name);
    return value && Buffer.from(value);
  };
  return {
    uri,
    text: uri.toString(),
    modulePath: modulePathOf(uri),
    moduleName: textOf(uri.query, 'module-name'),
    initReserved: textOf(uri.query, 'x-init-reserved'),
    libraryManufacturer: text('library-manufacturer'),
    libraryDescription: text('library-description'),
    libraryVersion: versionOf(text('library-version')),
    slotManufacturer: text('slot-manufacturer'),
    slotDescription: text('slot-description'),
    slotId: slotIdOf(text('slot-id')),
    token: text('token'),
    serial: text('serial'),
    model: text('model'),
    manufacturer: text('manufacturer'),
    type: typeOf(text('type'), types),
    id: bytes('id'),
    object: bytes('object'),
    pin: secretOf(uri, options),
  };
}

/**
 * RFC 7512 §2.4 lets a consumer ignore vendor attributes after the "?" that it does not know: so it is with those that
 * begin with `x-`, with a warning, unless ours was meant. Before the "?" they would narrow down what is meant: refused.
 */
function checkNames(uri: KeyUri, { notify }: ReadOptions): void {
  const vendor = [...uri.query.keys()].filter((name) => name.startsWith('x-') && !QUERY.includes(name));
  const legacy = secretAttributesOf(uri).filter(([name]) => uri.path.has(name));
  checkAttributes(uri, { path: [...PATH, ...legacy.map(([name]) => name)], query: [...QUERY, ...vendor] });
  for (const name of vendor) {
    const near = nearest(name, QUERY);
    if (near) throw invalid(`pkcs11: has no attribute "${name}" after the "?"`, `did you mean "${near}"?`);
    notify?.({ kind: 'warning', message: `"${name}" in the key URI means nothing here and is ignored` });
  }
  for (const [name] of legacy) {
    const hint = `put it behind the "?", where RFC 7512 has it: pkcs11:...?${name}=...`;
    notify?.({ kind: 'warning', message: `${name} stands before the "?" of the key URI`, hint });
  }
}

function modulePathOf({ query }: KeyUri): string | undefined {
  const path = textOf(query, 'module-path');
  if (path === undefined || (isAbsolute(path) && !path.includes('\0'))) return path;
  // RFC 7512 §2.4: for security reasons. It would be another file wherever the process happens to run.
  throw invalid('the module-path is not absolute', 'write module-path=/usr/lib/softhsm/libsofthsm2.so or the like');
}

/** A CK_SLOT_ID, which has at most 64 bits. */
function slotIdOf(digits: string | undefined): bigint | undefined {
  if (digits === undefined) return undefined;
  const id = /^\d{1,30}$/.test(digits) ? BigInt(digits) : 1n << 64n;
  if (id < 1n << 64n) return id;
  throw invalid('the slot-id is not the decimal number of a slot', 'write slot-id=0 or the like');
}

function typeOf(type: string | undefined, types: readonly ObjectType[]): ObjectType | undefined {
  const known = OBJECT_TYPES.find((one) => one === type);
  if (type === undefined || (known && types.includes(known))) return known;
  const message = known ? `type=${known} makes no sense here` : 'the type is none that PKCS#11 URIs have';
  throw invalid(message, `write ${types.map((one) => `type=${one}`).join(' or ')}, or leave it out`);
}

/** RFC 7512 §2.3: `M` or `M.m`, each a byte; without the minor one it is 0. */
function versionOf(version: string | undefined): Address['libraryVersion'] {
  if (version === undefined) return undefined;
  const [, major, minor = '0'] = /^(\d{1,3})(?:\.(\d{1,3}))?$/.exec(version) ?? [];
  if (major !== undefined && Number(major) <= 255 && Number(minor) <= 255) {
    return { major: Number(major), minor: Number(minor) };
  }
  throw invalid('the library-version is no version', 'write library-version=2 or library-version=2.6');
}

/**
 * A URI to show or to go on with: these path attributes, and the query of the address.
 *
 * @param keepPin whether the PIN goes along; never for one that is shown
 */
export function uriWith(
  { uri }: Pick<Address, 'uri'>,
  path: readonly (readonly [string, Uint8Array | string])[],
  keepPin = false,
): string {
  const legacy = secretAttributesOf(uri).filter(([name]) => uri.path.has(name));
  const query = [...uri.query, ...legacy].filter(([name, value]) => keepPin || isShown(name, value));
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
