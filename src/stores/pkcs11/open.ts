import { HoldfastError, SecretError } from '../../errors.ts';
import { type Limits, within } from '../../limits.ts';
import { checkMessage, timeOf } from '../../option-types.ts';
import type { Secret } from '../../secret.ts';
import type { HashName } from '../../signer.ts';
import type { OpenKey, OpenOptions } from '../store.ts';
import { besideKey, underNameOf } from './certificates.ts';
import { CK } from './cryptoki.ts';
import { fault } from './faults.ts';
import { type PrivateKey, selectKey } from './keys.ts';
import type { Ladder } from './ladder.ts';
import { askPin, checkTries, type PinSource, pinSource, readyPin } from './login.ts';
import { type Mechanisms, mechanismsOf } from './mechanisms.ts';
import { makePlaces, type SessionPool, sessionPool } from './pool.ts';
import { findPublicKey } from './public-key.ts';
import { signOn, type Way, waysToSign } from './sign.ts';
import type { StoredCertificate } from './stored-certificate.ts';
import { type Connection, closeSession, openSession } from './token.ts';

/** An open key that takes limits for one signature, instead of those it was opened with. */
export interface LimitedKey extends OpenKey {
  sign(message: Uint8Array, hash?: HashName, limits?: Limits): Promise<Uint8Array>;
}

/** A key on one connection, until that is lost. */
export interface Held {
  readonly connection: Connection;
  readonly key: PrivateKey;
  readonly publicKey: Buffer | undefined;
  readonly pin: PinSource;
  /** The PIN for a key that wants it for every signature, when nobody needs to be asked again. */
  readonly kept: Secret | undefined;
  readonly mechanisms: Mechanisms;
  readonly pool: SessionPool;
  /** Once no call of its is in flight: ends its PKCS#11 sessions and wipes the PIN. The module stays in use. */
  retire(): Promise<void>;
}

/** What is found under the name of a key. */
interface Found {
  readonly key: PrivateKey;
  readonly publicKey: Buffer | undefined;
  readonly underName: readonly StoredCertificate[];
}

function find(connection: Connection): Found {
  const key = selectKey(connection);
  const underName = underNameOf(connection, key);
  return { key, publicKey: findPublicKey(connection, key, underName), underName };
}

function hold(
  connection: Connection,
  { key, publicKey }: Found,
  secret: Secret | undefined,
  options: OpenOptions,
): Held {
  const { module, token } = connection;
  const pin = pinSource(connection, options);
  const pool = sessionPool(
    module.places,
    () => openSession(module, token),
    (session) => closeSession(module, session),
  );
  const mechanisms = mechanismsOf(module, token);
  const kept = key.alwaysAuthenticate && pin.stored ? secret : undefined;
  if (!kept) secret?.wipe();
  let retiring: Promise<void> | undefined;
  const retire = (): Promise<void> => {
    retiring ??= pool.drain().then(() => {
      kept?.wipe();
      connection.leave();
    });
    return retiring;
  };
  return { connection, key, publicKey, pin, kept, mechanisms, pool, retire };
}

/**
 * Find the key where somebody is logged in. Connection and PIN are the open key's from then on; when this fails, the PIN is
 * wiped.
 */
export function openOn(connection: Connection, secret: Secret | undefined, options: OpenOptions): LimitedKey {
  try {
    const found = find(connection);
    const { key, publicKey, underName } = found;
    const now = timeOf(options);
    return {
      publicKey,
      certificates: besideKey(connection, { ...key, publicKey }, underName, now),
      attended: key.alwaysAuthenticate,
      description: key.description,
      ...signing(hold(connection, found, secret, options), options),
    };
  } catch (error) {
    secret?.wipe();
    throw error;
  }
}

function signing(first: Held, options: OpenOptions): Pick<LimitedKey, 'sign' | 'close'> {
  const { key } = first;
  const { module } = first.connection;
  // A person answers one question at a time, and keeps no place from others meanwhile.
  const questions = makePlaces(1);
  const what = `a signature with ${key.description}`;
  const signatures = new Set<Promise<unknown>>();
  /** Once something was lost. */
  let ladder: Ladder<Held> | undefined;
  let closing: Promise<void> | undefined;

  /** For a key that always authenticates. */
  const signWith = (held: Held, secret: Secret, ways: Way[], signal: AbortSignal): Promise<Buffer> =>
    held.pool.run(async (session) => {
      if (held.kept) checkTries(held.pin);
      const ready = await readyPin(held.pin, CK.CKU_CONTEXT_SPECIFIC, secret, signal);
      try {
        return await signOn(module.pkcs11, session, held.key, ways, held.mechanisms, () => ready.send(session));
      } finally {
        ready.leave();
      }
    }, signal);

  async function signOnce(held: Held, ways: Way[], signal: AbortSignal): Promise<Buffer> {
    if (!key.alwaysAuthenticate) {
      return held.pool.run(
        (session) => signOn(module.pkcs11, session, held.key, ways, held.mechanisms, () => {}),
        signal,
      );
    }
    if (held.kept) return signWith(held, held.kept, ways, signal);
    await questions.take(signal);
    try {
      const secret = await askPin(held.pin, signal);
      try {
        return await signWith(held, secret, ways, signal);
      } finally {
        secret.wipe();
      }
    } finally {
      questions.give();
    }
  }

  async function signSurely(ways: Way[], signal: AbortSignal): Promise<Buffer> {
    const use = (held: Held): Promise<Buffer> => signOnce(held, ways, signal);
    try {
      if (ladder) return await ladder.run(use, signal);
      try {
        return await use(first);
      } catch (thrown) {
        if (signal.aborted || thrown instanceof SecretError) throw thrown;
        const { recovery } = await import('./recover.ts');
        ladder ??= recovery(first, options, (connection, secret) =>
          hold(connection, find(connection), secret, options),
        );
        return await ladder.run(use, signal, { held: first, thrown });
      }
    } catch (thrown) {
      throw fault('ERR_SIGNING_FAILED', `${key.description} did not sign`, thrown);
    }
  }

  async function sign(message: Uint8Array, hash: HashName = 'SHA-256', limits: Limits = options): Promise<Uint8Array> {
    if (closing) {
      throw new HoldfastError('ERR_KEY_CLOSED', `${key.description} was closed`, { hint: 'open it again' });
    }
    checkMessage(message);
    const ways = waysToSign(key, first.mechanisms, message, hash);
    const signature = within(limits, what, (signal) => signSurely(ways, signal));
    signatures.add(signature);
    try {
      return await signature;
    } finally {
      signatures.delete(signature);
    }
  }

  async function end(): Promise<void> {
    await Promise.allSettled(signatures);
    const last = (await ladder?.settled()) ?? first;
    const released = last.retire().then(() => module.release());
    // A call that outlived its deadline or its caller holds the module until it returns, which may be never.
    if (last.pool.busy === 0) await released;
  }

  return {
    sign,
    close() {
      closing ??= end();
      return closing;
    },
  };
}
