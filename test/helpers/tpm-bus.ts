import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import type { TestTpm } from './swtpm.ts';

/** Somebody on the bus of a TPM on a Unix socket. */
export interface Bus {
  /** The query of a key URI that goes by way of it. */
  readonly query: string;
  close(): Promise<void>;
}

/** @param change an answer, in place, of the command with this code */
export async function listenBetween(tpm: TestTpm, change: (code: number, answer: Buffer) => void): Promise<Bus> {
  const path = join(tpm.dir, 'bus');
  const server = createServer((client) => {
    const chip = connect(join(tpm.dir, 's'));
    let code = 0;
    client.on('data', (command: Buffer) => {
      code = command.readUInt32BE(6);
      chip.write(command);
    });
    chip.on('data', (answer: Buffer) => {
      change(code, answer);
      client.write(answer);
    });
    for (const [one, other] of [
      [client, chip],
      [chip, client],
    ] as const) {
      one.on('close', () => other.destroy());
      one.on('error', () => other.destroy());
    }
  });
  await once(server.listen(path), 'listening');
  return {
    query: `device=${path}`,
    async close() {
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
