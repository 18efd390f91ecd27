import { HoldfastError } from './errors.ts';
import { isPrintable, looksLikeContent } from './read-file.ts';

/**
 * A key URI. Left of `?` says which key, right of it says how to reach it (the shape of RFC 7512 §2.3, for every store).
 * Printing it in any way shows `pin-value=***`.
 */
export interface KeyUri {
  /** Lower case, without the colon. A bare path has the scheme `file`, and `-` is `fd:0`. */
  readonly scheme: string;
  /**
   * What stands between scheme and query when it is no attribute list: the path of `file:`, decoded, the name of a
   * variable (`env:`), the number of a descriptor (`fd:`). Else empty.
   */
  readonly location: string;
  /** The `;`-separated attributes, percent-decoded to bytes. */
  readonly path: ReadonlyMap<string, Uint8Array>;
  /** The `&`-separated attributes, percent-decoded to bytes. */
  readonly query: ReadonlyMap<string, Uint8Array>;
  /** The URI with its secrets replaced: safe to print. */
  toString(): string;
  toJSON(): string;
}

// A class of characters in any case (`[a-z]` with the flag `i`) costs the first who has one a fifth of a millisecond of each
// start: on the way to a signature all are written out.

/** Attributes whose value is a secret, wherever they stand: `pin-value`, `auth-value`, and those names mistyped. */
const isSecret = (name: string): boolean => /pin|pass|auth|secret/i.test(name) && !/-source$/i.test(name);

/** Places that a `pin-source` may name. A command has arguments, and anything else may be the secret itself. */
const PLACE = /^(file:|env:|fd:|credential:)/i;
const PATH = /^(\/|[A-Za-z]:[\\/])/;

const isPlace = (source: string): boolean => PLACE.test(source) || PATH.test(source);

/** Whether an attribute may be printed as it is. */
export const isShown = (name: string, value: Uint8Array): boolean =>
  /-source$/i.test(name) ? isPlace(Buffer.from(value).toString('latin1')) : !isSecret(name);

/** Schemes whose part before the query is no list of attributes, and how it is read. */
const LOCATION_SCHEMES: ReadonlyMap<string, (text: string) => string> = new Map([
  ['file', readPath],
  ['env', readVariable],
  ['fd', readDescriptorNumber],
  ['handle', readHandle],
]);

const INSPECT = Symbol.for('nodejs.util.inspect.custom');

/** Characters: more than any command line or path may have. */
const LONGEST: number = 64 * 1024;

/**
 * Read a key URI, a bare path, or `-` for standard input.
 *
 * @throws {HoldfastError} `ERR_URI_INVALID`; the message never repeats a value
 */
export function parseKeyUri(text: string): KeyUri {
  if (text.length > LONGEST) {
    throw invalid(
      `the key URI is longer than ${LONGEST} characters`,
      'name a key file or a key URI, not what it holds',
    );
  }
  if (text === '') throw invalid('the key URI is empty', 'name a key file or a key URI such as pkcs11:token=...');
  if (text.includes('\0')) throw invalid('the key URI contains a NUL character', 'write it as %00');
  if (looksLikeContent(text)) throw pasted();
  if (text === '-') return keyUri({ scheme: 'fd', location: '0', path: new Map(), query: new Map() });
  // One letter before the colon is a Windows drive, not a scheme.
  const match = /^([A-Za-z][A-Za-z0-9+.-]+):(.*)$/s.exec(text);
  if (!match) return keyUri({ scheme: 'file', location: checkBarePath(text), path: new Map(), query: new Map() });

  const scheme = (match[1] as string).toLowerCase();
  const rest = match[2] as string;
  const mark = rest.indexOf('?');
  const left = mark < 0 ? rest : rest.slice(0, mark);
  const query = attributes(mark < 0 ? '' : rest.slice(mark + 1), '&', QUERY_CHARACTERS);
  const readLocation = LOCATION_SCHEMES.get(scheme);
  return readLocation
    ? keyUri({ scheme, location: readLocation(left), path: new Map(), query })
    : keyUri({ scheme, location: '', path: attributes(left, ';', charactersOf(scheme).path), query });
}

/** RFC 8089 §2, and its appendix E.2: in file:///C:/key.pem the path is C:/key.pem. */
function readPath(text: string): string {
  const location = percentDecode(text.replace(/^\/\/(localhost)?(?=\/)/, '').replace(/^\/(?=[A-Za-z]:[\\/])/, ''));
  if (location.length === 0) throw invalid('file: names no file', 'write file:/path/to/key.pem');
  if (!location.equals(Buffer.from(location.toString('utf8'))))
    throw invalid('the path of the key file is not UTF-8', 'percent-encode its UTF-8 bytes');
  return checkLocation(location.toString('utf8'));
}

