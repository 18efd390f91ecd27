import { messageOf, SecretError, systemCodeOf } from '../../errors.ts';
import { originInWords, type PinRecord, type Refusal } from '../../pin-record.ts';
import { formatKeyUri } from '../../uri.ts';
import { CKF } from './cryptoki.ts';
import { type Connection, nameOfToken } from './token.ts';

/** What the token says of its tries now; 0 for many that never say, undefined when it does not answer. */
export function pinFlagsOf({ module, token }: Connection): number | undefined {
  try {
    const { flags } = module.pkcs11.C_GetTokenInfo(token.slot);
    return flags & (CKF.USER_PIN_COUNT_LOW | CKF.USER_PIN_FINAL_TRY | CKF.USER_PIN_LOCKED);
  } catch {
    return undefined;
  }
}

/**
 * A token that showed lost tries and shows none any more has its full tries again: somebody logged in, or it was
 * unblocked. One that never showed any says nothing: many count in silence.
 */
export const isOver = ({ flags }: Refusal, connection: Connection): boolean =>
  flags !== 0 && pinFlagsOf(connection) === 0;

/** @param recorded whether other processes know of it */
export function refusedBefore(connection: Connection, refusal: Refusal, recorded: boolean): SecretError {
  const name = nameOfToken(connection.token);
  const retry = retryHint(connection, refusal.locked, recorded);
  const when = recorded ? ` (${originInWords(refusal.from)}, ${refusal.time})` : '';
  if (refusal.locked) {
    return new SecretError(
      'ERR_SECRET_LOCKED',
      `${name} was locked when it got this PIN; it was not sent again${when}`,
      { hint: `${UNBLOCK}; ${retry}`, triesLeft: 0 },
    );
  }
  return new SecretError('ERR_SECRET_WRONG', `${name} has refused this PIN before; it was not sent again${when}`, {
    hint: `give the right PIN; ${retry}`,
  });
}

export const UNBLOCK = 'unblock it with its PUK or its security officer';

/** When a PIN that was refused is worth another try: a command allows it where it is on record, else this process ends. */
export function retryHint(connection: Connection, locked: boolean, recorded: boolean): string {
  const since = locked ? 'once it is unblocked' : 'if the token was given this PIN since';
  return `${since}${recorded ? `: ${retryCommand(connection)}` : ', start the program again'}`;
}

/** Nobody can tell whether this PIN is among those that were refused: then it is not worth a try. */
export const unreadable = (connection: Connection, { path }: PinRecord, cause?: unknown): SecretError =>
  new SecretError(
    'ERR_SECRET_WRONG',
    `the record of the PINs that ${nameOfToken(connection.token)} refused, ${path}, is damaged${codeOf(cause)}`,
    { hint: `nothing was tried; make sure that the PIN is right, then: ${retryCommand(connection)}`, cause },
  );

const codeOf = (cause: unknown): string => (cause === undefined ? '' : ` (${systemCodeOf(cause) ?? messageOf(cause)})`);

/** What says how the token is reached; a PIN, and where one lies, is not needed. */
const REACH: readonly string[] = ['module-path', 'module-name', 'x-init-reserved'];
const PLACE: readonly string[] = ['slot-id', 'slot-description', 'slot-manufacturer', 'model', 'manufacturer'];

/** For a shell, without any secret and without where one lies: the command needs none. */
export function retryCommand({ address, token }: Connection): string {
  const { uri } = address;
  const path = [
    ['token', token.label],
    ['serial', token.serial],
    ...[...uri.path].filter(([name]) => PLACE.includes(name)),
  ] as const;
  const query = [...uri.query].filter(([name]) => REACH.includes(name));
  return `holdfast pin retry '${formatKeyUri({ scheme: 'pkcs11', path, query }).replaceAll("'", '%27')}'`;
}
