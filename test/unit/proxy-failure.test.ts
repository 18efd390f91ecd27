import { getEventListeners } from 'node:events';
import type { RequestListener } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { describe, expect, test } from '@jest/globals';
import type { Timeouts } from '../../src/http.ts';
import { connectProxy, type TestProxy } from '../helpers/proxies.ts';
import { errorOf, HOST, named, only, PASSWORD, post, serve, service, up } from '../helpers/proxy-world.ts';
import { rawServer, unusedPort } from '../helpers/servers.ts';

describe('a proxy that is none', () => {
  test('nothing listens', async () => {
    const port = await unusedPort();
    expect(await errorOf(`http://me:${encodeURIComponent(PASSWORD)}@127.0.0.1:${port}`)).toMatchObject({
      code: 'ERR_SERVICE_UNREACHABLE',
      message: `${named({ port })} was not reached (ECONNREFUSED)`,
      hint: 'check HTTPS_PROXY, or go without a proxy: NO_PROXY, --proxy off',
    });
  });

  test.each<[what: string, does: (socket: Socket) => void, message: RegExp]>([
    ['ends at once', (socket) => socket.end(), /ended the connection, or speaks no HTTP$/],
    ['ends when asked', (socket) => socket.once('data', () => socket.end()), /ended the connection, or/],
    ['ends inside its answer', (socket) => socket.end('HTTP/1.1 200 OK\r\nx: y'), /ended the connection, or/],
    ['resets', (socket) => socket.once('data', () => socket.resetAndDestroy()), /was not reached \(ECONNRESET\)$/],
    ['is an SSH server', (socket) => socket.write('SSH-2.0-x\r\n\r\n'), /ended the connection, or speaks no HTTP$/],
    ['has bad headers', (socket) => socket.write('HTTP/1.1 200 OK\r\nno header\r\n\r\n'), /speaks no HTTP$/],
    ['says nothing in two lines', (socket) => socket.write('\r\n\r\n'), /speaks no HTTP$/],
    ['has no status', (socket) => socket.write('HTTP/1.1 fine\r\n\r\n'), /speaks no HTTP$/],
    ['has a strange status', (socket) => socket.write('HTTP/1.1 7\r\n\r\n'), /speaks no HTTP$/],
  ])('%s', async (_what, does, message) => {
    const proxy = await up(rawServer(does));
    expect(await errorOf(`http://127.0.0.1:${proxy.port}`)).toMatchObject({
      code: 'ERR_SERVICE_UNREACHABLE',
      message: expect.stringMatching(message),
    });
    expect(await errorOf(`http://127.0.0.1:${proxy.port}`)).toMatchObject({
      message: expect.stringContaining(named(proxy)),
    });
  });

  test('speaks TLS where it should not, and the other way round', async () => {
    const plain = await up(connectProxy({}));
    expect(await errorOf(plain.at().replace('http:', 'https:'))).toMatchObject({
      code: 'ERR_SERVICE_UNREACHABLE',
      message: expect.stringContaining(named(plain)),
      hint: expect.stringMatching(/TLS handshake failed: most proxies are http:/),
    });
    const secure = await up(connectProxy({ identity: service }));
    expect(await errorOf(secure.at().replace('https:', 'http:'))).toMatchObject({ code: 'ERR_SERVICE_UNREACHABLE' });
  });

  test('says 200 and then no TLS', async () => {
    const proxy = await up(
      connectProxy({ answer: (socket) => void socket.write('HTTP/1.1 200 OK\r\n\r\nwelcome to the proxy\r\n') }),
    );
    const late = await up(
      connectProxy({
        answer: (socket) => {
          socket.write('HTTP/1.1 200 OK\r\n\r\n');
          socket.once('data', () => socket.write('HTTP/1.1 400 This is no TLS\r\n\r\n'));
        },
      }),
    );
    expect(await errorOf(late.at())).toMatchObject({
      code: 'ERR_SERVICE_UNREACHABLE',
      message: expect.stringContaining(`${HOST} through ${named(late)}`),
      hint: expect.stringContaining('TLS handshake failed'),
    });
    // What comes together with the 200 is lost, and nothing follows.
    expect(await errorOf(proxy.at(), only({ connect: 100 }))).toMatchObject({ code: 'ERR_SERVICE_TIMEOUT' });
  });
});