/** What POSIX calls a name: anything else may be the key itself, and is not repeated. */
function readVariable(text: string): string {
  if (/^[A-Za-z_][A-Za-z0-9_]*$/.test(text)) return text;
  throw invalid('env: is not followed by the name of an environment variable', 'write env:NAME, not its value');
}

function readDescriptorNumber(text: string): string {
  if (/^(0|[3-9]|[1-9]\d{1,5})$/.test(text)) return text;
  throw invalid(
    'fd: is not followed by the number of a descriptor to read',
    'write fd:3 or the like, and - or fd:0 for standard input; 1 and 2 are for output',
  );
}

/** How the reference client writes the handle of a TPM key. */
function readHandle(text: string): string {
  if (/^(0x)?[0-9a-f]{1,8}$/i.test(text)) return text;
  throw invalid('handle: is not followed by the handle of a TPM key', 'write handle:0x81010001');
}

/** Without a scheme all of it is the path, and a query would go unnoticed. */
function checkBarePath(path: string): string {
  if (!path.includes('?pin-source=')) return checkLocation(path);
  throw invalid('a bare path has no attributes, and this one ends with a pin-source', 'write file: before it');
}

/** A path is printed as it is, so it must be neither a key nor a misspelt key URI that holds a secret. */
function checkLocation(location: string): string {
  if (location.includes('\0')) throw invalid('the path of the key file contains a NUL character', 'correct the path');
  if (looksLikeContent(location)) throw pasted();
  if (!/(pin|auth)-value=/i.test(location) && !hasMisplacedSecret(location)) return location;
  throw invalid(
    'the path of the key file holds a pin-value or the like, so it is no path',
    'begin a key URI with its store (pkcs11:..., file:...) and put "?" before the first of such attributes, "&" between them',
  );
}

const pasted = (): HoldfastError =>
  invalid('what looks like the content of a file is no key URI', 'give the path of the file, not its content');

/** A name and its "=", behind what may be meant to separate it; what separates is in no name, so no character is read twice. */
const NAMES = /[^A-Za-z0-9_./\\-]([A-Za-z_-]*)(?==)/g;

function hasMisplacedSecret(text: string): boolean {
  return [...text.matchAll(NAMES)].some(([, name = '']) => /pin|pass|auth|secret/i.test(name));
}

/** Behind a second "?": RFC 7512 §2.3 allows it in a value, and a PIN may have one. */
const SECOND_QUERY = /\?(pin|module|x)-[a-z-]+=/i;

/** Behind the wrong separator, a secret is part of another value, and that is printed. An "=" of its own is %3D. */
function checkSeparators(name: string, value: string): void {
  if (!isSecret(name) && hasMisplacedSecret(`;${value.replace(/%[0-9A-Fa-f]{2}/g, ';')}`)) {
    throw invalid(
      `the value of "${name}" holds a pin-value or the like`,
      'separate attributes with ";" before the "?" and with "&" after it; there is one "?"; write "=" in a value as %3D',
    );
  }
  if (!value.includes('?') || !SECOND_QUERY.test(value)) return;
  throw invalid(
    `the value of "${name}" goes on with a "?" and another attribute`,
    'separate attributes with "&" after the one "?"; write "?" in a value as %3F',
  );
}

/** Write a key URI. Values of `id` become `%XX` throughout, as RFC 7512 §2.3 advises. Secrets are written out. */
export function formatKeyUri(parts: {
  scheme: string;
  path: Iterable<readonly [string, Uint8Array | string]>;
  query?: Iterable<readonly [string, Uint8Array | string]>;
}): string {
  const write = ([name, value]: readonly [string, Uint8Array | string], encoded: RegExp): string =>
    `${name}=${percentEncode(Buffer.from(value as string), name === 'id' ? /[\s\S]/g : encoded)}`;
  const path = [...parts.path].map((pair) => write(pair, charactersOf(parts.scheme).encoded)).join(';');
  const query = [...(parts.query ?? [])].map((pair) => write(pair, QUERY_ENCODED)).join('&');
  return `${parts.scheme}:${path}${query && `?${query}`}`;
}

/** An attribute as UTF-8 text; undefined when it is absent. */
export function textOf(attributes: ReadonlyMap<string, Uint8Array>, name: string): string | undefined {
  const value = attributes.get(name);
  return value && Buffer.from(value).toString('utf8');
}

/**
 * Refuse attributes that the store does not know: a mistyped `pin-sorce` must not pass unnoticed. RFC 7512 would let
 * both parts ignore them.
 *
 * @throws {HoldfastError} `ERR_URI_INVALID`
 */
