import { HoldfastError } from '../../errors.ts';
import type { TpmObject } from './commands.ts';
import { ALG, hex, nameOfParent, RH } from './constants.ts';
import type { Authorization, Tpm } from './execute.ts';
import { checkLength } from './lockout.ts';
import { evict } from './make-commands.ts';
import { isResponse, RC } from './response-codes.ts';
import { parentRefused, type Reach, throwAwaySession } from './storage.ts';

/** What stays in the TPM at a persistent handle. */

/** How a key is come by, and who may keep it. */
export interface Rights extends Reach {
  /** Of the owner hierarchy; empty for none. */
  readonly ownerAuth: () => Uint8Array;
}

/** Those that the owner may give (TPM2_EvictControl, Part 3 §28.5); those above are the platform's. */
export const isOwners = (handle: number): boolean =>
  Number.isInteger(handle) && handle >= 0x8100_0000 && handle <= 0x817f_ffff;

/** @throws {HoldfastError} `ERR_URI_INVALID` */
export function checkOwners(handle: number): void {
  if (isOwners(handle)) return;
  throw new HoldfastError('ERR_URI_INVALID', `the handle ${hex(handle)} is not one that the owner of a TPM may give`, {
    hint: `write one ${OWNERS_HANDLES}`,
  });
}

export const OWNERS_HANDLES: string = 'from 0x81000000 to 0x817fffff: what is above belongs to the firmware';

/** @throws {HoldfastError} `ERR_URI_INVALID` for a parent whose keys no owner keeps */
export function checkKept(parent: number): void {
  if (parent !== RH.NULL && parent !== RH.PLATFORM) return;
  throw new HoldfastError('ERR_URI_INVALID', `a key below the ${nameOfParent(parent)} cannot be kept at a handle`, {
    hint: 'make it below the owner hierarchy or a persistent storage key; nothing was made',
  });
}

export async function makePersistent(tpm: Tpm, key: TpmObject, handle: number, reach: Rights): Promise<void> {
  try {
    await evictAsOwner(tpm, key, handle, reach);
  } catch (error) {
    throw isResponse(error, RC.NV_DEFINED) ? exists(`handle ${hex(handle)}`, error) : error;
  }
}

/** The owner says what is kept (Part 1 §37.3). */
export async function evictAsOwner(tpm: Tpm, key: TpmObject, handle: number, reach: Rights): Promise<void> {
  const authValue = reach.ownerAuth();
  checkLength(authValue, ALG.SHA512, 'owner hierarchy');
  const session = reach.plain || authValue.length === 0 ? undefined : await throwAwaySession(tpm);
  const authorization: Authorization = { session, authValue };
  await evict(tpm, key, handle, authorization).catch((error: unknown) => {
    throw parentRefused(error, 'owner hierarchy', 'owner-pin');
  });
}

export const exists = (what: string, cause?: unknown): HoldfastError =>
  new HoldfastError('ERR_KEY_EXISTS', `the ${what} is taken already`, {
    hint: 'choose another name, or remove what is there',
    cause,
  });
