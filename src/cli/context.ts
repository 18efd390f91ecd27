import type { Output } from './output.ts';
import type { Flags } from './parse.ts';

/** What a command gets to work with. */
export interface Context {
  readonly flags: Flags;
  /** What follows the command and belongs to no flag; it may hold a secret. */
  readonly words: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly output: Output;
  /**
   * Aborted by SIGINT and SIGTERM, with `ERR_INTERRUPTED` as the reason. A {@link LOGIN} on it says that a driver is next,
   * {@link ASKING} a person.
   */
  readonly signal: AbortSignal;
  /** The arguments received by name, never a value: `--role-arn and 2 words that belong to no flag`. */
  readonly received: string;
}

/**
 * The event that a PIN goes to a token: the login is a call that blocks the whole process, handlers of signals too, so
 * until it returns a signal has to end the process by itself.
 */
export const LOGIN = 'login';

/** The event that a person is asked for a secret: they may take their time, or not be there. */
export const ASKING = 'asking';
