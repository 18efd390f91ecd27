import type { Duplex } from 'node:stream';
import { orAborted } from '../../src/limits.ts';
import { connectionOver } from '../../src/stores/tpm/socket.ts';
import type { Device } from '../../src/stores/tpm/transport.ts';

/** A TPM on a descriptor that stays open: one connection, lent to one after the other. */
export function inheritedDevice(stream: Duplex): Device {
  const name = 'TPM on an inherited descriptor';
  const whole = connectionOver(stream, name);
  let tail: Promise<void> = Promise.resolve();
  return {
    name,
    managed: false,
    async connect(signal) {
      const turn = tail;
      let free = (): void => {};
      tail = new Promise((resolve) => {
        free = resolve;
      });
      try {
        await orAborted(turn, signal);
      } catch (error) {
        void turn.then(free);
        throw error;
      }
      return { send: (command) => whole.send(command), close: free };
    },
  };
}
