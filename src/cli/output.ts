import { ERROR_CODES, HoldfastError, messageOf, systemCodeOf } from '../errors.ts';

/** What a command may write: its result on stdout, everything else on stderr. */
export interface Output {
  /**
   * Settles when the system has taken it; a reader that went away is no error.
   *
   * @throws {HoldfastError} `ERR_FILE_UNWRITABLE`
   */
  result(data: string | Uint8Array): Promise<void>;
  error(thrown: unknown): void;
  /** One line, and another for the hint, unless the level of the log is above it. With the code of what failed, if any. */
  tell(label: Exclude<Label, 'hint'>, message: string, hint?: string, code?: string): void;
}

/** The output of the whole program, which says what is told of it. */
export interface ProgramOutput extends Output {
  /** From now on. At first: `info`, `text`. */
  setLog(log: Log): void;
}

export interface Log {
  /** The least that is told: one of {@link LEVELS}. */
  readonly level: string;
  /** `text` for people, `json` for an object a line. */
  readonly format: string;
}

/** From the most important to the least. */
export const LEVELS = ['error', 'warn', 'info', 'debug'] as const;

export type Label = 'error' | 'hint' | 'warning' | 'touch' | 'note' | 'debug';

const LEVEL_OF = { error: 'error', warning: 'warn', touch: 'info', note: 'info', debug: 'debug' } as const;

/** The part of a stream that is used here. */
export interface Sink {
  write(data: string | Uint8Array, done?: (error?: Error | null) => void): unknown;
  readonly isTTY?: boolean | undefined;
}

const COLOURS: Readonly<Partial<Record<Label, string>>> = {
  error: '\u001b[1;31m',
  warning: '\u001b[1;33m',
  touch: '\u001b[1;36m',
};
const PLAIN = '\u001b[0m';

/** Without the control characters that a message may have brought from outside. */
const clean = (text: string): string => text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, ' ').trim();

/** `holdfast: error: ...`: one line. */
export function formatLine(label: Label, text: string, colour = false): string {
  const start = colour ? COLOURS[label] : undefined;
  return `holdfast: ${start === undefined ? label : `${start}${label}${PLAIN}`}: ${clean(text)}\n`;
}

interface Told {
  readonly label: Exclude<Label, 'hint'>;
  readonly message: string;
  readonly code?: string | undefined;
  readonly hint?: string | undefined;
}

const toldOf = (thrown: unknown): Told =>
  thrown instanceof HoldfastError
    ? { label: 'error', message: thrown.message, code: thrown.code, hint: thrown.hint }
    : {
        label: 'error',
        message: messageOf(thrown),
        code: 'ERR_INTERNAL',
        hint: 'this is a bug in holdfast: please report it and the command that shows it',
      };

/** For people: the message, an error's with its code, then the hint. */
function formatText({ label, message, code, hint }: Told, colour: boolean): string {
  const line = formatLine(label, code === undefined ? message : `${message} (${code})`, colour);
  return line + formatHint(hint, colour);
}

/** For programs: one object of JSON on a line, hint and all. The names of its fields do not change. */
function formatJson({ label, message, code, hint }: Told): string {
  const record = {
    time: new Date().toISOString(),
    level: LEVEL_OF[label],
    kind: label === 'touch' ? label : undefined,
    code,
    message: clean(message),
    hint: hint?.split('\n').map(clean).join('\n'),
  };
  return `${JSON.stringify(record)}\n`;
}

/** The lines for anything thrown: the error with its code, then its hint. */
export const formatError = (thrown: unknown, colour = false): string => formatText(toldOf(thrown), colour);

/** A hint may list URIs, one a line. */
const formatHint = (hint: string | undefined, colour: boolean): string =>
  (hint === undefined ? [] : hint.split('\n')).map((line) => formatLine('hint', line, colour)).join('');

/** The exit status for anything thrown. */
export const exitStatusOf = (thrown: unknown): number =>
  ERROR_CODES[thrown instanceof HoldfastError ? thrown.code : 'ERR_INTERNAL'].exit;

/** Colour is for terminals, and for those who did not turn it off (no-color.org: any value that is not empty). */
export const wantsColour = (stream: Sink, env: NodeJS.ProcessEnv): boolean =>
  stream.isTTY === true && !env.NO_COLOR && env.TERM !== 'dumb';

export function makeOutput(stdout: Sink, stderr: Sink, env: NodeJS.ProcessEnv): ProgramOutput {
  let log: Log = { level: 'info', format: 'text' };
  const say = (told: Told): void => {
    stderr.write(log.format === 'json' ? formatJson(told) : formatText(told, wantsColour(stderr, env)));
  };
  // Somebody is waited for: whoever does not want to hear of it would wait for ever.
  const isTold = (label: Told['label']): boolean =>
    label === 'touch' || LEVELS.indexOf(LEVEL_OF[label]) <= (LEVELS as readonly string[]).indexOf(log.level);
  return {
    setLog: (wanted) => {
      log = wanted;
    },
    result: (data) =>
      new Promise((resolve, reject) => {
        stdout.write(data, (error) => {
          if (!error || systemCodeOf(error) === 'EPIPE') resolve();
          else reject(unwritable(error));
        });
      }),
    error: (thrown) => say(toldOf(thrown)),
    tell: (label, message, hint, code) => {
      if (isTold(label)) say({ label, message, hint, code });
    },
  };
}

const unwritable = (cause: Error): HoldfastError =>
  new HoldfastError('ERR_FILE_UNWRITABLE', `the result could not be written to stdout: ${cause.message}`, {
    hint: 'look where stdout goes: is the disk full?',
    cause,
  });