export function checkAttributes(uri: KeyUri, known: { path: readonly string[]; query: readonly string[] }): void {
  for (const part of ['path', 'query'] as const) {
    for (const name of uri[part].keys()) {
      if (known[part].includes(name)) continue;
      const other = part === 'path' ? 'query' : 'path';
      const where = part === 'path' ? 'before' : 'after';
      throw invalid(
        `${uri.scheme}: has no attribute "${name}" ${where} the "?"`,
        known[other].includes(name)
          ? `"${name}" belongs ${part === 'path' ? 'after' : 'before'} the "?"`
          : `known there: ${known[part].join(', ') || 'none'}`,
      );
    }
  }
}

function keyUri(parts: Pick<KeyUri, 'scheme' | 'location' | 'path' | 'query'>): KeyUri {
  const redacted = (attributes: ReadonlyMap<string, Uint8Array>): [string, Uint8Array][] =>
    [...attributes].map(([name, value]) => [name, isShown(name, value) ? value : Buffer.from('***')]);
  const print = (): string => {
    const marked = parts.location.replace(/[%?]/g, encodeURIComponent);
    const location = isPrintable(marked) ? marked : marked.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, encodeURIComponent);
    const text = formatKeyUri({ scheme: parts.scheme, path: redacted(parts.path), query: redacted(parts.query) });
    return text.replace(':', () => `:${location}`);
  };
  return Object.freeze({ ...parts, toString: print, toJSON: print, [INSPECT]: print });
}

// RFC 7512 §2.3: pk11-pchar and pk11-qchar, read as what may stand in a value and written as what must be encoded.
const PATH_CHARACTERS = /^[A-Za-z0-9\-._~:[\]@!$'()*+,=&%]*$/;
const QUERY_CHARACTERS = /^[A-Za-z0-9\-._~:[\]@!$'()*+,=/?|%]*$/;
const PATH_ENCODED = /[^A-Za-z0-9\-._~:@!$'()*+,]/g;
const QUERY_ENCODED = /[^A-Za-z0-9\-._~:@!$'()*+,/|]/g;
// RFC 7512 has no slash before the "?". Elsewhere the path of a file may stand there.
const PATH_CHARACTERS_SLASH = /^[A-Za-z0-9\-._~:[\]@!$'()*+,=&/%]*$/;
const PATH_ENCODED_SLASH = /[^A-Za-z0-9\-._~:@!$'()*+,/]/g;
const charactersOf = (scheme: string): { readonly path: RegExp; readonly encoded: RegExp } =>
  scheme === 'pkcs11'
    ? { path: PATH_CHARACTERS, encoded: PATH_ENCODED }
    : { path: PATH_CHARACTERS_SLASH, encoded: PATH_ENCODED_SLASH };

function attributes(text: string, separator: ';' | '&', allowed: RegExp): Map<string, Buffer> {
  const found = new Map<string, Buffer>();
  for (const pair of text === '' ? [] : text.split(separator)) {
    const at = pair.indexOf('=');
    const name = at < 0 ? pair : pair.slice(0, at);
    if (at < 0 || !/^[A-Za-z0-9\-_]+$/.test(name)) {
      const isPath = separator === ';' && !text.includes('=');
      throw invalid(
        'the key URI has a part that is not name=value',
        isPath ? 'write ./ before it where it is the path of a file' : `separate attributes with "${separator}"`,
      );
    }
    const value = pair.slice(at + 1);
    if (!allowed.test(value)) {
      throw invalid(
        `the value of "${name}" has a character that must be percent-encoded`,
        'write a space as %20, "#" as %23, "/" as %2F, ";" as %3B',
      );
    }
    if (looksLikeContent(value)) throw pasted();
    checkSeparators(name, value);
    if (found.has(name)) throw invalid(`"${name}" stands twice in the key URI`, 'keep one of them');
    found.set(name, percentDecode(value));
  }
  return found;
}

function percentDecode(value: string): Buffer {
  if (/%(?![0-9A-Fa-f]{2})/.test(value)) {
    throw invalid('a "%" in the key URI is not followed by two hex digits', 'write a "%" itself as %25');
  }
  const bytes = Buffer.from(value, 'utf8');
  let length = 0;
  for (let i = 0; i < bytes.length; i += 1) {
    const encoded = bytes[i] === 0x25;
    bytes[length] = encoded ? Number.parseInt(bytes.toString('latin1', i + 1, i + 3), 16) : (bytes[i] as number);
    length += 1;
    if (encoded) i += 2;
  }
  return bytes.subarray(0, length);
}

const percentEncode = (bytes: Buffer, encoded: RegExp): string =>
  bytes
    .toString('latin1')
    .replace(encoded, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`);

const invalid = (message: string, hint: string): HoldfastError =>
  new HoldfastError('ERR_URI_INVALID', message, { hint });
