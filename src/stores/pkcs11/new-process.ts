import { HoldfastError } from '../../errors.ts';
import type { Box } from './box.ts';
import { type Ladder, makeLadder } from './ladder.ts';
import type { SentKey } from './messages.ts';
import { sameBytes } from './objects.ts';
import { Retired } from './pool.ts';
import { isWorthNewProcess } from './recover.ts';

/** A key that a child process holds. */
export interface Boxed {
  readonly box: Box;
  readonly opened: SentKey;
  isRetired(): boolean;
  retire(): Promise<void>;
}

/**
 * How a key is had again that its process could not have again: it is opened in a new one. That is all that helps where a
 * module crashed, or hung and was ended.
 *
 * @param reopen in a new process
 */
export function recoveryIn(first: Boxed, reopen: (signal: AbortSignal) => Promise<Boxed>): Ladder<Boxed> {
  const { publicKey, description, attended } = first.opened;
  return makeLadder(first, {
    rungs: [
      {
        name: 'a new process',
        async climb(signal) {
          const fresh = await reopen(signal);
          const { opened } = fresh;
          if (publicKey ? sameBytes(opened.publicKey, publicKey) : opened.description === description) return fresh;
          void fresh.retire();
          throw new HoldfastError('ERR_KEY_NOT_FOUND', `${description} is gone: another key has its name now`, {
            hint: 'open that one, with a certificate of its own, or put the key back',
          });
        },
      },
    ],
    isLost: (thrown) => thrown instanceof Retired || isWorthNewProcess(thrown),
    attended,
    description,
  });
}
