import { HoldfastError, type SecretError } from '../../errors.ts';
import { flush, load, startSession, type TpmObject } from './commands.ts';
import { CC, HIERARCHIES, HT, hex, kindOfHandle, nameOfParent } from './constants.ts';
import type { Authorization, Session, Tpm } from './execute.ts';
import type { KeyFile } from './key-file.ts';
import { lockedError, readLockout } from './lockout.ts';
import { choosePolicy, type PcrSelection, type Policy, policiesOf, showPolicy } from './policy.ts';
import { isResponse, RC } from './response-codes.ts';
import { makeSalt } from './salt.ts';
import {
  endSession,
  NO_AUTH,
  parentRefused,
  persistent,
  persistentParent,
  primaryParent,
  type Reach,
  saltedSession,
  throwAwayStorage,
} from './storage.ts';
import { isCounted, STORAGE_TEMPLATES, type Template } from './templates.ts';

/** Which key, and how it is come by. */
export interface Target extends Reach {
  readonly handle: number | undefined;
  readonly file: KeyFile | undefined;
  readonly pcrs: PcrSelection | undefined;
  /** DER, from the key file. */
  readonly certificates: readonly Uint8Array[];
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

async function loadFile(tpm: Tpm, target: Target, file: KeyFile): Promise<Loaded> {
  if (kindOfHandle(file.parent) === HT.PERSISTENT) {
    const { authorization, session, storage } = await persistentParent(tpm, file.parent, target);
    const key = await load(tpm, storage, file, authorization).catch((error: unknown) => {
      if (isResponse(error, RC.INTEGRITY)) throw foreign(target, `the ${nameOfParent(file.parent)}`, error);
      throw parentRefused(error, nameOfParent(file.parent));
    });
    return ready(tpm, key, target, session && storage, session);
  }
  if (![...HIERARCHIES.values()].includes(file.parent)) {
    throw new HoldfastError(
      'ERR_KEY_UNSUPPORTED',
      `the ${target.name} lives below ${hex(file.parent)}, which is no parent`,
      { hint: 'make the key below a hierarchy or a persistent storage key' },
    );
  }
  const isFirst = ({ name }: Template): boolean => name.startsWith('RSA') === (file.rsaParent === true);
  const templates = [...STORAGE_TEMPLATES].sort((one, other) => Number(isFirst(other)) - Number(isFirst(one)));
  let earlier: Session | undefined;
  let why: unknown;
  let locked: SecretError | undefined;
  for (const template of templates) {
    // What is below it cannot be loaded in lockout; the key may be below another.
    locked ??= isCounted(template) ? await lockedNow(tpm, target.deviceName) : undefined;
    if (locked && isCounted(template)) continue;
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
  throw locked ?? foreign(target, 'the usual storage keys of its hierarchy', why);
}

async function lockedNow(tpm: Tpm, deviceName: string): Promise<SecretError | undefined> {
  const lockout = await readLockout(tpm);
  return lockout.locked ? lockedError(deviceName, lockout) : undefined;
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
