import { randomBytes } from 'node:crypto';
import { messageOf, SecretError, systemCodeOf } from '../../errors.ts';
import {
  hashPin,
  originInWords,
  type PinRecord,
  pinRecordOf,
  type Refusal,
  refusedOriginOf,
} from '../../pin-record.ts';
import type { Secret, SecretSource } from '../../secret.ts';
import { turnWhen } from '../../turn.ts';
import type { OpenOptions } from '../store.ts';
import { HT, kindOfHandle, nameOfParent } from './constants.ts';
import { isResponse, RC } from './response-codes.ts';

/** An authValue on its way to a key whose wrong tries the TPM counts. */
export interface Guarded {
  /** What the key is called, without an article. */
  readonly what: string;
  /** Its Name: what it is, wherever it is loaded. */
  readonly name: Uint8Array;
  readonly source: SecretSource | undefined;
  readonly notify: OpenOptions['notify'];
  /** What a person may run to have it sent once more. */
  readonly retry: string;
}

/** There is one kind of login to a key. */
const LOGIN = 0;

/** The record of one key's refused authValues; or why there is none. */
export const recordOfKey = (name: Uint8Array): PinRecord | string =>
  pinRecordOf({ serial: Buffer.from(name).toString('hex'), label: '', model: 'TPM 2.0 key', manufacturer: '' });

/** The same of a storage key, whose Name is not known before it is reached. */
export const nameForParent = (handle: number, deviceName: string): Buffer =>
  Buffer.from(`${nameOfParent(handle)} in the ${deviceName}`);

/** What guards the authValue of a persistent storage key; nothing does those of hierarchies, which are not counted. */
export function guardOfParent(
  parent: number | undefined,
  deviceName: string,
  source: SecretSource | undefined,
  { notify }: OpenOptions,
  retry: string,
): Guarded | undefined {
  if (parent === undefined || kindOfHandle(parent) !== HT.PERSISTENT || source === undefined) return undefined;
  return { what: nameOfParent(parent), name: nameForParent(parent, deviceName), source, notify, retry };
}

/**
 * Send an authValue that lies somewhere, unless it was refused before: to this process or another of this user.
 *
 * @param send the TPM's refusal; undefined when it took it
 * @returns as `send`
 * @throws {SecretError} `ERR_SECRET_WRONG` when it was refused before, or nobody can tell
 */
export async function sendOnce<R extends Error>(
  guarded: Guarded,
  secret: Secret,
  send: () => Promise<R | undefined>,
  signal: AbortSignal,
): Promise<R | undefined> {
  const record = recordOfKey(guarded.name);
  if (typeof record === 'string') {
    tellUnremembered(guarded, record);
    return send();
  }
  const leave = await turnWhen(() => takeTurn(record, guarded), signal);
  try {
    const kept = record.read();
    if (kept === 'damaged') throw unreadable(guarded, record);
    const isThis = ({ hash }: Refusal): boolean => kept !== undefined && hash === hashPin(kept.key, LOGIN, secret);
    const refused = kept?.refused.find(isThis);
    if (refused) throw refusedBefore(guarded, refused);
    const answer = await send();
    if (!answer) return undefined;
    const key = kept?.key ?? randomBytes(32);
    const refusal: Refusal = {
      hash: hashPin(key, LOGIN, secret),
      flags: 0,
      locked: false,
      time: new Date().toISOString(),
      from: refusedOriginOf(guarded.source),
    };
    try {
      record.write({ key, refused: [...(kept?.refused ?? []), refusal] });
    } catch (error) {
      tellUnremembered(guarded, messageOf(error));
    }
    return answer;
  } finally {
    leave();
  }
}

/**
 * `sendOnce` for work that throws what a refusal becomes.
 *
 * @returns what `work` does
 * @throws {SecretError} `ERR_SECRET_WRONG`; what `work` throws
 */
export async function guarded<T>(
  what: Guarded,
  secret: Secret,
  work: () => Promise<T>,
  signal: AbortSignal,
): Promise<T> {
  const done: T[] = [];
  const refused = await sendOnce(
    what,
    secret,
    async () => {
      try {
        done.push(await work());
        return undefined;
      } catch (error) {
        if (isCounted(error)) return error;
        throw error;
      }
    },
    signal,
  );
  if (refused) throw refused;
  return done[0] as T;
}

/** The TPM has refused an authValue, and counted that: what it does not count is TPM_RC_BAD_AUTH (Part 2 §6.6.3). */
const isCounted = (error: unknown): error is SecretError =>
  error instanceof SecretError && error.code === 'ERR_SECRET_WRONG' && isResponse(error.cause, RC.AUTH_FAIL);

function takeTurn(record: PinRecord, guarded: Guarded): (() => void) | undefined {
  try {
    return record.takeTurn();
  } catch (error) {
    throw unreadable(guarded, record, error);
  }
}

const tellUnremembered = ({ what, notify }: Guarded, why: string): void =>
  notify?.({
    kind: 'warning',
    message: `an authValue that the ${what} refuses is not remembered, and is sent again: ${why}`,
    hint: 'make sure that it is right: the TPM locks after some wrong ones',
  });

function refusedBefore({ what, retry }: Guarded, { from, time }: Refusal): SecretError {
  return new SecretError(
    'ERR_SECRET_WRONG',
    `the ${what} has refused this authValue before; it was not sent again (${originInWords(from)}, ${time})`,
    { hint: `give the right one; if this one is right by now: ${retry}` },
  );
}

const unreadable = ({ what, retry }: Guarded, { path }: PinRecord, cause?: unknown): SecretError =>
  new SecretError(
    'ERR_SECRET_WRONG',
    `the record of what the ${what} refused, ${path}, is damaged${cause === undefined ? '' : ` (${systemCodeOf(cause) ?? messageOf(cause)})`}`,
    { hint: `nothing was tried; make sure that the authValue is right, then: ${retry}`, cause },
  );
