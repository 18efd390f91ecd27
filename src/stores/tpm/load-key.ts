import { HoldfastError } from '../../errors.ts';
import { damaged } from './bytes.ts';
import { createPrimary, flush, load, readPublic, startSession, type TpmObject } from './commands.ts';
import { CC, HT, hex, kindOfHandle, RH } from './constants.ts';
import type { Authorization, Session, Tpm } from './execute.ts';
import type { KeyFile } from './key-file.ts';
import { choosePolicy, type PcrSelection, type Policy, policiesOf, showPolicy } from './policy.ts';
import { isStorage } from './public-area.ts';
import { isResponse, RC } from './response-codes.ts';
import { makeSalt } from './salt.ts';
import { ECC_STORAGE, fits, RSA_STORAGE, STORAGE_TEMPLATES, type Template } from './templates.ts';

/** Which key, and how it is come by. */
export interface Target {
  /** Without an article, for errors: `key 0x81010001 in the TPM at /dev/tpmrm0`. */
  readonly name: string;
  readonly handle: number | undefined;
  readonly file: KeyFile | undefined;
  readonly pcrs: PcrSelection | undefined;
  /** Password sessions instead of salted ones. */
  readonly plain: boolean;
  /** Of the parent, or of its hierarchy; empty for none. */
  readonly parentAuth: () => Uint8Array;
}

/** A key in the TPM, ready to be used. */
export interface Loaded {
  readonly key: TpmObject;
  /** Undefined: a password session each time. */
  readonly session: Session | undefined;
  /** Undefined when the authValue is enough. */
  readonly policy: Policy | undefined;
}

/**
 * Have the key in the TPM, and a session that is salted, so that nobody who sees the bus learns or finds the authValue.
 *
 * @throws {HoldfastError} `ERR_KEY_NOT_FOUND`, `ERR_KEY_INVALID`, `ERR_KEY_UNSUPPORTED`, `ERR_KEY_POLICY`
 */
export async function loadKey(tpm: Tpm, target: Target): Promise<Loaded> {
  if (target.file) return loadFile(tpm, target, target.file);
  const key = await persistent(tpm, target.handle ?? 0, `there is no ${target.name}`);
  if (target.plain) return ready(tpm, key, target, undefined, undefined);
  const storage = await throwAwayStorage(tpm);
  try {
    return await ready(tpm, key, target, storage, undefined);
  } finally {
    await flush(tpm, storage.handle);
  }
}

/**
 * @param storage what the session is salted with, unless it is there already; undefined for no salt
 * @param session what the key was loaded with
 */
async function ready(
  tpm: Tpm,
  key: TpmObject,
  target: Target,
  storage: TpmObject | undefined,
  session: Session | undefined,
): Promise<Loaded> {
  const policies = policiesOf(key.area, target.file?.policy ?? [], target.pcrs);
  if (policies.length === 0) {
    return { key, session: session ?? (storage && (await saltedSession(tpm, storage))), policy: undefined };
  }
  if (session) await endSession(tpm, session);
  // A policy is hashed with the key's own name algorithm (Part 1 §19.7).
  const salt = storage && makeSalt(storage, tpm.random);
  const policySession = await startSession(tpm, 'POLICY', key.area.nameAlg, salt);
  return { key, session: policySession, policy: await choosePolicy(tpm, policySession, policies, key.area) };
}

const saltedSession = (tpm: Tpm, storage: TpmObject): Promise<Session> =>
  startSession(tpm, 'HMAC', undefined, makeSalt(storage, tpm.random));

export async function endSession(tpm: Tpm, session: Session): Promise<void> {
  session.key.fill(0);
  await flush(tpm, session.handle);
}

