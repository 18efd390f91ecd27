import { HoldfastError } from '../../errors.ts';
import { within } from '../../limits.ts';
import { checkMessage } from '../../option-types.ts';
import type { Secret } from '../../secret.ts';
import type { HashName } from '../../signer.ts';
import type { OpenKey, OpenOptions } from '../store.ts';
import { besideKey, underNameOf } from './certificates.ts';
import { CK } from './cryptoki.ts';
import { fault } from './faults.ts';
import { type PrivateKey, selectKey } from './keys.ts';
import { askPin, checkTries, type PinSource, pinSource, readyPin } from './login.ts';
import { mechanismsOf } from './mechanisms.ts';
import { makePlaces, sessionPool } from './pool.ts';
import { findPublicKey } from './public-key.ts';
import { signOn, type Way, waysToSign } from './sign.ts';
import { type Connection, closeSession, openSession } from './token.ts';

/**
 * Find the key where somebody is logged in. Connection and PIN are the open key's from then on; when this fails, the PIN is
 * wiped.
 */
export function openOn(connection: Connection, secret: Secret | undefined, options: OpenOptions): OpenKey {
  const pin = pinSource(connection, options);
  try {
    const key = selectKey(connection);
    const underName = underNameOf(connection, key);
    const publicKey = findPublicKey(connection, key, underName);
    const now = options.now?.() ?? new Date();
    const kept = key.alwaysAuthenticate && pin.stored ? secret : undefined;
    if (!kept) secret?.wipe();
    return {
      publicKey,
      certificates: besideKey(connection, { ...key, publicKey }, underName, now),
      attended: key.alwaysAuthenticate,
      description: key.description,
      ...signing(connection, key, pin, kept, options),
    };
  } catch (error) {
    secret?.wipe();
    throw error;
  }
}

/** @param kept the PIN for a key that wants it for every signature, when nobody needs to be asked again */
function signing(
  connection: Connection,
  key: PrivateKey,
  pin: PinSource,
  kept: Secret | undefined,
  options: OpenOptions,
): Pick<OpenKey, 'sign' | 'close'> {
  const { module, token } = connection;
  const mechanisms = mechanismsOf(module, token);
  const pool = sessionPool(
    module.places,
    () => openSession(module, token),
    (session) => closeSession(module, session),
  );
  // A person answers one question at a time, and keeps no place from others meanwhile.
  const questions = makePlaces(1);
  const what = `a signature with ${key.description}`;
  const signatures = new Set<Promise<unknown>>();
  let closing: Promise<void> | undefined;

  /** For a key that always authenticates. */
  const signWith = (secret: Secret, ways: Way[], signal: AbortSignal): Promise<Buffer> =>
    pool.run(async (session) => {
      if (kept) checkTries(pin);
      const ready = await readyPin(pin, CK.CKU_CONTEXT_SPECIFIC, secret, signal);
      try {
        return await signOn(module.pkcs11, session, key, ways, mechanisms, () => ready.send(session));
      } finally {
        ready.leave();
      }
    }, signal);

  async function signOnce(ways: Way[], signal: AbortSignal): Promise<Buffer> {
    try {
      if (!key.alwaysAuthenticate) {
        return await pool.run((session) => signOn(module.pkcs11, session, key, ways, mechanisms, () => {}), signal);
      }
      if (kept) return await signWith(kept, ways, signal);
      await questions.take(signal);
      try {
        const secret = await askPin(pin, signal);
        try {
          return await signWith(secret, ways, signal);
        } finally {
          secret.wipe();
        }
      } finally {
        questions.give();
      }
    } catch (thrown) {
      throw fault('ERR_SIGNING_FAILED', `${key.description} did not sign`, thrown);
    }
  }

  async function sign(message: Uint8Array, hash: HashName = 'SHA-256'): Promise<Uint8Array> {
    if (closing) {
      throw new HoldfastError('ERR_KEY_CLOSED', `${key.description} was closed`, { hint: 'open it again' });
    }
    checkMessage(message);
    const ways = waysToSign(key, mechanisms, message, hash);
    const signature = within(options, what, (signal) => signOnce(ways, signal));
    signatures.add(signature);
    try {
      return await signature;
    } finally {
      signatures.delete(signature);
    }
  }

  async function end(): Promise<void> {
    await Promise.allSettled(signatures);
    const released = pool.drain().then(() => {
      kept?.wipe();
      connection.close();
    });
    // A call that outlived its deadline or its caller holds the module until it returns, which may be never.
    if (pool.busy === 0) await released;
  }

  return {
    sign,
    close() {
      closing ??= end();
      return closing;
    },
  };
}
