import { ERROR_CODES, HoldfastError, messageOf, systemCodeOf } from '../errors.ts';

/** What a command may write: its result on stdout, everything else on stderr. */
export interface Output {
  /**
   * Settles when the system has taken the text; a reader that went away is no error.
   *
   * @throws {HoldfastError} `ERR_FILE_UNWRITABLE`
   */
  result(text: string): Promise<void>;
  error(thrown: unknown): void;
  /** One line, and another for the hint. */
  tell(label: Label, message: string, hint?: string): void;
}

export type Label = 'error' | 'hint' | 'warning' | 'touch' | 'note' | 'debug';

/** The part of a stream that is used here. */
export interface Sink {
  write(text: string, done?: (error?: Error | null) => void): unknown;
  readonly isTTY?: boolean | undefined;
}

const COLOURS: Readonly<Partial<Record<Label, string>>> = {
  error: '\u001b[1;31m',
  warning: '\u001b[1;33m',
  touch: '\u001b[1;36m',
};
const PLAIN = '\u001b[0m';

/** `holdfast: error: ...`: one line, without the control characters that a message may have brought from outside. */
export function formatLine(label: Label, text: string, colour = false): string {
  const clean = text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, ' ').trim();
  const start = colour ? COLOURS[label] : undefined;
  return `holdfast: ${start === undefined ? label : `${start}${label}${PLAIN}`}: ${clean}\n`;
}

/** The lines for anything thrown: the error with its code, then its hint. */
export function formatError(thrown: unknown, colour = false): string {
  const [message, code, hint] =
    thrown instanceof HoldfastError
      ? [thrown.message, thrown.code, thrown.hint]
      : [
          messageOf(thrown),
          'ERR_INTERNAL',
          'this is a bug in holdfast: please report it and the command that shows it',
        ];
  return formatLine('error', `${message} (${code})`, colour) + formatHint(hint, colour);
}

/** A hint may list URIs, one a line. */
const formatHint = (hint: string | undefined, colour: boolean): string =>
  (hint === undefined ? [] : hint.split('\n')).map((line) => formatLine('hint', line, colour)).join('');

/** The exit status for anything thrown. */
export const exitStatusOf = (thrown: unknown): number =>
  ERROR_CODES[thrown instanceof HoldfastError ? thrown.code : 'ERR_INTERNAL'].exit;

/** Colour is for terminals, and for those who did not turn it off (no-color.org: any value that is not empty). */
export const wantsColour = (stream: Sink, env: NodeJS.ProcessEnv): boolean =>
  stream.isTTY === true && !env.NO_COLOR && env.TERM !== 'dumb';

/** UTC, whole seconds, as the reference client writes them: `2026-01-01T00:00:00Z`. */
export const formatDate = (date: Date): string => date.toISOString().replace(/\.\d+Z$/, 'Z');

export function makeOutput(stdout: Sink, stderr: Sink, env: NodeJS.ProcessEnv): Output {
  const colour = wantsColour(stderr, env);
  return {
    result: (text) =>
      new Promise((resolve, reject) => {
        stdout.write(text, (error) => {
          if (!error || systemCodeOf(error) === 'EPIPE') resolve();
          else reject(unwritable(error));
        });
      }),
    error: (thrown) => void stderr.write(formatError(thrown, colour)),
    tell: (label, message, hint) => void stderr.write(formatLine(label, message, colour) + formatHint(hint, colour)),
  };
}

const unwritable = (cause: Error): HoldfastError =>
  new HoldfastError('ERR_FILE_UNWRITABLE', `the result could not be written to stdout: ${cause.message}`, {
    hint: 'look where stdout goes: is the disk full?',
    cause,
  });
