import { createServer as createHttpServer, type RequestListener } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { type AddressInfo, createServer as createRawServer, type Server, type Socket } from 'node:net';
import { toPem } from '../../src/pki.ts';
import type { TestIdentity } from './certificates.ts';

/** A server on this machine, at a port of its own. */
export interface TestServer {
  readonly url: URL;
  readonly port: number;
  /** Ends every connection too. */
  close(): Promise<void>;
}

export async function listen(server: Server, protocol: 'http' | 'https'): Promise<TestServer> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: new URL(`${protocol}://127.0.0.1:${port}/sessions`),
    port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

export const httpServer = (listener: RequestListener): Promise<TestServer> =>
  listen(createHttpServer(listener), 'http');

export const httpsServer = (identity: TestIdentity, listener: RequestListener): Promise<TestServer> => {
  const cert = toPem([identity.certificate, ...identity.intermediates, identity.root]);
  const server = createHttpsServer({ key: identity.pem, cert }, listener);
  server.on('tlsClientError', () => undefined);
  return listen(server, 'https');
};

/** Does with each connection what the test wants; it need not speak HTTP. */
export const rawServer = (
  onConnection: (socket: Socket) => void,
  protocol: 'http' | 'https' = 'http',
): Promise<TestServer> => listen(createRawServer(onConnection), protocol);

/** A port where nothing listens. */
export async function unusedPort(): Promise<number> {
  const server = await rawServer(() => undefined);
  await server.close();
  return server.port;
}
