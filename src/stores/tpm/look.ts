import { forgetRecord } from '../../forget-record.ts';
import { within } from '../../limits.ts';
import type { OpenOptions, RetriedPins } from '../store.ts';
import type { Address } from './address.ts';
import type { TpmObject } from './commands.ts';
import { nameOfParent } from './constants.ts';
import type { Tpm } from './execute.ts';
import { nameForParent, recordOfKey } from './guard.ts';
import { visit } from './hold.ts';
import { keyObjectOf, nameOfArea, type PublicArea } from './public-area.ts';
import { NO_AUTH, persistent } from './storage.ts';
import { targetOf } from './target.ts';

/** What can be known of a key without using it. */
interface Seen {
  readonly name: string;
  readonly area: PublicArea;
  /** Of a key file. */
  readonly parent?: number;
}

/** Names that refusals are remembered by. Only a storage key is known before a key is made below it. */
async function remembered(address: Address, signal: AbortSignal): Promise<{ token: string; names: Uint8Array[] }> {
  const ofParent = (handle: number): Uint8Array => nameForParent(handle, address.device.name);
  if (address.parent !== undefined) {
    return { token: nameOfParent(address.parent), names: [ofParent(address.parent)] };
  }
  const { area, name, parent } = await see(address, signal);
  return { token: name, names: [nameOfArea(area), ...(parent === undefined ? [] : [ofParent(parent)])] };
}

async function see(address: Address, signal: AbortSignal): Promise<Seen> {
  const { file, handle, name } = await targetOf(address, () => NO_AUTH, signal);
  if (file) return { name, area: file.area, parent: file.parent };
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
    const { token, names } = await remembered(address, signal);
    const forgotten: string[] = [];
    for (const one of names) {
      const record = recordOfKey(one);
      if (typeof record === 'string') return { token, forgotten: [], nowhere: record };
      forgotten.push(...(await forgetRecord(record, signal)));
    }
    return { token, forgotten };
  });
}
