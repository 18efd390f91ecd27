import { turnWhen } from '../../turn.ts';
import { type KnownPin, knownPins, learn, memoryOf, type TokenPlace } from './known-pins.ts';
import type { ToParent } from './messages.ts';

/** The turns that one child process takes at a token: what becomes of a PIN concerns the other children, too. */
export interface Turns {
  hear(message: Extract<ToParent, { is: 'turn' | 'left' }>): void;
  /** The process is gone. */
  end(): void;
}

/** @param grant told what was refused so far */
export function turnsOf(grant: (refused: readonly KnownPin[]) => void): Turns {
  const gone = new AbortController();
  let leave: (() => void) | undefined;

  async function take(place: TokenPlace): Promise<void> {
    const memory = memoryOf(place);
    const enter = (): true | undefined => {
      if (memory.busy || leave) return undefined;
      memory.busy = true;
      leave = () => {
        leave = undefined;
        memory.busy = false;
      };
      grant(knownPins().refused);
      return true;
    };
    await turnWhen(enter, gone.signal).catch(() => {}); // nobody is there any more
  }

  return {
    hear(message) {
      if (message.learnt) learn(message.learnt);
      if (message.is === 'turn') void take(message.place);
      else leave?.();
    },
    end() {
      gone.abort();
      leave?.();
    },
  };
}
