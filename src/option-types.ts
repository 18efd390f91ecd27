import { HoldfastError } from './errors.ts';
import { isDeadline } from './limits.ts';
import { nearest } from './nearest.ts';

type Rule = readonly [expected: string, fits: (value: unknown) => boolean];

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;
const isText = (value: unknown): boolean => typeof value === 'string';
const isBytes = (value: unknown): boolean => value instanceof Uint8Array;
const isFunction = (value: unknown): boolean => typeof value === 'function';
const isUri = (value: unknown): boolean =>
  isObject(value) &&
  isText(value.scheme) &&
  isText(value.location) &&
  value.path instanceof Map &&
  value.query instanceof Map;
const isSignal = (value: unknown): boolean =>
  isObject(value) && typeof value.aborted === 'boolean' && isFunction(value.addEventListener);

const TEXT: Rule = ['a string', isText];
const FLAG: Rule = ['true or false', (value) => typeof value === 'boolean'];
const NUMBER: Rule = ['a number', (value) => typeof value === 'number'];
const MILLISECONDS: Rule = ['a number of milliseconds above 0', isDeadline];
const FUNCTION: Rule = ['a function', isFunction];
const KEY: Rule = ['a string or a parsed key URI', (value) => isText(value) || isUri(value)];
const CERTIFICATES: Rule = [
  'a string, a Uint8Array or a parsed key URI',
  (value) => isText(value) || isBytes(value) || isUri(value),
];
const PROXY: Rule = [
  'a string, false, or an object with url and origin',
  (value) => isText(value) || value === false || (isObject(value) && isText(value.url) && isText(value.origin)),
];

/** Every option of the front door, as callers without a type checker may get it wrong. */
const OPTIONS: ReadonlyMap<string, Rule> = new Map([
  ['trustAnchorArn', TEXT],
  ['profileArn', TEXT],
  ['roleArn', TEXT],
  ['durationSeconds', NUMBER],
  ['roleSessionName', TEXT],
  ['region', TEXT],
  ['endpoint', TEXT],
  ['useFipsEndpoint', FLAG],
  ['useDualstackEndpoint', FLAG],
  ['caBundle', TEXT],
  ['proxy', PROXY],
  ['attempts', NUMBER],
  ['signal', ['an AbortSignal', isSignal]],
  ['send', FUNCTION],
  ['now', FUNCTION],
  ['wait', FUNCTION],
  ['key', KEY],
  ['signer', ['an object with a function "sign"', (value) => isObject(value) || isFunction(value)]],
  ['certificate', CERTIFICATES],
  ['chain', CERTIFICATES],
  ['secret', ['a string, a Uint8Array or a function', (value) => isText(value) || isBytes(value) || isFunction(value)]],
  ['deadline', MILLISECONDS],
  ['notify', FUNCTION],
  ['purpose', TEXT],
  ['allowCommands', FLAG],
  ['strictFiles', FLAG],
  ['isolation', ["'child' or 'in-place'", (value) => value === 'child' || value === 'in-place']],
  ['childPath', TEXT],
]);

/** What other tools, and our own flags, call an option. */
const OTHER_NAMES: ReadonlyMap<string, string> = new Map([
  ['intermediates', 'chain'],
  ['maxattempts', 'attempts'],
  ['passphrase', 'secret'],
  ['password', 'secret'],
  ['pin', 'secret'],
  ['pkcs8password', 'secret'],
  ['privatekey', 'key'],
  ['sessionduration', 'durationSeconds'],
  ['timeout', 'deadline'],
]);

/** What a signer of the caller's may have besides `sign`. */
const SIGNER: ReadonlyMap<string, Rule> = new Map([
  ['publicKey', ['a Uint8Array (DER)', isBytes]],
  ['certificates', ['an array of Uint8Array (DER)', (value) => Array.isArray(value) && value.every(isBytes)]],
  ['attended', FLAG],
  ['description', TEXT],
]);

/**
 * The same options without those that are null, which counts as left out. No value is repeated in the error: it may be a
 * secret in the wrong place. All doors know the options of all, so that one object serves for several.
 *
 * @throws {HoldfastError} `ERR_OPTION_INVALID` for a value of the wrong type, and for an option that no door knows
 */
