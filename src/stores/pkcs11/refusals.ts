import { scryptSync } from 'node:crypto';
import { SecretError } from '../../errors.ts';
import type { Secret } from '../../secret.ts';
import { CKF } from './cryptoki.ts';
import { type Connection, nameOfToken } from './token.ts';

/** What this process remembers of a PIN that a token would not take. */
export interface PinRefusals {
  /** @throws {SecretError} `ERR_SECRET_WRONG`, `ERR_SECRET_LOCKED` when this PIN is not to be sent again */
  check(): void;
  add(lockedFlags: number | undefined): void;
  /** This PIN was accepted. */
  clear(): void;
}

/** About ten milliseconds: what is remembered outlives the login, and PINs are short. */
const SLOW = { N: 4096, r: 8, p: 1 };

/** One PIN for one kind of login. It is hashed only where there is something to remember or to compare with. */
export function refusalsOf(connection: Connection, user: number, secret: Secret): PinRefusals {
  const { refused } = connection.memory;
  const name = nameOfToken(connection.token);
  let slow: string | undefined;
  const key = (): string => {
    slow ??= scryptSync(secret.bytes, connection.module.salt, 32, SLOW).toString('hex');
    return `${user}/${slow}`;
  };
  return {
    check() {
      const known = refused.size === 0 ? undefined : refused.get(key());
      if (!known) return;
      if (known.lockedFlags === undefined) {
        throw new SecretError('ERR_SECRET_WRONG', `${name} has refused this PIN before; it was not sent again`, {
          hint: 'give the right PIN; if the token was given this one since, start the program again',
        });
      }
      // Where the token shows that it is locked, it also shows that it no longer is.
      if (known.lockedFlags !== pinFlagsOf(connection)) return;
      throw new SecretError('ERR_SECRET_LOCKED', `${name} was locked when it got this PIN; it was not sent again`, {
        hint: 'unblock it with its PUK or its security officer, then start the program again',
        triesLeft: 0,
      });
    },
    add: (lockedFlags) => void refused.set(key(), { lockedFlags }),
    clear() {
      if (refused.size > 0) refused.delete(key());
      // The token let somebody in: it is not locked any more. What it refused stays refused.
      for (const [one, { lockedFlags }] of refused) if (lockedFlags !== undefined) refused.delete(one);
    },
  };
}

/** What the token says of its PINs; 0 for many that never say. */
export function pinFlagsOf({ module, token }: Connection): number {
  try {
    const { flags } = module.pkcs11.C_GetTokenInfo(token.slot);
    return flags & (CKF.USER_PIN_COUNT_LOW | CKF.USER_PIN_FINAL_TRY | CKF.USER_PIN_LOCKED);
  } catch {
    return 0;
  }
}
