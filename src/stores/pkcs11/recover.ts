import { HoldfastError, SecretError } from '../../errors.ts';
import type { Secret } from '../../secret.ts';
import type { OpenOptions } from '../store.ts';
import { connectTo } from './connect.ts';
import { CKF } from './cryptoki.ts';
import { valueBehind } from './faults.ts';
import { type Ladder, makeLadder } from './ladder.ts';
import { login, pinSource } from './login.ts';
import type { ModuleUse } from './modules.ts';
import { sameBytes } from './objects.ts';
import type { Held } from './open.ts';
import { Retired } from './pool.ts';
import { type Connection, selectToken } from './token.ts';

/**
 * How a key that was lost is had again in this process: with a new login; then, where nobody else here uses the module,
 * with a new start of the module. A PIN is asked for where it came from, and none that was refused is sent.
 *
 * @param hold finds the key where somebody is logged in; wipes the PIN when it fails
 */
export function recovery(
  first: Held,
  options: OpenOptions,
  hold: (connection: Connection, secret: Secret | undefined) => Held,
): Ladder<Held> {
  const { address, module, token } = first.connection;
  const loggedIn = (token.flags & CKF.LOGIN_REQUIRED) !== 0;

  async function reopen(signal: AbortSignal): Promise<Held> {
    const connection = connectTo(module, selectToken(module, address), address);
    try {
      const fresh = hold(connection, await login(pinSource(connection, options), signal));
      try {
        checkSameKey(first, fresh);
      } catch (error) {
        fresh.kept?.wipe();
        throw error;
      }
      return fresh;
    } catch (error) {
      connection.leave();
      throw error;
    }
  }

  return makeLadder(first, {
    rungs: [
      { name: 'a new login', climb: reopen },
      {
        name: 'a new start of the module',
        climb: async (signal) => (module.restart() ? reopen(signal) : undefined),
        otherwise: 'close what else uses the module in this process, then open the key again',
      },
    ],
    isLost: (thrown) => isLost(thrown, module, loggedIn),
    attended: first.key.alwaysAuthenticate,
    description: first.key.description,
  });
}

/** Under the same name there may be another key by now, which no certificate of this one fits. */
function checkSameKey(before: Held, { key, publicKey }: Held): void {
  const { description, id, label, type, orderSize } = before.key;
  const same = before.publicKey
    ? sameBytes(publicKey, before.publicKey)
    : key.type === type && key.orderSize === orderSize && sameBytes(key.id, id) && sameBytes(key.label, label);
  if (same) return;
  throw new HoldfastError('ERR_KEY_NOT_FOUND', `${description} is gone: another key has its name now`, {
    hint: 'open that one, with a certificate of its own, or put the key back',
  });
}

/**
 * `CKR_SLOT_ID_INVALID`, `CKR_DEVICE_ERROR`, `CKR_DEVICE_REMOVED`, `CKR_KEY_HANDLE_INVALID`, `CKR_OBJECT_HANDLE_INVALID`,
 * `CKR_SESSION_CLOSED`, `CKR_SESSION_HANDLE_INVALID`, `CKR_TOKEN_NOT_PRESENT`, `CKR_CRYPTOKI_NOT_INITIALIZED`: what modules
 * answer when the device, its service or a PKCS#11 session is gone.
 */
const LOST: ReadonlySet<number> = new Set([0x03, 0x30, 0x32, 0x60, 0x82, 0xb0, 0xb3, 0xe0, 0x190]);

const USER_NOT_LOGGED_IN = 0x101;
/** `CKR_GENERAL_ERROR`, `CKR_FUNCTION_FAILED`. */
const isVague = (value: number): boolean => value === 0x05 || value === 0x06;

function isLost(thrown: unknown, module: ModuleUse, loggedIn: boolean): boolean {
  if (thrown instanceof Retired) return true;
  if (thrown instanceof SecretError) return false;
  // While one looks for it again: some modules see a device that came back only after a new start.
  if (thrown instanceof HoldfastError && thrown.code === 'ERR_TOKEN_NOT_FOUND') return true;
  const value = valueBehind(thrown);
  if (value === undefined) return false;
  if (value === USER_NOT_LOGGED_IN) return loggedIn;
  return LOST.has(value) || (isVague(value) && saysLittle(module));
}

/** The modules that say no more than this when a card is pulled; with others it may be anything. */
function saysLittle({ pkcs11 }: ModuleUse): boolean {
  try {
    return /OpenSC|Yubico/.test(pkcs11.C_GetInfo().manufacturerID);
  } catch {
    return false;
  }
}

const WORTH: ReadonlySet<string> = new Set([
  'ERR_STORE_CRASHED',
  'ERR_TOKEN_NOT_FOUND',
  'ERR_TOKEN_FAILED',
  'ERR_MODULE_FAILED',
]);

/** Whether an error of an open key, after all that can be done in its process, is worth another process. */
export function isWorthNewProcess(error: unknown): boolean {
  if (!(error instanceof HoldfastError) || error instanceof SecretError) return false;
  if (WORTH.has(error.code)) return true;
  const value = valueBehind(error);
  return (
    error.code === 'ERR_SIGNING_FAILED' &&
    value !== undefined &&
    (LOST.has(value) || value === USER_NOT_LOGGED_IN || isVague(value))
  );
}
