import { createHash } from 'node:crypto';
import { HoldfastError, SecretError } from '../../errors.ts';
import { orAborted } from '../../limits.ts';
import { askSecret, asksPerson, type Secret, type SecretSource } from '../../secret.ts';
import type { OpenOptions } from '../store.ts';
import { CK, CKF } from './cryptoki.ts';
import { fault, guarded, nameOf, returnValueOf } from './faults.ts';
import { checkNamed } from './named.ts';
import { turnOf } from './pin-guard.ts';
import { pinFlagsOf } from './refusals.ts';
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
  if (secret.bytes.length > 0) return secret;
  throw new SecretError('ERR_SECRET_REQUIRED', `the PIN given for ${nameOfToken(token)} is empty`, {
    hint: 'check where it comes from; an empty PIN is not tried',
    triesLeft,
  });
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
      hint: 'unblock it with its PUK or its security officer; nothing was tried',
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
  const { connection } = pin;
  const { memory } = connection;
  const isUser = user === CK.CKU_USER;
  // The module keeps it as long as the login lasts: it will answer "already", and no try is spent.
  const isIn = isUser && memory.accepted !== undefined && memory.accepted === quickHash(connection, secret);
  const turn = isIn ? undefined : await turnOf(pin, user, secret, signal);
  try {
    // Others had their turns since it was asked for: this may be the last try by now.
    if (turn && (pinFlagsOf(connection) ?? 0) & (CKF.USER_PIN_FINAL_TRY | CKF.USER_PIN_LOCKED)) checkTries(pin);
  } catch (error) {
    turn?.leave();
    throw error;
  }
  return {
    leave: () => turn?.leave(),
    send(session) {
      try {
        connection.module.pkcs11.C_Login(session, user, secret.reveal());
        turn?.accepted();
        if (isUser) memory.accepted = quickHash(connection, secret);
      } catch (thrown) {
        const code = returnValueOf(thrown);
        if (code === ALREADY_LOGGED_IN) return checkAgainstLogin(connection, secret);
        if (isRefusal(code) || code === PIN_LOCKED) turn?.refused(code === PIN_LOCKED);
        throw loginError(connection, code, thrown);
      } finally {
        turn?.leave();
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

function loginError(connection: Connection, code: number | undefined, thrown: unknown): HoldfastError {
  const name = nameOfToken(connection.token);
  const unblock = 'unblock it with its PUK or its security officer';
  if (code === PIN_LOCKED) {
    return new SecretError('ERR_SECRET_LOCKED', `${name} is locked (CKR_PIN_LOCKED)`, {
      hint: unblock,
      triesLeft: 0,
      cause: thrown,
    });
  }
  if (!isRefusal(code)) return fault('ERR_TOKEN_FAILED', `${name} let nobody log in`, thrown);
  const triesLeft = triesAfter(connection);
  const left = triesLeft === 0 ? ' and is locked now' : triesLeft === 1 ? ' and has one try left' : '';
  return new SecretError('ERR_SECRET_WRONG', `${name} refused the PIN${left} (${nameOf(thrown)})`, {
    hint: triesLeft === 0 ? unblock : 'give the right PIN',
    triesLeft,
    cause: thrown,
  });
}

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
