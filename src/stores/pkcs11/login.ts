import { createHash } from 'node:crypto';
import { type ErrorCode, HoldfastError, SecretError } from '../../errors.ts';
import { orAborted } from '../../limits.ts';
import { askSecret, asksPerson, type Secret, type SecretSource } from '../../secret.ts';
import type { OpenOptions } from '../store.ts';
import { CK, CKF } from './cryptoki.ts';
import { fault, guarded, nameOf, returnValueOf } from './faults.ts';
import { registry } from './modules.ts';
import { checkNamed } from './named.ts';
import { turnOf } from './pin-guard.ts';
import { pinFlagsOf, retryHint, UNBLOCK } from './refusals.ts';
import { type Connection, nameOfToken, tokenInWords } from './token.ts';

/** The way to the PIN of one token. */
export interface PinSource {
  readonly connection: Connection;
  readonly source: SecretSource | undefined;
  readonly options: OpenOptions;
  /** True for a PIN that lies somewhere, false for one that a person is asked for. */
  readonly stored: boolean;
}

export function pinSource(connection: Connection, options: OpenOptions): PinSource {
  const source = options.secret ?? connection.address.pin;
  return { connection, source, options, stored: !asksPerson(source) };
}

const PIN_LOCKED = 0xa4;
const ALREADY_LOGGED_IN = 0x100;
/** `CKR_PIN_INCORRECT`, `CKR_PIN_INVALID`, `CKR_PIN_LEN_RANGE`. */
const isRefusal = (code: number | undefined): boolean => code === 0xa0 || code === 0xa1 || code === 0xa2;

/**
 * The PIN, unless asking for it or trying it would be a mistake. The caller wipes it.
 *
 * @throws {HoldfastError} `ERR_TOKEN_AMBIGUOUS`, `ERR_SECRET_LOCKED`, `ERR_SECRET_LAST_TRY`, `ERR_SECRET_REQUIRED`,
 *   `ERR_SECRET_UNREADABLE`, `ERR_OPTION_INVALID`
 */
export async function askPin(pin: PinSource, signal: AbortSignal): Promise<Secret> {
  const { token } = pin.connection;
  checkNamed(pin.connection);
  const triesLeft = checkTries(pin);
  const asking = askSecret(pin.source, {
    kind: 'PIN',
    of: tokenInWords(token),
    triesLeft,
    purpose: pin.options.purpose,
  });
  asking.then(
    (late) => signal.aborted && late.wipe(),
    () => {},
  );
  const secret = await orAborted(asking, signal);
  const [code, mistake, cure] = mistakeIn(secret) ?? [];
  if (!code) return secret;
  secret.wipe();
  throw new SecretError(code, `the PIN given for ${nameOfToken(token)} ${mistake}`, {
    hint: `${cure}; nothing was tried`,
    triesLeft,
  });
}

/** What no PIN is, but what becomes of one that was saved in another way: the token would count it. */
function mistakeIn(secret: Secret): readonly [code: ErrorCode, mistake: string, cure: string] | undefined {
  if (secret.bytes.length === 0) return ['ERR_SECRET_REQUIRED', 'is empty', 'check where it comes from'];
  // C_Login takes a CK_UTF8CHAR_PTR (PKCS#11 v2.40 §5.6), and the driver a string: what is not UTF-8 would arrive changed.
  // A variable or a terminal that is not UTF-8 was changed so before it came here.
  const pin = secret.reveal();
  if (pin.includes('\ufffd')) return ['ERR_SECRET_UNREADABLE', 'is not UTF-8', 'store it as UTF-8'];
  if (pin.startsWith('\ufeff')) {
    return ['ERR_SECRET_UNREADABLE', 'begins with a byte order mark', 'store it as UTF-8 without one'];
  }
  const mark = /[\0\r\n]/.exec(pin)?.[0];
  if (mark === undefined) return undefined;
  return mark === '\0'
    ? ['ERR_SECRET_UNREADABLE', 'has a NUL in it', 'store it as UTF-8 (not UTF-16), without anything else']
    : ['ERR_SECRET_UNREADABLE', 'has more than one line', 'store it in one line, without anything else'];
}

/**
 * Look at the token's own count before a PIN goes there.
 *
 * @returns tries left, when the token tells
 */
export function checkTries({ connection, stored, options }: PinSource): number | undefined {
  const { module, token } = connection;
  const name = nameOfToken(token);
  const { flags } = guarded('ERR_TOKEN_FAILED', `${name} does not answer`, () =>
    module.pkcs11.C_GetTokenInfo(token.slot),
  );
  if (flags & CKF.USER_PIN_LOCKED) {
    throw new SecretError('ERR_SECRET_LOCKED', `${name} is locked: its PIN was wrong too often`, {
      hint: `${UNBLOCK}; nothing was tried`,
      triesLeft: 0,
    });
  }
  if (flags & CKF.USER_PIN_FINAL_TRY) {
    if (!stored) return 1;
    throw new SecretError('ERR_SECRET_LAST_TRY', `${name} has one PIN try left, and a stored PIN is not spent on it`, {
      hint: 'enter the PIN yourself once, where you are asked for it; then mend the stored one',
      triesLeft: 1,
    });
  }
  if (flags & CKF.USER_PIN_COUNT_LOW) {
    options.notify?.({
      kind: 'warning',
      message: `${name} was given a wrong PIN since the last good one`,
      hint: 'make sure that the PIN is right before the token locks',
    });
  }
  return undefined;
}

