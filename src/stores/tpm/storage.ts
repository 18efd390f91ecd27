import { HoldfastError, SecretError } from '../../errors.ts';
import { damaged } from './bytes.ts';
import { createPrimary, flush, isEmptyAuth, readPublic, startSession, type TpmObject } from './commands.ts';
import { ALG, hex, nameOfParent, RH } from './constants.ts';
import type { Authorization, Session, Tpm } from './execute.ts';
import { checkLength, checkTries } from './lockout.ts';
import { has, isStorage } from './public-area.ts';
import { isResponse, RC } from './response-codes.ts';
import { makeSalt } from './salt.ts';
import { ECC_STORAGE, fits, RSA_STORAGE, type Template } from './templates.ts';

/** Storage keys: what keys are loaded and made below, and what sessions are salted with. */

/** How a storage key is come by. */
export interface Reach {
  /** What lives below it, for errors, without an article. */
  readonly name: string;
  readonly deviceName: string;
  /** Password sessions instead of salted ones. */
  readonly plain: boolean;
  /** Of the parent, or of its hierarchy; empty for none. */
  readonly parentAuth: () => Uint8Array;
}

export const saltedSession = (tpm: Tpm, storage: TpmObject): Promise<Session> =>
  startSession(tpm, 'HMAC', undefined, makeSalt(storage, tpm.random));

export async function endSession(tpm: Tpm, session: Session): Promise<void> {
  session.key.fill(0);
  await flush(tpm, session.handle);
}

/** An object at a persistent handle. @param missing the error's words when there is none */
export async function persistent(tpm: Tpm, handle: number, missing: string): Promise<TpmObject> {
  try {
    return await readPublic(tpm, handle);
  } catch (error) {
    if (!isResponse(error, RC.HANDLE, RC.VALUE)) throw error;
    throw new HoldfastError('ERR_KEY_NOT_FOUND', missing, {
      hint: 'see what there is: holdfast list tpm:',
      cause: error,
    });
  }
}

/** A storage key of the null hierarchy, which everybody may make and which no TPM keeps (Part 1 §14.5). */
export async function throwAwayStorage(tpm: Tpm): Promise<TpmObject> {
  try {
    return await makeStorage(tpm, RH.NULL, ECC_STORAGE, { authValue: NO_AUTH });
  } catch (error) {
    if (!isResponse(error, RC.CURVE, RC.TYPE, RC.ASYMMETRIC, RC.VALUE)) throw error;
    return makeStorage(tpm, RH.NULL, RSA_STORAGE, { authValue: NO_AUTH });
  }
}

/** A session for what belongs to no key. */
export async function throwAwaySession(tpm: Tpm): Promise<Session> {
  const storage = await throwAwayStorage(tpm);
  try {
    return await saltedSession(tpm, storage);
  } finally {
    await flush(tpm, storage.handle);
  }
}

export const NO_AUTH: Uint8Array = new Uint8Array(0);

/** A storage key of a hierarchy, which is the same each time (Part 1 §14). It must be what was asked for. */
async function makeStorage(
  tpm: Tpm,
  hierarchy: number,
  template: Template,
  authorization: Authorization,
): Promise<TpmObject> {
  const made = await createPrimary(tpm, hierarchy, template, authorization);
  if (!fits(made.area, template)) throw damaged('the storage key is not what was asked for');
  return made;
}

/** A storage key to load or to make keys below, and the session that it was salted with. */
export interface Parent {
  readonly storage: TpmObject;
  /** Undefined with password sessions. */
  readonly session: Session | undefined;
  /** For what is done with the storage key itself. */
  readonly authorization: Authorization;
}

/** The storage key at a persistent handle. @throws {HoldfastError} `ERR_KEY_NOT_FOUND`, `ERR_KEY_UNSUPPORTED` */
export async function persistentParent(
  tpm: Tpm,
  handle: number,
  { name, deviceName, plain, parentAuth }: Reach,
): Promise<Parent> {
  const missing = `the storage key ${hex(handle)}, below which the ${name} was made, is not in the TPM`;
  const storage = await persistent(tpm, handle, missing);
  if (!isStorage(storage.area)) {
    throw new HoldfastError('ERR_KEY_UNSUPPORTED', `the key ${hex(handle)} is no storage key: it holds no other keys`, {
      hint: 'name a storage key, such as 0x81000001 on most machines',
    });
  }
  const authValue = parentAuth();
  checkLength(authValue, storage.area.nameAlg, nameOfParent(handle));
  // In lockout the empty one is refused as well, though it costs no try.
  if (!has(storage.area, 'noDA')) await checkTries(tpm, deviceName, !isEmptyAuth(authValue));
  const session = plain ? undefined : await saltedSession(tpm, storage);
  return { storage, session, authorization: { session, authValue } };
}

/** The storage key of a hierarchy. */
export async function primaryParent(
  tpm: Tpm,
  hierarchy: number,
  template: Template,
  { plain, parentAuth }: Reach,
  earlier?: Session,
): Promise<Parent> {
  const authValue = parentAuth();
  checkLength(authValue, ALG.SHA512, nameOfParent(hierarchy));
  // Without an authValue there is nothing to hide, and the storage key itself can be the salt's.
  const before = plain || authValue.length === 0 ? undefined : (earlier ?? (await throwAwaySession(tpm)));
  const storage = await makeStorage(tpm, hierarchy, template, { session: before, authValue }).catch(
    (error: unknown) => {
      throw parentRefused(error, nameOfParent(hierarchy));
    },
  );
  const session = plain ? undefined : (before ?? earlier ?? (await saltedSession(tpm, storage)));
  return { storage, session, authorization: { session, authValue: NO_AUTH } };
}

/** What a wrong authValue of a parent becomes; everything else stays what it is. */
export function parentRefused(error: unknown, what: string, attribute: string = 'parent-pin'): unknown {
  if (!isResponse(error, RC.AUTH_FAIL, RC.BAD_AUTH)) return error;
  return new SecretError('ERR_SECRET_WRONG', `the ${what} refused its authValue`, {
    hint: `give the right one as ${attribute}-source (or ${attribute}-value) in the key URI`,
    cause: error,
  });
}
