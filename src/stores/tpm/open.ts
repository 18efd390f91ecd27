import { HoldfastError } from '../../errors.ts';
import { orAborted, within } from '../../limits.ts';
import { askSecret, checkSecretSource, type Secret } from '../../secret.ts';
import type { OpenKey, OpenOptions } from '../store.ts';
import type { Address } from './address.ts';
import { carefulUse } from './careful.ts';
import type { Tpm } from './execute.ts';
import { guarded, guardOfParent } from './guard.ts';
import { type Hold, holdOn } from './hold.ts';
import { tpmKey } from './key.ts';
import { type Loaded, loadKey, type Target } from './load-key.ts';
import { retryCommand } from './retry.ts';
import { checkSigns } from './signature.ts';
import { NO_AUTH } from './storage.ts';
import { targetOf } from './target.ts';
import { type Lock, unlock } from './unlock.ts';

/** Open the key at an address: find it, see that it signs, have its authValue, hand it back. */
export async function openAt(address: Address, options: OpenOptions): Promise<OpenKey> {
  checkSecretSource(options.secret);
  const { device } = address;
  return within(options, `opening the key in the ${device.name}`, async (signal) => {
    let parentSecret: Secret | undefined;
    const target = await targetOf(address, () => parentSecret?.bytes ?? NO_AUTH, signal);
    if (target.file) checkSigns(target.file.area, target.name);
    if (address.parentSecret) {
      const of = `the storage key of the ${target.name}`;
      const asking = askSecret(address.parentSecret, { kind: 'PIN', of, purpose: options.purpose });
      parentSecret = await orAborted(asking, signal);
    }
    const hold: Hold<Loaded> = holdOn(device, sameKey(target), {
      cleared: () =>
        options.notify?.({
          kind: 'warning',
          message: `the ${device.name} was full: what other programs had left loaded was flushed`,
          hint: 'use /dev/tpmrm0, or flush what tpm2-tools leave (tpm2_flushcontext -t -l)',
        }),
    });
    const close = async (): Promise<void> => {
      await hold.close();
      parentSecret?.wipe();
    };
    try {
      const retry = retryCommand(address.uri);
      const loaded = await firstLook(hold, target, { address, parentSecret, options, retry }, signal);
      const { area } = loaded.key;
      checkSigns(area, target.name);
      const lock: Lock = {
        hold,
        name: target.name,
        deviceName: device.name,
        source: options.secret ?? address.secret,
        emptyAuth: target.file?.emptyAuth,
        options,
        retry,
      };
      const secret = await unlock(lock, signal);
      const { signal: ended, deadline } = options;
      const found = {
        hold: { close },
        use: carefulUse(lock, secret, loaded),
        certificates: target.certificates,
        area,
        name: target.name,
        deviceName: device.name,
        secret,
      };
      return tpmKey(found, { signal: ended, deadline });
    } catch (error) {
      const closing = close();
      // Somebody who does not want to wait any more does not wait for this either.
      if (!signal.aborted) await closing;
      throw error;
    }
  });
}

/** A handle may have another key by the time that it is reached again: what was looked at first is the key. */
function sameKey(target: Target): (tpm: Tpm) => Promise<Loaded> {
  let first: Uint8Array | undefined;
  return async (tpm) => {
    const loaded = await loadKey(tpm, target);
    first ??= loaded.key.name;
    if (Buffer.compare(first, loaded.key.name) === 0) return loaded;
    throw new HoldfastError('ERR_KEY_NOT_FOUND', `the ${target.name} is another key by now: somebody replaced it`, {
      hint: 'open it again, if the new one is meant',
    });
  };
}

interface Way {
  readonly address: Address;
  readonly parentSecret: Secret | undefined;
  readonly options: OpenOptions;
  readonly retry: string;
}

/** The key, loaded for the first time. A stored authValue of its storage key that was refused before is not sent again. */
async function firstLook(
  hold: Hold<Loaded>,
  { file, deviceName }: Target,
  { address, parentSecret, options, retry }: Way,
  signal: AbortSignal,
): Promise<Loaded> {
  const look = (): Promise<Loaded> => hold.use(async (loaded) => loaded, signal);
  const what = guardOfParent(file?.parent, deviceName, address.parentSecret, options, retry);
  if (!parentSecret || !what) return look();
  return guarded(what, parentSecret, look, signal);
}