/** One login with one PIN. */
export interface ReadyPin {
  /** Does not wait: between the look at what was refused and the answer of the token nobody else gets a turn. */
  send(session: Buffer): void;
  /** To be called in any case. */
  leave(): void;
}

/**
 * Wait until the PIN may be sent, which happens at most once with each wrong PIN and each locked token.
 *
 * @throws {SecretError} `ERR_SECRET_WRONG`, `ERR_SECRET_LAST_TRY`, `ERR_SECRET_LOCKED`
 */
export async function readyPin(pin: PinSource, user: number, secret: Secret, signal: AbortSignal): Promise<ReadyPin> {
  const { connection, stored } = pin;
  const { memory } = connection;
  const isUser = user === CK.CKU_USER;
  // A process that is logged in takes its turn, too: nobody can tell whether the token still knows.
  const turn = await turnOf(pin, user, secret, signal);
  try {
    // Others had their turns since it was asked for: this may be the last try by now.
    if ((pinFlagsOf(connection) ?? 0) & (CKF.USER_PIN_FINAL_TRY | CKF.USER_PIN_LOCKED)) checkTries(pin);
  } catch (error) {
    turn.leave();
    throw error;
  }
  return {
    leave: () => turn.leave(),
    send(session) {
      registry().loggingIn?.(true);
      try {
        connection.module.pkcs11.C_Login(session, user, secret.reveal());
        turn.accepted();
        if (isUser) memory.accepted = quickHash(connection, secret);
      } catch (thrown) {
        const code = returnValueOf(thrown);
        if (code === ALREADY_LOGGED_IN) return checkAgainstLogin(connection, secret);
        if (isUser) memory.accepted = undefined;
        const locked = code === PIN_LOCKED;
        if (!locked && !isRefusal(code)) {
          throw fault('ERR_TOKEN_FAILED', `${nameOfToken(connection.token)} let nobody log in`, thrown);
        }
        const recorded = turn.refused(locked);
        const retry = stored ? `; ${retryHint(connection, locked, recorded)}` : '';
        throw locked ? lockedError(connection, thrown, retry) : refusal(connection, thrown, hasBlanks(secret), retry);
      } finally {
        turn.leave();
        registry().loggingIn?.(false);
      }
    },
  };
}

/** For as long as the login lasts, which the module keeps the PIN for as well. */
const quickHash = ({ module }: Connection, { bytes }: Secret): string =>
  createHash('sha256').update(module.salt).update(bytes).digest('hex');

/** A process that is logged in answers "already" whatever the PIN: compare with the one it let us in with, if it was us. */
function checkAgainstLogin(connection: Connection, secret: Secret): void {
  const { accepted } = connection.memory;
  if (accepted === undefined || accepted === quickHash(connection, secret)) return;
  const name = nameOfToken(connection.token);
  throw new SecretError('ERR_SECRET_WRONG', `this PIN is not the one that this process is logged in to ${name} with`, {
    hint: 'give the right PIN; nothing was tried',
  });
}

/** @param retry what makes the same PIN worth another try, behind a semicolon */
const lockedError = (connection: Connection, thrown: unknown, retry: string): SecretError =>
  new SecretError('ERR_SECRET_LOCKED', `${nameOfToken(connection.token)} is locked (CKR_PIN_LOCKED)`, {
    hint: `${UNBLOCK}${retry}`,
    triesLeft: 0,
    cause: thrown,
  });

function refusal(connection: Connection, thrown: unknown, blanks: boolean, retry: string): SecretError {
  const triesLeft = triesAfter(connection);
  const left = triesLeft === 0 ? ' and is locked now' : triesLeft === 1 ? ' and has one try left' : '';
  const right = `give the right PIN${blanks ? ' (this one begins or ends with a blank)' : ''}`;
  return new SecretError(
    'ERR_SECRET_WRONG',
    `${nameOfToken(connection.token)} refused the PIN${left} (${nameOf(thrown)})`,
    { hint: `${triesLeft === 0 ? UNBLOCK : right}${retry}`, triesLeft, cause: thrown },
  );
}

/** A PIN may have them; one that was refused probably should not. */
const hasBlanks = (secret: Secret): boolean => /^\s|\s$/.test(secret.reveal());

/** After a wrong PIN, where the token tells. */
function triesAfter(connection: Connection): number | undefined {
  const flags = pinFlagsOf(connection) ?? 0;
  return flags & CKF.USER_PIN_LOCKED ? 0 : flags & CKF.USER_PIN_FINAL_TRY ? 1 : undefined;
}

/**
 * Log in as the user, where the token wants it.
 *
 * @returns the PIN, which the caller wipes; undefined when the token needs no login
 */
export async function login(pin: PinSource, signal: AbortSignal): Promise<Secret | undefined> {
  const { token, session } = pin.connection;
  if ((token.flags & CKF.LOGIN_REQUIRED) === 0) return undefined;
  checkKeypad(pin.connection);
  const secret = await askPin(pin, signal);
  try {
    (await readyPin(pin, CK.CKU_USER, secret, signal)).send(session);
    return secret;
  } catch (error) {
    secret.wipe();
    throw error;
  }
}

/** pkcs11js passes no PIN but a string, so a PIN cannot be left to the device. */
function checkKeypad({ token }: Connection): void {
  if ((token.flags & CKF.PROTECTED_AUTHENTICATION_PATH) === 0) return;
  throw new HoldfastError(
    'ERR_TOKEN_FAILED',
    `${nameOfToken(token)} takes its PIN on a keypad of its own, which the driver pkcs11js cannot use`,
    { hint: 'use a reader without a keypad, or switch its keypad off in the configuration of the module' },
  );
}
