import { createHmac, scryptSync } from 'node:crypto';
import { SecretError } from '../../errors.ts';
import type { Secret } from '../../secret.ts';
import { formatKeyUri } from '../../uri.ts';
import { CKF } from './cryptoki.ts';
import { originInWords, type PinRecord, type Refusal } from './pin-record.ts';
import { type Connection, nameOfToken } from './token.ts';

/** About ten milliseconds, and only where there is something to remember or to compare with: PINs are short. */
const SLOW = { N: 4096, r: 8, p: 1 };

/** One PIN for one kind of login, under a random key, hex. */
export const hashPin = (key: Uint8Array, user: number, { bytes }: Secret): string =>
  createHmac('sha256', key)
    .update(`${user}/`)
    .update(scryptSync(bytes, key, 32, SLOW))
    .digest('hex');

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

/** @param recorded whether other processes know of it: then a command ends it, else the end of this process */
export function refusedBefore(connection: Connection, refusal: Refusal, recorded: boolean): SecretError {
  const name = nameOfToken(connection.token);
  const since = refusal.locked ? 'once it is unblocked' : 'if the token was given this PIN since';
  const retry = recorded ? `${since}: ${retryCommand(connection)}` : `${since}, start the program again`;
  const when = recorded ? ` (${originInWords(refusal.from)}, ${refusal.time})` : '';
  if (refusal.locked) {
    return new SecretError(
      'ERR_SECRET_LOCKED',
      `${name} was locked when it got this PIN; it was not sent again${when}`,
      {
        hint: `unblock it with its PUK or its security officer; ${retry}`,
        triesLeft: 0,
      },
    );
  }
  return new SecretError('ERR_SECRET_WRONG', `${name} has refused this PIN before; it was not sent again${when}`, {
    hint: `give the right PIN; ${retry}`,
  });
}

/** Nobody can tell whether this PIN is among those that were refused: then it is not worth a try. */
export const unreadable = (connection: Connection, { path }: PinRecord): SecretError =>
  new SecretError(
    'ERR_SECRET_WRONG',
    `the record of the PINs that ${nameOfToken(connection.token)} refused, ${path}, is damaged`,
    {
      hint: `nothing was tried; make sure that the PIN is right, then: ${retryCommand(connection)}`,
    },
  );

/** For a shell, without any secret and without where one lies: the command needs none. */
export function retryCommand({ address, token }: Connection): string {
  const query = [...address.uri.query].filter(([name]) => name === 'module-path' || name === 'module-name');
  const path = [
    ['token', token.label],
    ['serial', token.serial],
  ] as const;
  return `holdfast pin retry '${formatKeyUri({ scheme: 'pkcs11', path, query }).replaceAll("'", '%27')}'`;
}