async function persistent(tpm: Tpm, handle: number, missing: string): Promise<TpmObject> {
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
async function throwAwayStorage(tpm: Tpm): Promise<TpmObject> {
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
  { name, plain, parentAuth }: Pick<Target, 'name' | 'plain' | 'parentAuth'>,
): Promise<Parent> {
  const missing = `the storage key ${hex(handle)}, below which the ${name} was made, is not in the TPM`;
  const storage = await persistent(tpm, handle, missing);
  if (!isStorage(storage.area)) {
    throw new HoldfastError('ERR_KEY_UNSUPPORTED', `the key ${hex(handle)} is no storage key: it holds no other keys`, {
      hint: 'name a storage key, such as 0x81000001 on most machines',
    });
  }
  const session = plain ? undefined : await saltedSession(tpm, storage);
  return { storage, session, authorization: { session, authValue: parentAuth() } };
}

/** The storage key of a hierarchy. */
export async function primaryParent(
  tpm: Tpm,
  hierarchy: number,
  template: Template,
  { plain, parentAuth }: Pick<Target, 'plain' | 'parentAuth'>,
  earlier?: Session,
): Promise<Parent> {
  const authValue = parentAuth();
  // Without an authValue there is nothing to hide, and the storage key itself can be the salt's.
  const before = plain || authValue.length === 0 ? undefined : (earlier ?? (await throwAwaySession(tpm)));
  const storage = await makeStorage(tpm, hierarchy, template, { session: before, authValue });
  const session = plain ? undefined : (before ?? earlier ?? (await saltedSession(tpm, storage)));
  return { storage, session, authorization: { session, authValue: NO_AUTH } };
}

async function loadFile(tpm: Tpm, target: Target, file: KeyFile): Promise<Loaded> {
  if (kindOfHandle(file.parent) === HT.PERSISTENT) {
    const { authorization, session, storage } = await persistentParent(tpm, file.parent, target);
    try {
      const key = await load(tpm, storage, file, authorization);
      return await ready(tpm, key, target, session && storage, session);
    } catch (error) {
      throw isResponse(error, RC.INTEGRITY) ? foreign(target, `the storage key ${hex(file.parent)}`, error) : error;
    }
  }
  if (file.parent !== RH.OWNER && file.parent !== RH.NULL) {
    throw new HoldfastError(
      'ERR_KEY_UNSUPPORTED',
      `the ${target.name} lives below ${hex(file.parent)}, which holdfast cannot use yet`,
      { hint: 'make the key below the owner hierarchy, the null hierarchy or a persistent storage key' },
    );
  }
  const isFirst = ({ name }: Template): boolean => name.startsWith('RSA') === (file.rsaParent === true);
  const templates = [...STORAGE_TEMPLATES].sort((one, other) => Number(isFirst(other)) - Number(isFirst(one)));
  let earlier: Session | undefined;
  let why: unknown;
  for (const template of templates) {
    const { authorization, session, storage } = await primaryParent(tpm, file.parent, template, target, earlier);
    earlier = session;
    try {
      const key = await load(tpm, storage, file, authorization);
      return await ready(tpm, key, target, session && storage, session);
    } catch (error) {
      // It was made below another storage key; the file does not say which.
      if (!isResponse(error, RC.INTEGRITY)) throw error;
      why = error;
    } finally {
      await flush(tpm, storage.handle);
    }
  }
  throw foreign(target, 'the usual storage keys of its hierarchy', why);
}

const foreign = ({ name }: Target, below: string, cause: unknown): HoldfastError =>
  new HoldfastError(
    'ERR_KEY_INVALID',
    `the ${name} belongs to another TPM, or was not made below ${below} (TPM_RC_INTEGRITY)`,
    {
      hint: 'use it where it was made; where that is here, make it again below a persistent storage key',
      cause,
    },
  );

/** What authorises the next command with the key. */
export async function authorizationFor(
  tpm: Tpm,
  { session, policy }: Loaded,
  authValue: Uint8Array,
  encryptCommand: boolean,
): Promise<Authorization> {
  if (!policy || !session) return { session, authValue, encryptCommand: encryptCommand && session !== undefined };
  // What a failed command left is not the beginning.
  await tpm.run({ code: CC.PolicyRestart, handles: [{ handle: session.handle }] });
  await showPolicy(tpm, session, policy);
  return { session, authValue: policy.wantsAuth ? authValue : NO_AUTH };
}
