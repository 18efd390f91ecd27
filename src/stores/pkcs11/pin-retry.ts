import { within } from '../../limits.ts';
import type { OpenOptions, RetriedPins } from '../store.ts';
import type { Address } from './address.ts';
import { turnWhen } from './pin-guard.ts';
import { originInWords, pinRecordOf } from './pin-record.ts';
import { connect, tokenInWords } from './token.ts';

/** `retryPin` of this store. */
export async function forgetRefusals(address: Address, options: OpenOptions): Promise<RetriedPins> {
  return within(options, 'forgetting what was refused', async (signal) => {
    const connection = await connect(address);
    try {
      const { token, memory } = connection;
      const name = tokenInWords(token);
      const record = pinRecordOf(token);
      if (typeof record === 'string') {
        memory.refused = [];
        return { token: name, forgotten: [], nowhere: record };
      }
      // A login that is under way may be refused yet, and write that down.
      const leave = await turnWhen(() => record.takeTurn(), signal);
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
