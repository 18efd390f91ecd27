import { ERROR_CODES, type ErrorCode, HoldfastError, SecretError } from '../../errors.ts';
import type { SentError } from './messages.ts';

/** More causes than that nobody reads. */
const DEPTH = 8;

/** @param questions errors that the parent gave as the answer to a question */
export function sendable(thrown: unknown, questions: WeakMap<object, number>, depth: number = DEPTH): SentError {
  const error = (typeof thrown === 'object' && thrown !== null ? thrown : { message: String(thrown) }) as Partial<
    Record<keyof SentError, unknown>
  >;
  const text = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);
  const number = (value: unknown): number | undefined => (typeof value === 'number' ? value : undefined);
  return {
    name: text(error.name) ?? 'Error',
    message: text(error.message) ?? '',
    code: text(error.code) ?? number(error.code),
    hint: text(error.hint),
    triesLeft: number(error.triesLeft),
    question: questions.get(error),
    cause: error.cause === undefined || depth === 0 ? undefined : sendable(error.cause, questions, depth - 1),
  };
}

/**
 * The error as it was on the other side, but for its stack.
 *
 * @param answers what was thrown here when a question was asked
 */
export function received(sent: SentError, answers: ReadonlyMap<number, unknown> = new Map()): Error {
  if (sent.question !== undefined && answers.has(sent.question)) return answers.get(sent.question) as Error;
  const { message, code, hint, triesLeft } = sent;
  const cause = sent.cause && received(sent.cause, answers);
  if (isOurs(code)) {
    return sent.name === 'SecretError'
      ? new SecretError(code, message, { hint, triesLeft, cause })
      : new HoldfastError(code, message, { hint, cause });
  }
  const error = new Error(message, cause && { cause });
  error.name = sent.name;
  return Object.assign(error, code !== undefined && { code });
}

/** Node has codes that look like ours, one even the same: those of our own kind have our names. */
const isOurs = (code: SentError['code']): code is ErrorCode =>
  typeof code === 'string' && Object.hasOwn(ERROR_CODES, code);
