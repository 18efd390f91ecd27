import { HoldfastError } from './errors.ts';

type Rule = readonly [expected: string, fits: (value: unknown) => boolean];

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;
const isText = (value: unknown): boolean => typeof value === 'string';
const isBytes = (value: unknown): boolean => value instanceof Uint8Array;
const isFunction = (value: unknown): boolean => typeof value === 'function';
const isUri = (value: unknown): boolean =>
  isObject(value) && isText(value.scheme) && isText(value.location) && value.path instanceof Map;
const isSignal = (value: unknown): boolean =>
  isObject(value) && typeof value.aborted === 'boolean' && isFunction(value.addEventListener);

const TEXT: Rule = ['a string', isText];
const FLAG: Rule = ['true or false', (value) => typeof value === 'boolean'];
const NUMBER: Rule = ['a number', (value) => typeof value === 'number'];
const MILLISECONDS: Rule = ['a number of milliseconds', (value) => typeof value === 'number' && value >= 0];
const FUNCTION: Rule = ['a function', isFunction];
const KEY: Rule = ['a string or a parsed key URI', (value) => isText(value) || isUri(value)];
const CERTIFICATES: Rule = [
  'a string, a Uint8Array or a parsed key URI',
  (value) => isText(value) || isBytes(value) || isUri(value),
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
  ['proxy', ['a string or false', (value) => isText(value) || value === false]],
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
  ['strictFiles', FLAG],
]);

/** What a signer of the caller's may have besides `sign`. */
const SIGNER: ReadonlyMap<string, Rule> = new Map([
  ['publicKey', ['a Uint8Array (DER)', isBytes]],
  ['certificates', ['an array of Uint8Array (DER)', (value) => Array.isArray(value) && value.every(isBytes)]],
  ['attended', FLAG],
  ['description', TEXT],
]);

/**
 * The same options without those that are null, which counts as left out. Nothing given is repeated in the error: it may be
 * a secret in the wrong place.
 *
 * @throws {HoldfastError} `ERR_OPTION_INVALID` for a value of the wrong type
 */
export function checkOptions<T extends object>(options: T): T {
  if (!isObject(options)) throw wrongType('the options', 'an object');
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== null)) as T;
  checkTypes(given, OPTIONS, '');
  if ('signer' in given && given.signer) checkTypes(given.signer, SIGNER, 'signer.');
  return given;
}

/** @throws {HoldfastError} `ERR_OPTION_INVALID` */
export function checkKeyUri(uri: unknown): void {
  if (!KEY[1](uri)) throw wrongType('the key URI', KEY[0]);
}

function checkTypes(values: object, rules: ReadonlyMap<string, Rule>, of: string): void {
  for (const [name, [expected, fits]] of rules) {
    const value = (values as Record<string, unknown>)[name] ?? undefined;
    if (value !== undefined && !fits(value)) throw wrongType(`the option "${of}${name}"`, expected);
  }
}

const wrongType = (what: string, expected: string): HoldfastError =>
  new HoldfastError('ERR_OPTION_INVALID', `${what} must be ${expected}`, { hint: `give ${expected}` });
