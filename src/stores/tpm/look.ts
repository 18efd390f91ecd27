import { HoldfastError, messageOf } from '../../errors.ts';
import { within } from '../../limits.ts';
import { originInWords, type PinRecord } from '../../pin-record.ts';
import { turnWhen } from '../../turn.ts';
import type { OpenOptions, RetriedPins } from '../store.ts';
import type { Address } from './address.ts';
import type { TpmObject } from './commands.ts';
import type { Tpm } from './execute.ts';
import { recordOfKey } from './guard.ts';
import { visit } from './hold.ts';
import { keyObjectOf, nameOfArea, type PublicArea } from './public-area.ts';
import { NO_AUTH, persistent } from './storage.ts';
import { targetOf } from './target.ts';

/** What can be known of a key without using it. */
interface Seen {
  readonly name: string;
  readonly area: PublicArea;
}

async function see(address: Address, signal: AbortSignal): Promise<Seen> {
  const { file, handle, name } = await targetOf(address, () => NO_AUTH, signal);
  if (file) return { name, area: file.area };
  const look = (tpm: Tpm): Promise<TpmObject> => persistent(tpm, handle as number, `there is no ${name}`);
  const { area } = await visit(address.device, look, signal);
  return { name, area };
}

/** `readPublic` of this store. */
export async function publicKeyAt(address: Address, options: OpenOptions): Promise<Uint8Array> {
  return within(options, 'reading the public key', async (signal) => {
    const { area } = await see(address, signal);
    return keyObjectOf(area).export({ type: 'spki', format: 'der' });
  });
}

/** `retryPin` of this store. */
export async function forgetRefusals(address: Address, options: OpenOptions): Promise<RetriedPins> {
  return within(options, 'forgetting what was refused', async (signal) => {
    const { area, name } = await see(address, signal);
    const record = recordOfKey(nameOfArea(area));
    if (typeof record === 'string') return { token: name, forgotten: [], nowhere: record };
    // What is under way may be refused yet, and write that down.
    const leave = await turnWhen(() => mendedTurn(record), signal);
    try {
      const kept = record.read();
      record.forget();
      const refused = typeof kept === 'object' ? kept.refused : [];
      const forgotten = refused.map(({ from, time }) => `${originInWords(from)}, ${time}`);
      return { token: name, forgotten: kept === 'damaged' ? ['the record was damaged'] : forgotten };
    } finally {
      leave();
    }
  });
}

/** What keeps anybody from a turn goes away with the rest. */
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
