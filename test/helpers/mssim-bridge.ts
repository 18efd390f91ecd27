import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

/** A swtpm that speaks as the reference simulator does: data port, and the platform port one higher. */
export interface Bridge {
  readonly port: number;
  /** What came on the platform port: the codes, in their order. */
  readonly signals: readonly number[];
  /** How often a client said that it hangs up. */
  readonly farewells: () => number;
  close(): Promise<void>;
}

const SEND_COMMAND = 8;
const SESSION_END = 20;

export async function mssimBridge(swtpm: string): Promise<Bridge> {
  const signals: number[] = [];
  let farewells = 0;
  const sockets = new Set<Socket>();
  const serve = (take: (socket: Socket) => void): Server =>
    createServer((socket) => {
      sockets.add(socket);
      socket.on('close', () => sockets.delete(socket));
      socket.on('error', () => socket.destroy());
      take(socket);
    });
  const data = serve((socket) => {
    bridge(socket, swtpm, () => {
      farewells += 1;
    });
  });
  const platform = serve((socket) => {
    socket.on('data', (bytes) => {
      const received = Buffer.from(bytes);
      for (let at = 0; at + 4 <= received.length; at += 4) {
        const signal = received.readUInt32BE(at);
        signals.push(signal);
        if (signal === SESSION_END) socket.end();
        else socket.write(Buffer.alloc(4));
      }
    });
  });
  // Two ports side by side: try until both are free.
  for (;;) {
    data.listen(0, '127.0.0.1');
    await once(data, 'listening');
    const { port } = data.address() as { port: number };
    try {
      platform.listen(port + 1, '127.0.0.1');
      await once(platform, 'listening');
      const close = async (): Promise<void> => {
        for (const socket of sockets) socket.destroy();
        await Promise.all([data, platform].map((server) => new Promise((resolve) => server.close(resolve))));
      };
      return { port, signals, farewells: () => farewells, close };
    } catch {
      await new Promise((resolve) => data.close(resolve));
    }
  }
}

function bridge(client: Socket, swtpm: string, farewell: () => void): void {
  const tpm = connect(swtpm);
  tpm.on('error', () => client.destroy());
  tpm.on('close', () => client.destroy());
  client.on('close', () => tpm.destroy());
  let received = Buffer.alloc(0);
  client.on('data', (bytes) => {
    received = Buffer.concat([received, Buffer.from(bytes)]);
    for (;;) {
      if (received.length >= 4 && received.readUInt32BE(0) === SESSION_END) {
        farewell();
        tpm.end();
        client.end();
        return;
      }
      if (received.length < 9) return;
      if (received.readUInt32BE(0) !== SEND_COMMAND) {
        client.destroy();
        return;
      }
      const size = received.readUInt32BE(5);
      if (received.length < 9 + size) return;
      tpm.write(received.subarray(9, 9 + size));
      received = received.subarray(9 + size);
    }
  });
  let answer = Buffer.alloc(0);
  tpm.on('data', (bytes) => {
    answer = Buffer.concat([answer, Buffer.from(bytes)]);
    if (answer.length < 6 || answer.length < answer.readUInt32BE(2)) return;
    const size = Buffer.alloc(4);
    size.writeUInt32BE(answer.length);
    client.write(Buffer.concat([size, answer, Buffer.alloc(4)]));
    answer = Buffer.alloc(0);
  });
}
