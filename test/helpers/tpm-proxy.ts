import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

/** Somebody between us and a swtpm. */
export interface TpmProxy {
  /** The query of a key URI that goes through it. */
  readonly query: string;
  /** The codes of the commands that came through, in their order. */
  readonly codes: number[];
  /** What becomes of an answer; undefined withholds it. */
  answer: (answer: Buffer, code: number) => Buffer | undefined;
  close(): Promise<void>;
}

/**
 * @param swtpm the socket where it listens
 * @param path where the proxy listens
 */
export async function tpmProxy(swtpm: string, path: string): Promise<TpmProxy> {
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const tpm = connect(swtpm);
    let code = 0;
    for (const socket of [client, tpm]) {
      sockets.add(socket);
      socket.on('error', () => socket.destroy());
    }
    client.on('close', () => tpm.destroy());
    tpm.on('close', () => client.destroy());
    // Commands and answers are short: each comes in one piece.
    client.on('data', (bytes) => {
      const command = Buffer.from(bytes);
      code = command.readUInt32BE(6);
      proxy.codes.push(code);
      tpm.write(command);
    });
    tpm.on('data', (bytes) => {
      const answer = proxy.answer(Buffer.from(bytes), code);
      if (answer) client.write(answer);
    });
  }).listen(path);
  await once(server, 'listening');
  const proxy: TpmProxy = {
    query: `device=${path}`,
    codes: [],
    answer: (answer) => answer,
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return proxy;
}
