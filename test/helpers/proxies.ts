import { createServer, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { createServer as createTlsFront } from 'node:tls';
import { toPem } from '../../src/pki.ts';
import { chooseProxy, type HttpProxy } from '../../src/proxy-choice.ts';
import type { TestIdentity } from './certificates.ts';
import { listen, type TestServer } from './servers.ts';

export interface TestProxy extends TestServer {
  /** Each CONNECT that came. */
  readonly asked: { readonly target: string | undefined; readonly headers: IncomingHttpHeaders }[];
  /** Its URL without a path, with user name and password if there are any. */
  at(user?: string, password?: string): string;
}

interface TestProxyOptions {
  /** Whatever host is asked for, this port of this machine is what answers. */
  to?: number;
  /** `Proxy-Authorization` that it insists on. */
  authorization?: string | undefined;
  /** An https proxy. */
  identity?: TestIdentity;
  /** Its name in `at`. Default: 127.0.0.1. */
  host?: string;
  /** Answers CONNECT instead. */
  answer?: (socket: Duplex) => void;
}

export const basic = (user: string, password: string): string =>
  `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;

/** A proxy that knows CONNECT and nothing else. */
export async function connectProxy(options: TestProxyOptions): Promise<TestProxy> {
  const { to = 0, authorization, identity, host = '127.0.0.1', answer } = options;
  const asked: TestProxy['asked'] = [];
  const server = identity
    ? createTlsServer({ key: identity.pem, cert: toPem([identity.certificate, identity.root]) })
    : createServer();
  server.on('tlsClientError', () => undefined);
  const onConnect = ({ url, headers }: IncomingMessage, socket: Duplex): void => {
    asked.push({ target: url, headers });
    socket.on('error', () => undefined);
    if (answer) {
      answer(socket);
      return;
    }
    if (authorization !== undefined && headers['proxy-authorization'] !== authorization) {
      socket.end('HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm="here"\r\n\r\n');
      return;
    }
    const upstream = connect(to, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      socket.pipe(upstream).pipe(socket);
    });
    upstream.on('error', () => socket.destroy());
    socket.on('close', () => upstream.destroy());
  };
  server.on('connect', onConnect);
  const protocol = identity ? 'https' : 'http';
  const running = await listen(server, protocol);
  return {
    ...running,
    asked,
    at: (user, password) => {
      const credentials =
        user === undefined ? '' : `${encodeURIComponent(user)}:${encodeURIComponent(password ?? '')}@`;
      return `${protocol}://${credentials}${host}:${running.port}`;
    },
  };
}

/** TLS, under any name, in front of a server of this machine that speaks none. */
export function tlsFront({ pem, certificate, root }: TestIdentity, to: number): Promise<TestServer> {
  const server = createTlsFront({ key: pem, cert: toPem([certificate, root]) }, (socket) => {
    const upstream = connect(to, '127.0.0.1', () => socket.pipe(upstream).pipe(socket));
    upstream.on('error', () => socket.destroy());
    socket.on('error', () => upstream.destroy());
  });
  server.on('tlsClientError', () => undefined);
  return listen(server, 'https');
}

/** As if HTTPS_PROXY named it. */
export const proxyFrom = (url: string): HttpProxy =>
  chooseProxy(new URL('https://rolesanywhere.example/'), undefined, { HTTPS_PROXY: url }) as HttpProxy;
