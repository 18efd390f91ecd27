import type { RequestListener } from 'node:http';
import type { Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { inspect } from 'node:util';
import { afterEach, describe, expect, test } from '@jest/globals';
import { type HttpAnswer, type SendOptions, send, type Timeouts } from '../../src/http.ts';
import { toPem } from '../../src/pki.ts';
import { makeIdentity } from '../helpers/certificates.ts';
import { httpServer, httpsServer, rawServer, type TestServer, unusedPort } from '../helpers/servers.ts';

const open: { close(): Promise<void> }[] = [];
const up = async (server: Promise<TestServer>): Promise<URL> => {
  open.push(await server);
  return (await server).url;
};
afterEach(async () => {
  for (const server of open.splice(0)) await server.close();
});

const post = (url: URL, options: SendOptions = {}): Promise<HttpAnswer> =>
  send({ url, headers: { 'content-type': 'application/json', host: url.host }, body: '{"é":1}' }, options);
/** All the time in the world, but for one. */
const only = (short: Partial<Timeouts>): SendOptions => ({
  timeouts: { connect: 60_000, headers: 60_000, total: 60_000, ...short },
});
const silent: RequestListener = () => undefined;
/** What a connection may leave behind; jest's own pipes are not ours. */
const resources = (): string[] => process.getActiveResourcesInfo().filter((name) => /TCP|TLS|Timeout/.test(name));

describe('an answer', () => {
  test('arrives with status, headers and body, and the request did as given', async () => {
    let seen: unknown;
    const url = await up(
      httpServer((request, response) => {
        void text(request).then((body) => {
          seen = [request.method, request.url, request.headers, body];
          response.writeHead(201, { 'X-Amzn-RequestId': 'r-1', 'Content-Type': 'application/json' });
          response.end('{"ü":2}');
        });
      }),
    );
    const answer = await post(url);
    expect(answer).toMatchObject({ status: 201, body: '{"ü":2}', headers: { 'x-amzn-requestid': 'r-1' } });
    expect(seen).toEqual([
      'POST',
      '/sessions',
      {
        'content-type': 'application/json',
        host: url.host,
        'content-length': '8',
        'user-agent': 'holdfast',
        connection: 'close',
      },
      '{"é":1}',
    ]);
  });

  test('that redirects is handed back, not followed', async () => {
    let calls = 0;
    const url = await up(
      httpServer((_request, response) => {
        calls += 1;
        response.writeHead(307, { location: '/elsewhere' }).end();
      }),
    );
    expect(await post(url)).toMatchObject({ status: 307, body: '' });
    expect(calls).toBe(1);
  });

  test('that does not end is cut off at 256 KiB', async () => {
    const url = await up(
      httpServer((_request, response) => {
        const more = (): void => {
          while (!response.destroyed && response.write('x'.repeat(65_536)));
        };
        response.on('drain', more);
        more();
      }),
    );
    await expect(post(url)).rejects.toMatchObject({ code: 'ERR_SERVICE_ANSWER_INVALID', status: 200 });
  });

  test('that breaks off is no answer', async () => {
    const url = await up(
      httpServer((_request, response) => {
        response.writeHead(201, { 'content-length': 100 });
        response.write('{', () => response.destroy());
      }),
    );
    await expect(post(url)).rejects.toMatchObject({ code: 'ERR_SERVICE_UNREACHABLE' });
  });

  test('that is no HTTP says so, and keeps to itself what was read', async () => {
    const url = await up(
      rawServer((socket) => {
        socket.once('data', () => {
          socket.write('HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n');
          socket.write('15\r\n{"sessionToken":"TOKEN"}\r\nno chunk\r\n');
        });
      }),
    );
    const thrown: unknown = await post(url).catch((error: unknown) => error);
    expect(thrown).toMatchObject({ code: 'ERR_SERVICE_ANSWER_INVALID', message: expect.stringContaining('HPE_') });
    expect((thrown as Error).cause).toBeInstanceOf(Error);
    expect((thrown as Error).cause).not.toHaveProperty('rawPacket');
    expect(inspect(thrown, { depth: 9, showHidden: true })).not.toContain('TOKEN');
  });
});

describe('no answer', () => {
  test('where nothing listens, by address and by name', async () => {
    const port = await unusedPort();
    for (const host of ['127.0.0.1', 'localhost']) {
      await expect(post(new URL(`http://${host}:${port}/`))).rejects.toMatchObject({
        code: 'ERR_SERVICE_UNREACHABLE',
        message: `${host}:${port} was not reached (ECONNREFUSED)`,
        hint: 'check the endpoint: nothing listens there',
      });
    }
  });

  test('when the connection is reset', async () => {
    const url = await up(rawServer((socket) => socket.once('data', () => socket.resetAndDestroy())));
    await expect(post(url)).rejects.toMatchObject({
      code: 'ERR_SERVICE_UNREACHABLE',
      message: expect.stringContaining('ECONNRESET'),
    });
  });

  test.each<[what: string, message: string, short: Partial<Timeouts>, server: () => Promise<TestServer>]>([
    ['a TLS handshake', 'no connection to', { connect: 50 }, () => rawServer(() => undefined, 'https')],
    ['headers', 'no answer from', { headers: 50 }, () => httpServer(silent)],
    [
      'a body',
      'no complete answer from',
      { total: 100 },
      () => httpServer((_request, response) => void response.writeHead(201).write('{')),
    ],
  ])('when the server is slow with %s', async (_what, message, short, server) => {
    const url = await up(server());
    await expect(post(url, only(short))).rejects.toMatchObject({
      code: 'ERR_SERVICE_TIMEOUT',
      message: `${message} ${url.host} in time`,
    });
  });

  test('when a server that drips says a little more each time', async () => {
    const drip = (socket: Socket): void => {
      const timer = setInterval(() => socket.write('1\r\n \r\n'), 10);
      socket.on('close', () => clearInterval(timer));
    };
    const url = await up(
      rawServer((socket) => {
        socket.once('data', () => {
          socket.write('HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n');
          drip(socket);
        });
      }),
    );
    await expect(post(url, only({ total: 100 }))).rejects.toMatchObject({ code: 'ERR_SERVICE_TIMEOUT' });
  });

  test.each<[when: string, listener: RequestListener, status: number | undefined]>([
    ['before the answer', silent, undefined],
    ['inside the answer', (_request, response) => void response.writeHead(201).write('{'), 201],
  ])('when aborted %s', async (_when, listener) => {
    const abort = new AbortController();
    const url = await up(
      httpServer((request, response) => {
        listener(request, response);
        setTimeout(() => abort.abort(), 20);
      }),
    );
    await expect(post(url, { signal: abort.signal })).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
  });

  test('when aborted beforehand: the server hears nothing', async () => {
    let calls = 0;
    const url = await up(rawServer(() => (calls += 1)));
    await expect(post(url, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
    expect(calls).toBe(0);
  });
});

describe('TLS', () => {
  const listener: RequestListener = (_request, response) => void response.writeHead(201).end('{}');
  const serve = async (
    names: object,
    protocol: 'https:' | 'http:' = 'https:',
  ): Promise<{ url: URL; ca: readonly string[] }> => {
    const identity = await makeIdentity({ intermediates: 1, ...names });
    const url = await up(httpsServer(identity, listener));
    url.protocol = protocol;
    return { url, ca: [`some text\n${toPem([(await makeIdentity()).root, identity.root])}`] };
  };

  test('is trusted by a CA bundle, and only by that', async () => {
    const { url, ca } = await serve({ ipAddresses: ['127.0.0.1'] });
    expect(await post(url, { ca })).toMatchObject({ status: 201 });
    await expect(post(url)).rejects.toMatchObject({
      code: 'ERR_SERVICE_UNTRUSTED',
      message: expect.stringContaining('SELF_SIGNED_CERT_IN_CHAIN'),
      hint: expect.stringContaining('--ca-bundle'),
    });
  });

  const LOCAL = { ipAddresses: ['127.0.0.1'] };
  test.each<[why: string, code: string, names: object, hint: RegExp]>([
    [
      'for another host',
      'ERR_TLS_CERT_ALTNAME_INVALID',
      { dnsNames: ['elsewhere.test'] },
      /for another host: check the/,
    ],
    ['expired', 'CERT_HAS_EXPIRED', { ...LOCAL, notBefore: new Date(0) }, /has expired: check the clock/],
    [
      'of tomorrow',
      'CERT_NOT_YET_VALID',
      { ...LOCAL, notBefore: new Date(Date.now() + 9e7) },
      /not valid yet: .*clock/,
    ],
    ['not for servers', 'INVALID_PURPOSE', { ...LOCAL, extendedKeyUsages: ['1.3.6.1.5.5.7.3.2'] }, /--ca-bundle/],
  ])('is not trusted with a certificate that is %s', async (_why, code, names, hint) => {
    const { url, ca } = await serve(names);
    await expect(post(url, { ca })).rejects.toMatchObject({
      code: 'ERR_SERVICE_UNTRUSTED',
      message: `the TLS certificate of ${url.host} is not trusted (${code})`,
      hint: expect.stringMatching(hint),
    });
  });

  test('where the other side speaks plain HTTP, and the other way round', async () => {
    const plain = await up(httpServer(listener));
    plain.protocol = 'https:';
    await expect(post(plain)).rejects.toMatchObject({
      code: 'ERR_SERVICE_UNREACHABLE',
      hint: expect.stringMatching(/the TLS handshake failed there, and what answered is no TLS; http:\/\/ is for this/),
    });
    const { url } = await serve({ ipAddresses: ['127.0.0.1'] }, 'http:');
    await expect(post(url)).rejects.toMatchObject({ code: 'ERR_SERVICE_UNREACHABLE', hint: MAYBE_TLS });
  });

  test('where the other side answers plain HTTP with a TLS alert', async () => {
    const alert = Buffer.from('15030300020246', 'hex'); // RFC 8446 §6: fatal, protocol_version
    const url = await up(rawServer((socket) => socket.once('data', () => socket.end(alert))));
    await expect(post(url)).rejects.toMatchObject({ code: 'ERR_SERVICE_ANSWER_INVALID', hint: MAYBE_TLS });
  });

  const MAYBE_TLS = 'check the endpoint: if TLS is spoken at that port, begin it with https://';
});

describe('a connection that ends in a way of its own', () => {
  test.each(['101 Switching Protocols', '200 OK'])('with %s and another protocol', async (status) => {
    let end: () => void = () => undefined;
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    const says = `HTTP/1.1 ${status}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n`;
    const url = await up(rawServer((socket) => socket.on('close', end).once('data', () => socket.write(says))));
    await expect(post(url, only({ total: 200 }))).rejects.toMatchObject({
      code: status.startsWith('101') ? 'ERR_SERVICE_ANSWER_INVALID' : 'ERR_SERVICE_TIMEOUT',
    });
    await ended;
  });
});

test.each<[what: string, says: string]>([
  ['late', ''],
  ['too long', `HTTP/1.1 201 Created\r\n\r\n${'x'.repeat(300_000)}`],
])('an answer that is %s: the connection ends', async (_what, says) => {
  let end: () => void = () => undefined;
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  const url = await up(
    rawServer((socket) => {
      socket.on('close', end).resume();
      socket.write(says);
    }),
  );
  await expect(post(url, only({ headers: 100 }))).rejects.toMatchObject({
    code: expect.stringContaining('ERR_SERVICE_'),
  });
  await ended;
});

test('neither sockets nor timers stay behind', async () => {
  const before = resources().length;
  const url = await up(httpServer((_request, response) => void response.writeHead(201).end('{}')));
  await post(url);
  await post(new URL(`http://127.0.0.1:${await unusedPort()}/`)).catch(() => undefined);
  for (const server of open.splice(0)) await server.close();
  // Sockets take a few turns of the event loop to close; our timers would stay for seconds.
  for (let turn = 0; turn < 1000 && resources().length > before; turn += 1) await new Promise(setImmediate);
  expect(resources().length).toBeLessThanOrEqual(before);
});
