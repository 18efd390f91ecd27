import { HoldfastError } from '../errors.ts';
import { nearest } from '../nearest.ts';
import { ABSENT, COMMANDS, type CommandName, isCommand } from './commands.ts';
import { FLAGS } from './flag-table.ts';
import { commandsOf, type FlagName, type FlagNameOf, flagOf, flagsOf } from './flags.ts';
import { conflictIn } from './refusals.ts';
import { choiceOf, type FlagValue, readBoolean, readInteger } from './values.ts';

/** A command line, understood. No error and no warning made from it repeats a value: any of them may be a secret. */
export interface CommandLine {
  /** Undefined when there is no command at all. */
  readonly command: CommandName | undefined;
  /** What the flags say, by name. */
  readonly values: ReadonlyMap<FlagName, FlagValue>;
  readonly flags: Flags;
  /** What follows the command and belongs to no flag. */
  readonly words: readonly string[];
  /** Where the words stood, for a warning: `after --certificate`. */
  readonly places: readonly string[];
}

/** The values of the flags, by type, whatever place they come from. An empty text counts as not given. */
export interface Flags {
  text(name: FlagNameOf<'string'>): string | undefined;
  integer(name: FlagNameOf<'integer'>): number | undefined;
  on(name: FlagNameOf<'boolean'>): boolean;
  /** Does it ask for something? False for a boolean that is off. */
  has(name: FlagName): boolean;
  /** Names in the order of the command line, each once, also those whose value is empty. */
  readonly given: readonly FlagName[];
  /** Text flags that were given with an empty value. */
  readonly empty: readonly FlagName[];
  /** What comes from elsewhere than the command line, and from where: `HOLDFAST_REGION`. */
  readonly origins: ReadonlyMap<FlagName, string>;
}

/**
 * Parse by the rules of pflag, as the reference client does: long flags only besides `-h`; `--flag value` takes the next
 * word whatever it looks like; booleans take a value only with `=`; flags and words mix; `--` ends the flags; of a
 * repeated flag the last one wins.
 *
 * @throws {HoldfastError} `ERR_LINE_CONTINUATION`, `ERR_USAGE`, `ERR_OPTION_INVALID`, `ERR_FLAG_CONFLICT`
 */
