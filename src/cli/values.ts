import { HoldfastError } from '../errors.ts';

export type FlagValue = string | number | boolean;

/** A value as it stands somewhere outside the command line. */
export interface Written {
  readonly text: string;
  /** Where, for people: `HOLDFAST_REGION`. */
  readonly origin: string;
}

/** The spellings of Go's strconv.ParseBool, which the reference client takes. */
const BOOLEANS: ReadonlyMap<string, boolean> = new Map([
  ...['1', 't', 'T', 'TRUE', 'true', 'True'].map((text) => [text, true] as const),
  ...['0', 'f', 'F', 'FALSE', 'false', 'False'].map((text) => [text, false] as const),
]);

/** The syntax of Go's strconv.ParseInt with base 0: a sign, `0x` `0o` `0b` or a leading `0` (octal), single `_` between digits. */
const INTEGER = /^([+-]?)(0x(?:_?[0-9a-f])+|0b(?:_?[01])+|0o?(?:_?[0-7])+|0|[1-9](?:_?[0-9])*)$/i;

/**
 * @param place what holds the value, for errors: `--debug`, `HOLDFAST_DEBUG`
 * @throws {HoldfastError} `ERR_OPTION_INVALID`, without the value
 */
export function readBoolean(place: string, text: string): boolean {
  const value = BOOLEANS.get(text);
  if (value !== undefined) return value;
  const hint = place.startsWith('--') ? `write ${place} or ${place}=false` : 'write true or false';
  throw invalid(`the value of ${place} is neither true nor false`, hint);
}

/** As {@link readBoolean}, for places where the SDKs take `TrUe` too. */
export const readBooleanAnyCase = (place: string, text: string): boolean => readBoolean(place, text.toLowerCase());

/**
 * @param place what holds the value, for errors: `--port`, `HOLDFAST_PORT`
 * @throws {HoldfastError} `ERR_OPTION_INVALID`, without the value
 */
export function readInteger(place: string, text: string): number {
  const match = INTEGER.exec(text);
  if (!match) throw invalid(`the value of ${place} is not a whole number`, 'write digits only, such as 3600');
  const digits = (match[2] as string).replaceAll('_', '');
  const value = Number(/^0[0-7]/.test(digits) ? `0o${digits}` : digits);
  if (!Number.isSafeInteger(value)) throw invalid(`the value of ${place} is too large`, 'use a smaller number');
  return match[1] === '-' && value !== 0 ? -value : value;
}

const SWITCHES: readonly (readonly string[])[] = [
  ['on', 'true', '1', 'yes'],
  ['off', 'false', '0', 'no'],
];

/**
 * One of the few texts there are, as it stands among them. Where one is `off`, it and `on` may be written in any way that is
 * usual for them: who turns something off must not fail at a word.
 *
 * @returns undefined for another
 */
export function choiceOf(choices: readonly string[], text: string): string | undefined {
  const meant = choices.includes('off') ? SWITCHES.find((words) => words.includes(text.toLowerCase()))?.[0] : text;
  return choices.find((choice) => choice === meant);
}

const invalid = (message: string, hint: string): HoldfastError =>
  new HoldfastError('ERR_OPTION_INVALID', message, { hint });
