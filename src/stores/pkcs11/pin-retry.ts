import { forgetRecord } from '../../forget-record.ts';
import { within } from '../../limits.ts';
import { pinRecordOf } from '../../pin-record.ts';
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
      const forgotten = await forgetRecord(record, signal);
      memory.refused = [];
      return { token: name, forgotten };
    } finally {
      connection.close();
    }
  });
}