export function parseCommandLine(args: readonly string[]): CommandLine {
  if (/[\s\\^`]/.test(args.join(''))) args.forEach(checkContinuation);
  if (ABSENT.has(args[0] ?? '')) throw unknownCommand(args[0] as string); // its flags are unknown too
  const values = new Map<FlagName, FlagValue>();
  const words: string[] = [];
  const places: string[] = [];
  let last = '';
  for (let i = 0; i < args.length; i += 1) {
    const arg = args[i] as string;
    if (arg === '--') {
      words.push(...args.slice(i + 1));
      places.push(...args.slice(i + 1).map(() => 'after --'));
      break;
    }
    if (arg.length < 2 || !arg.startsWith('-')) {
      words.push(arg);
      places.push(last === '' ? 'before every flag' : `after --${last}`);
      continue;
    }
    const { name, inline } = splitFlag(arg);
    const { type } = FLAGS[name];
    if (type === 'boolean') {
      values.set(name, inline === undefined ? true : readBoolean(`--${name}`, inline));
    } else {
      if (inline === undefined) i += 1;
      const text = inline ?? args[i];
      if (text === undefined) throw usage(`flag needs an argument: --${name}`, `write --${name} VALUE`);
      values.set(name, type === 'integer' ? readInteger(`--${name}`, text) : readText(name, text));
    }
    last = name;
  }
  const command = commandOf(words[0], values);
  if (command !== undefined) checkFlags(command, [...values.keys()]);
  return { command, values, flags: flagsFrom(values), words: words.slice(1), places: places.slice(1) };
}

/**
 * A backslash that no shell removed (or what cmd and PowerShell have in its place), alone or before a flag, is a broken
 * continuation: config files have none. Python's splitter turns backslash and line end into a line end, which begins the
 * next word or, without a blank before the backslash, joins the two.
 */
function checkContinuation(arg: string, index: number): void {
  const [head = ''] = /^[\s\\^`]*/.exec(arg) ?? [];
  const rest = arg.slice(head.length);
  const stray = /[\\^`]/.exec(head)?.[0];
  const isStray = /[\r\n]/.test(head) || (stray !== undefined && (rest === '' || rest.startsWith('-')));
  const isJoined = /\\\r?\n|[\r\n]\s*--[a-z]/.test(arg);
  if (!isStray && !isJoined) return;
  const what = isStray ? `is a stray "${stray ?? '\\'}"` : 'goes on after a line end';
  throw new HoldfastError('ERR_LINE_CONTINUATION', `argument ${index + 1} ${what}: the line was broken`, {
    hint: 'write the whole command on one line; ~/.aws/config knows no line continuation',
  });
}

/** The flag a word names, and the value after its `=`. The value stays out of every message. */
function splitFlag(arg: string): { name: FlagName; inline: string | undefined } {
  const equals = arg.indexOf('=');
  const written = equals < 0 ? arg : arg.slice(0, equals);
  const inline = equals < 0 ? undefined : arg.slice(equals + 1);
  if (written === '-h') return { name: 'help', inline };
  if (!arg.startsWith('--')) {
    const long = written.slice(1);
    const hint = flagOf(long) ? `write --${long} with two dashes` : 'flags have two dashes; only -h is short';
    throw usage(`unknown shorthand flag: -${arg.slice(1, 2)}`, hint);
  }
  const name = written.slice(2);
  if (name === '' || name.startsWith('-')) throw usage('bad flag syntax', 'write --flag=value or --flag value');
  if (flagOf(name)) return { name: name as FlagName, inline };
  if (name === 'version') throw usage('unknown flag: --version', 'run holdfast version');
  // What does not look like the name of a flag may be anything, a passphrase too.
  if (!/^[A-Za-z][A-Za-z0-9-]{0,39}$/.test(name)) throw usage('unknown flag', 'run holdfast help for the flags');
  const near = nearest(name, Object.keys(FLAGS));
  throw usage(`unknown flag: --${name}`, near === undefined ? 'run holdfast help' : `did you mean --${near}?`);
}

/** One of the few texts there are. Another is repeated, as pflag does, only where it can hardly be a secret. */
function readText(name: FlagName, text: string): string {
  const choices = flagOf(name)?.choices;
  if (choices === undefined || text === '') return text;
  const value = choiceOf(choices, text);
  if (value !== undefined) return value;
  const isPlain = /^[A-Za-z0-9._-]{1,40}$/.test(text);
  throw new HoldfastError(
    'ERR_OPTION_INVALID',
    `invalid argument ${isPlain ? `"${text}" ` : ''}for "--${name}" flag: ${isPlain ? text : 'it'} is not included in ${choices.join(',')}`,
    { hint: `write one of ${choices.join(', ')}` },
  );
}

function commandOf(word: string | undefined, values: ReadonlyMap<FlagName, FlagValue>): CommandName | undefined {
  if (word === undefined) {
    const stray = [...values.keys()].find((name) => name !== 'help');
    if (stray === undefined) return undefined;
    throw usage('no command was given', `received only --${[...values.keys()].join(', --')}; run holdfast help`);
  }
  if (isCommand(word)) return word;
  throw unknownCommand(word);
}

/** A word that resembles no command may be anything, the second half of a passphrase too, and is not repeated. */
export function unknownCommand(word: string): HoldfastError {
  const instead = ABSENT.get(word);
  if (instead !== undefined) return usage(`${word} is not here yet`, instead);
  const near = nearest(word, Object.keys(COMMANDS));
  if (near !== undefined) return usage(`unknown command "${word}"`, `did you mean ${near}?`);
  return usage('the first word is no command', 'run holdfast help for all of them. A value with spaces needs quotes');
}

function checkFlags(command: CommandName, given: readonly FlagName[]): void {
  const known = flagsOf(command);
  const strange = given.find((name) => !known.includes(name));
  if (strange !== undefined) {
    const owners = commandsOf(strange).join(', ');
    throw usage(`unknown flag: --${strange}`, `${command} has no such flag; it belongs to ${owners}`);
  }
  if (given.includes('help')) return;
  const pair = conflictIn(given, command);
  if (pair) {
    const group = `[${pair.join(' ')}]`;
    const set = `[${[...pair].sort().join(' ')}]`;
    throw new HoldfastError(
      'ERR_FLAG_CONFLICT',
      `if any flags in the group ${group} are set none of the others can be; ${set} were all set`,
      { hint: 'drop one of the two' },
    );
  }
}

/** A value that was found elsewhere than on the command line. */
export interface Found {
  readonly value: FlagValue;
  readonly origin: string;
}

export function flagsFrom(
  given: ReadonlyMap<FlagName, FlagValue>,
  elsewhere: ReadonlyMap<FlagName, Found> = new Map(),
): Flags {
  const empty = [...given].filter(([, value]) => value === '').map(([name]) => name);
  const value = (name: FlagName): FlagValue | undefined =>
    (empty.includes(name) ? undefined : given.get(name)) ?? elsewhere.get(name)?.value ?? flagOf(name)?.default;
  return {
    text: (name) => value(name) as string | undefined,
    integer: (name) => value(name) as number | undefined,
    on: (name) => value(name) === true,
    has: (name) => (value(name) ?? false) !== false,
    given: [...given.keys()],
    empty,
    origins: new Map([...elsewhere].map(([name, { origin }]) => [name, origin])),
  };
}

const usage = (message: string, hint: string): HoldfastError => new HoldfastError('ERR_USAGE', message, { hint });
