import { HoldfastError, messageOf } from './errors.ts';
import { originInWords, type PinRecord } from './pin-record.ts';
import { turnWhen } from './turn.ts';

/**
 * Forget which secrets a token refused, so that they are sent once more. Waits for whoever has the turn: what is under way
 * may be refused yet, and write that down.
 *
 * @returns a line for each that was remembered: where it lay, and when it was refused
 * @throws {HoldfastError} `ERR_FILE_UNWRITABLE`; the reason of the signal
 */
export async function forgetRecord(record: PinRecord, signal: AbortSignal): Promise<readonly string[]> {
  const leave = await turnWhen(() => mendedTurn(record), signal);
  try {
    const kept = record.read();
    record.forget();
    if (kept === 'damaged') return ['the record was damaged'];
    return (kept?.refused ?? []).map(({ from, time }) => `${originInWords(from)}, ${time}`);
  } finally {
    leave();
  }
}

/** What keeps anybody from a turn, and so every stored secret from the token, goes away with the rest. */
function mendedTurn(record: PinRecord): (() => void) | undefined {
  try {
    return record.takeTurn();
  } catch {
    try {
      record.clear();
      return record.takeTurn();
    } catch (cause) {
      throw new HoldfastError('ERR_FILE_UNWRITABLE', `what was refused cannot be forgotten: ${messageOf(cause)}`, {
        hint: `remove ${record.path} yourself, and what begins with that name`,
        cause,
      });
    }
  }
}