export function checkOptions<T extends object>(options: T): T {
  if (!isObject(options)) throw wrongType('the options', 'an object');
  // No proxy is false: null may mean that too, and must not get the environment's.
  if ('proxy' in options && options.proxy === null) throw wrongType('the option "proxy"', PROXY[0]);
  const given = Object.fromEntries(entriesOf(options).filter(([, value]) => value !== null)) as T;
  checkNames(given);
  checkTypes(given, OPTIONS, '');
  if ('signer' in given && given.signer) checkTypes(given.signer, SIGNER, 'signer.');
  return given;
}

/**
 * Of the options of a door that has others besides.
 *
 * @throws {HoldfastError} `ERR_OPTION_INVALID` for a value of the wrong type
 */
export function checkOptionTypes(options: object): void {
  if (!isObject(options)) throw wrongType('the options', 'an object');
  checkTypes(options, OPTIONS, '');
}

/** What time the option "now" says it is. @throws {HoldfastError} `ERR_OPTION_INVALID` */
export function timeOf({ now }: { readonly now?: (() => Date) | undefined }): Date {
  let time: unknown;
  try {
    time = now?.() ?? new Date();
  } catch (cause) {
    throw new HoldfastError('ERR_OPTION_INVALID', 'the function that is the option "now" failed', {
      hint: 'look at the cause: that is what the function threw',
      cause,
    });
  }
  if (time instanceof Date && !Number.isNaN(time.getTime())) return time;
  throw wrongType('what the option "now" returns', 'a valid Date');
}

/** Refuse an option that would do nothing, in silence: a mistyped one would be missed later and elsewhere. */
function checkNames(given: object): void {
  const strange = Object.entries(given).find(([name, value]) => value !== undefined && !OPTIONS.has(name));
  if (strange === undefined) return;
  const [name] = strange;
  const near = OTHER_NAMES.get(name.toLowerCase()) ?? nearest(name, [...OPTIONS.keys()]);
  const isName = /^[A-Za-z]\w{0,39}$/.test(name); // anything else may be a secret in the wrong place
  const message = isName ? `there is no option "${name}"` : 'there is an option of a name that is none';
  throw new HoldfastError('ERR_OPTION_INVALID', message, {
    hint: near === undefined ? `there are ${[...OPTIONS.keys()].join(', ')}` : `did you mean "${near}"?`,
  });
}

/** Inherited ones too: a caller may keep defaults in a prototype. */
function entriesOf(options: object): [name: string, value: unknown][] {
  const names: string[] = [];
  for (const name in options) names.push(name);
  return names.map((name) => [name, (options as Record<string, unknown>)[name]]);
}

/** @throws {HoldfastError} `ERR_OPTION_INVALID` */
export function checkKeyUri(uri: unknown): void {
  if (!KEY[1](uri)) throw wrongType('the key URI', KEY[0]);
}

/** What a signer is asked to sign. @throws {HoldfastError} `ERR_OPTION_INVALID` */
export function checkMessage(message: unknown): void {
  if (!isBytes(message)) throw wrongType('the message to sign', 'a Uint8Array');
}

const HASHES: ReadonlySet<unknown> = new Set(['SHA-256', 'SHA-384', 'SHA-512']);

/** @throws {HoldfastError} `ERR_OPTION_INVALID` */
export function checkHash(hash: unknown): void {
  if (hash !== undefined && !HASHES.has(hash)) throw wrongType('the hash', 'SHA-256, SHA-384 or SHA-512');
}

function checkTypes(values: object, rules: ReadonlyMap<string, Rule>, of: string): void {
  for (const [name, [expected, fits]] of rules) {
    const value = (values as Record<string, unknown>)[name] ?? undefined;
    if (value !== undefined && !fits(value)) throw wrongType(`the option "${of}${name}"`, expected);
  }
}

const wrongType = (what: string, expected: string): HoldfastError =>
  new HoldfastError('ERR_OPTION_INVALID', `${what} must be ${expected}`, { hint: `give ${expected}` });