describe('deadlines', () => {
  const stall = (): void => undefined;
  const drip = (socket: Duplex): void => {
    const timer = setInterval(() => socket.write('x: y\r\n'), 5);
    socket.on('close', () => clearInterval(timer));
  };

  test.each<[what: string, make: () => Promise<string>]>([
    ['takes no notice of CONNECT', async () => (await up(connectProxy({ answer: stall }))).at()],
    ['answers CONNECT without an end', async () => (await up(connectProxy({ answer: drip }))).at()],
    ['makes no TLS handshake', async () => `https://127.0.0.1:${(await up(rawServer(stall))).port}`],
    [
      'connects to somebody who makes no TLS handshake',
      async () => (await up(connectProxy({ to: (await up(rawServer(stall))).port }))).at(),
    ],
  ])('a proxy that %s', async (_what, make) => {
    const proxy = await make();
    expect(await errorOf(proxy, only({ connect: 100 }))).toMatchObject({
      code: 'ERR_SERVICE_TIMEOUT',
      message: `no connection to ${HOST} through the proxy ${new URL(proxy).host} (from HTTPS_PROXY) in time`,
    });
  });

  test.each<[missing: string, short: Partial<Timeouts>, listener: RequestListener]>([
    ['no answer from', { headers: 150 }, stall],
    ['no complete answer from', { total: 200 }, (_request, response) => void response.writeHead(201).write('{')],
  ])('%s the endpoint behind it', async (missing, short, listener) => {
    const proxy = await up(connectProxy({ to: await serve(listener) }));
    expect(await errorOf(proxy.at(), only(short))).toMatchObject({
      code: 'ERR_SERVICE_TIMEOUT',
      message: `${missing} ${HOST} through ${named(proxy)} in time`,
    });
  });

  test.each<[when: string, make: (abort: () => void) => Promise<TestProxy>]>([
    ['the proxy is asked', (abort) => up(connectProxy({ answer: abort }))],
    ['the endpoint is asked', async (abort) => up(connectProxy({ to: await serve(abort) }))],
    [
      'the answer comes',
      async (abort) =>
        up(
          connectProxy({
            to: await serve((_request, response) => {
              response.writeHead(201).write('{');
              setImmediate(abort);
            }),
          }),
        ),
    ],
  ])('an abort while %s', async (_when, make) => {
    const abort = new AbortController();
    const proxy = await make(() => abort.abort());
    expect(await errorOf(proxy.at(), { signal: abort.signal })).toMatchObject({ code: 'ERR_INTERRUPTED' });
  });

  test('an abort beforehand', async () => {
    const proxy = await up(connectProxy({ to: await serve() }));
    expect(await errorOf(proxy.at(), { signal: AbortSignal.abort() })).toMatchObject({ code: 'ERR_INTERRUPTED' });
    expect(proxy.asked).toEqual([]);
  });
});

describe('afterwards', () => {
  /** The connections to a server that are still there, once there was one. */
  const watched = async (does: (socket: Socket) => void): Promise<{ port: number; ended: Promise<unknown> }> => {
    let end: (value: unknown) => void = () => undefined;
    const ended = new Promise((resolve) => (end = resolve));
    const { port } = await up(
      rawServer((socket) => {
        socket.on('close', end);
        does(socket);
        socket.resume();
      }),
    );
    return { port, ended };
  };

  test.each<[what: string, scheme: string, does: (socket: Socket) => void]>([
    ['CONNECT is not answered', 'http', () => undefined],
    ['there is no TLS handshake', 'https', () => undefined],
    ['CONNECT is refused', 'http', (socket) => socket.write('HTTP/1.1 403 No\r\n\r\n')],
    ['CONNECT is answered with nonsense', 'http', (socket) => socket.write('nonsense\r\n\r\n')],
  ])('no connection to the proxy stays when %s', async (_what, scheme, does) => {
    const { port, ended } = await watched(does);
    await errorOf(`${scheme}://127.0.0.1:${port}`, only({ connect: 100 }));
    await ended;
  });

  test('nor when the request is aborted', async () => {
    const abort = new AbortController();
    const { port, ended } = await watched((socket) => socket.once('data', () => abort.abort()));
    await errorOf(`http://127.0.0.1:${port}`, { signal: abort.signal });
    await ended;
  });

  test('a signal that served many requests has no listener of theirs', async () => {
    const { signal } = new AbortController();
    const dead = `http://127.0.0.1:${await unusedPort()}`;
    const proxy = await up(connectProxy({ to: await serve() }));
    for (let round = 0; round < 5; round += 1) {
      await errorOf(dead, { signal });
      await post(proxy.at(), { signal });
    }
    const left = (): number => getEventListeners(signal, 'abort').length;
    // Sockets take a few turns of the event loop to close.
    for (let turn = 0; turn < 1000 && left() > 0; turn += 1) await new Promise(setImmediate);
    expect(left()).toBe(0);
  });
});
