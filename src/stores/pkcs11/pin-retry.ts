import { HoldfastError, messageOf } from '../../errors.ts';
import { within } from '../../limits.ts';
import { originInWords, type PinRecord, pinRecordOf } from '../../pin-record.ts';
import { turnWhen } from '../../turn.ts';
import type { OpenOptions, RetriedPins } from '../store.ts';
import type { Address } from './address.ts';
import { connect } from './connect.ts';
import { tokenInWords } from './token.ts';

/** `retryPin` of this store. */
export async function forgetRefusals(address: Address, options: OpenOptions): Promise<RetriedPins> {
  return within(options, 'forgetting what was refused', async (signal) => {
    const connection = await connect(address, signal);
    try {
      const { token, memory } = connection;
      const name = tokenInWords(token);
      const record = pinRecordOf(token);
      if (typeof record === 'string') {
        memory.refused = [];
        return { token: name, forgotten: [], nowhere: record };
      }
      // A login that is under way may be refused yet, and write that down.
      const leave = await turnWhen(() => mendedTurn(record), signal);
      try {
        const kept = record.read();
        record.forget();
        memory.refused = [];
        const refused = typeof kept === 'object' ? kept.refused : [];
        const forgotten = refused.map(({ from, time }) => `${originInWords(from)}, ${time}`);
        return { token: name, forgotten: kept === 'damaged' ? ['the record was damaged'] : forgotten };
      } finally {
        leave();
      }
    } finally {
      connection.close();
    }
  });
}

/** What keeps anybody from a turn, and so every stored PIN from the token, goes away with the rest. */
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
