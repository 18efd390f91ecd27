import { randomBytes } from 'node:crypto';
import { messageOf, systemCodeOf } from '../../errors.ts';
import {
  hashPin,
  type PinRecord,
  pinRecordOf,
  type Refusal,
  type Refusals,
  refusedOriginOf,
} from '../../pin-record.ts';
import type { Secret, SecretSource } from '../../secret.ts';
import { turnWhen } from '../../turn.ts';
import type { OpenOptions } from '../store.ts';
import { registry } from './modules.ts';
import { isOver, pinFlagsOf, refusedBefore, unreadable } from './refusals.ts';
import { type Connection, nameOfToken } from './token.ts';

/** A PIN on its way to a token. */
export interface GuardedPin {
  readonly connection: Connection;
  readonly source: SecretSource | undefined;
  readonly options: OpenOptions;
  /** A stored PIN is guarded among all processes of the user, a person's within this one: a person asked for the try. */
  readonly stored: boolean;
}

/** The right to send one PIN once. */
export interface PinTurn {
  accepted(): void;
  /** @returns whether the other processes of this user learn of it */
  refused(locked: boolean): boolean;
  /** To be called in any case; others wait until then. */
  leave(): void;
}

/**
 * Wait until nobody else, in this process or another, is in the middle of a login to this token: what becomes of that
 * one's PIN may concern ours.
 *
 * @throws {SecretError} `ERR_SECRET_WRONG`, `ERR_SECRET_LOCKED` when this PIN is not to be sent again
 */
export async function turnOf(pin: GuardedPin, user: number, secret: Secret, signal: AbortSignal): Promise<PinTurn> {
  const leave = await registry().takeTurn?.(pin.connection.memory, signal);
  try {
    const turn = await turnWhen(guardOf(pin, user, secret), signal);
    return {
      ...turn,
      leave() {
        turn.leave();
        leave?.();
      },
    };
  } catch (error) {
    leave?.();
    throw error;
  }
}

/** @returns what takes the turn, and returns undefined while somebody else has it */
function guardOf(pin: GuardedPin, user: number, secret: Secret): () => PinTurn | undefined {
  const { connection, source, stored, options } = pin;
  const { memory, module } = connection;
  const hashes = new Map<string, string>();
  const isThis =
    (key: Uint8Array) =>
    ({ hash }: Refusal): boolean => {
      const id = Buffer.from(key).toString('hex');
      const own = hashes.get(id) ?? hashPin(key, user, secret);
      hashes.set(id, own);
      return hash === own;
    };
  const isKnown = isThis(module.salt);

  function check(record: PinRecord | undefined): void {
    const kept = record?.read();
    if (record && kept === 'damaged' && stored) throw unreadable(connection, record);
    const recorded = typeof kept === 'object' ? kept.refused.find(isThis(kept.key)) : undefined;
    if (stored && recorded && !isOver(recorded, connection)) throw refusedBefore(connection, recorded, true);
    const remembered = memory.refused.find(isKnown);
    if (!remembered) return;
    if (record && remembered.place === record.place && !recorded) {
      // It was in that record, and somebody ended that.
      memory.refused = memory.refused.filter((one) => one !== remembered);
    } else if (!isOver(remembered, connection)) {
      throw refusedBefore(connection, recorded ?? remembered, recorded !== undefined);
    }
  }

  /** The token let somebody in: it is not locked any more, and this PIN is right. What else it refused stays refused. */
  function accepted(record: PinRecord | undefined): void {
    const staying = (refused: readonly Refusal[], key: Uint8Array): Refusal[] =>
      refused.filter((one) => !one.locked && !isThis(key)(one));
    memory.refused = staying(memory.refused, module.salt);
    const kept = record?.read();
    if (!record || typeof kept !== 'object') return;
    const refused = staying(kept.refused, kept.key);
    if (refused.length < kept.refused.length) record.write({ ...kept, refused });
  }

  function refused(record: PinRecord | string, locked: boolean): boolean {
    const flags = pinFlagsOf(connection) ?? 0;
    const from = refusedOriginOf(source);
    const under = (key: Uint8Array): Refusal => ({
      hash: hashPin(key, user, secret),
      flags,
      locked,
      time: new Date().toISOString(),
      from,
    });
    const place = stored ? write(record, under) : undefined;
    const others = memory.refused.filter((one) => !isKnown(one));
    memory.refused = [...others, { ...under(module.salt), place }];
    return place !== undefined;
  }

  /** @returns where it was written, if it was */
  function write(record: PinRecord | string, under: (key: Uint8Array) => Refusal): string | undefined {
    let why = typeof record === 'string' ? record : '';
    try {
      if (typeof record === 'object') {
        const kept = record.read();
        const { key, refused: before }: Refusals =
          typeof kept === 'object' ? kept : { key: randomBytes(32), refused: [] };
        record.write({ key, refused: [...before.filter((one) => !isThis(key)(one)), under(key)] });
        return record.place;
      }
    } catch (error) {
      why = messageOf(error);
    }
    options.notify?.({
      kind: 'warning',
      message: `other processes do not learn that ${nameOfToken(connection.token)} refused this PIN: ${why}`,
      hint: 'give the right PIN before they send this one too',
    });
    return undefined;
  }

  return () => {
    let record = pinRecordOf(connection.token);
    let unlock: (() => void) | undefined;
    try {
      if (typeof record === 'object' && !memory.busy) unlock = record.takeTurn();
    } catch (error) {
      if (typeof record === 'object' && stored && !isGoneOrFull(error)) throw unreadable(connection, record, error);
      record = messageOf(error);
    }
    const file = typeof record === 'object' ? record : undefined;
    try {
      check(file);
    } catch (error) {
      unlock?.();
      throw error;
    }
    // Without a directory there is nobody but this process to wait for.
    if (memory.busy || (file && !unlock)) return undefined;
    memory.busy = true;
    let left = false;
    return {
      accepted: () => quietly(() => accepted(file)),
      refused: (locked) => refused(record, locked),
      leave() {
        if (left) return;
        left = true;
        memory.busy = false;
        quietly(() => unlock?.());
      },
    };
  };
}

/** The directory went with the last log-out, or no file has room. Whatever else is wrong was put there by somebody. */
const isGoneOrFull = (error: unknown): boolean => ['ENOENT', 'ENOSPC', 'EDQUOT'].includes(systemCodeOf(error) ?? '');

/** What cannot be written after a login is no reason to fail: the login counts. */
function quietly(work: () => void): void {
  try {
    work();
  } catch {
    // A lock that stays is taken over once this process has ended; a record that stays can be ended by command.
  }
}
