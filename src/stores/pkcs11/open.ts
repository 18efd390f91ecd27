import { HoldfastError } from '../../errors.ts';
import { within } from '../../limits.ts';
import type { Secret } from '../../secret.ts';
import type { HashName } from '../../signer.ts';
import type { OpenKey, OpenOptions } from '../store.ts';
import { besideKey, certificatesOn } from './certificates.ts';
import { CK } from './cryptoki.ts';
import { fault } from './faults.ts';
import { type PrivateKey, selectKey } from './keys.ts';
import { askPin, checkTries, login, type PinSource, pinSource, sendPin } from './login.ts';
import { makePlaces, sessionPool } from './pool.ts';
import { findPublicKey } from './public-key.ts';
import { signOn, toBeSigned } from './sign.ts';
import { type Connection, closeSession, openSession } from './token.ts';

/** Find the key on a connected token, log in, and hold both open. The connection is the open key's from then on. */
export async function openOn(connection: Connection, options: OpenOptions, signal: AbortSignal): Promise<OpenKey> {
  const shown = certificatesOn(connection);
  const pin = pinSource(connection, options);
  const secret = await login(pin, signal);
  try {
    // A few tokens show their certificates only to those who are logged in.
    const certificates = shown.length === 0 && secret ? certificatesOn(connection) : shown;
    const key = selectKey(connection, certificates);
    const publicKey = findPublicKey(connection, key, certificates);
    const kept = key.alwaysAuthenticate && pin.stored ? secret : undefined;
    if (!kept) secret?.wipe();
    return {
      publicKey,
      certificates: besideKey(certificates, { ...key, publicKey }, options.now?.() ?? new Date()),
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
  const pool = sessionPool(
    module.places,
    () => openSession(module, token),
    (session) => closeSession(module, session),
  );
  // A person answers one question at a time, and keeps no place from others meanwhile.
  const questions = makePlaces(1);
  const signatures = new Set<Promise<unknown>>();
  let closing: Promise<void> | undefined;

  /** For a key that always authenticates. */
  const signWith = (secret: Secret, input: Buffer, signal: AbortSignal): Promise<Buffer> =>
    pool.run((session) => {
      if (kept) checkTries(pin);
      const authenticate = (): void => sendPin(pin, session, CK.CKU_CONTEXT_SPECIFIC, secret);
      return signOn(module.pkcs11, session, key, input, authenticate);
    }, signal);

  async function signOnce(input: Buffer, signal: AbortSignal): Promise<Buffer> {
    try {
      if (!key.alwaysAuthenticate) {
        return await pool.run((session) => signOn(module.pkcs11, session, key, input, () => {}), signal);
      }
      if (kept) return await signWith(kept, input, signal);
      await questions.take(signal);
      try {
        const secret = await askPin(pin, signal);
        try {
          return await signWith(secret, input, signal);
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
    const input = toBeSigned(key, message, hash);
    const signature = within(options, `a signature with ${key.description}`, (signal) => signOnce(input, signal));
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
