import type { Duplex } from 'node:stream';
import { text } from 'node:stream/consumers';
import { checkServerIdentity, type PeerCertificate } from 'node:tls';
import { inspect } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { makeIdentity } from '../helpers/certificates.ts';
import { basic, connectProxy, type TestProxy } from '../helpers/proxies.ts';
import { certified, errorOf, HOST, named, OK, only, PASSWORD, post, serve, up } from '../helpers/proxy-world.ts';
import { rawServer, unusedPort } from '../helpers/servers.ts';

describe('through a proxy', () => {
  test('the request arrives as it would without one', async () => {
    let seen: unknown;
    const port = await serve((request, response) => {
      void text(request).then((body) => {
        seen = [request.method, request.url, request.headers, body];
        OK(request, response);
      });
    });
    const proxy = await up(connectProxy({ to: port }));
    expect(await post(proxy.at())).toMatchObject({ status: 201, body: '{}', headers: { 'x-amzn-requestid': 'r-1' } });
    expect(seen).toEqual([
      'POST',
      '/sessions',
      {
        'content-type': 'application/json',
        host: HOST,
        'content-length': '8',
        'user-agent': 'holdfast',
        connection: 'close',
      },
      '{"é":1}',
    ]);
    const target = `${HOST}:443`;
    expect(proxy.asked).toEqual([
      { target, headers: { host: target, 'user-agent': 'holdfast', 'proxy-connection': 'close' } },
    ]);
  });

  test.each<[user: string, password: string]>([
    ['me', PASSWORD],
    ['DOMAIN\\ü', ':%/?#[]@ "'],
    ['me', ''],
  ])('that wants a password, as %s', async (user, password) => {
    const authorization = basic(user, password);
    const proxy = await up(connectProxy({ to: await serve(), authorization }));
    expect(await post(proxy.at(user, password))).toMatchObject({ status: 201 });
    expect(proxy.asked).toMatchObject([{ headers: { 'proxy-authorization': authorization } }]);
  });

  test('that speaks TLS, trusted by the same bundle, and itself verified', async () => {
    const to = await serve();
    const identity = await certified({ ipAddresses: ['127.0.0.1'] });
    const proxy = await up(connectProxy({ to, identity, authorization: basic('me', PASSWORD) }));
    expect(await post(proxy.at('me', PASSWORD))).toMatchObject({ status: 201 });

    const stranger = await up(connectProxy({ to, identity: await makeIdentity({ ipAddresses: ['127.0.0.1'] }) }));
    expect(await errorOf(stranger.at('me', PASSWORD))).toMatchObject({
      code: 'ERR_SERVICE_UNTRUSTED',
      message: `the TLS certificate of ${named(stranger)} is not trusted (SELF_SIGNED_CERT_IN_CHAIN)`,
      hint: expect.stringContaining('--ca-bundle'),
    });
    const misnamed = await up(connectProxy({ to, identity: await certified({ dnsNames: [HOST] }) }));
    expect(await errorOf(misnamed.at('me', PASSWORD))).toMatchObject({
      code: 'ERR_SERVICE_UNTRUSTED',
      message: `the TLS certificate of ${named(misnamed)} is not trusted (ERR_TLS_CERT_ALTNAME_INVALID)`,
    });
    expect([stranger.asked, misnamed.asked]).toEqual([[], []]);
  });

  test('that has a name', async () => {
    const identity = await certified({ dnsNames: ['localhost'] });
    const proxy = await up(connectProxy({ to: await serve(), identity, host: 'localhost' }));
    expect(await post(proxy.at())).toMatchObject({ status: 201 });
  });

  test('the endpoint is verified as without one', async () => {
    const [to, elsewhere] = [await serve(), await serve(OK, await certified({ dnsNames: ['elsewhere.example'] }))];
    const proxy = await up(connectProxy({ to }));
    expect(await errorOf(proxy.at(), { ca: undefined })).toMatchObject({
      code: 'ERR_SERVICE_UNTRUSTED',
      message: `the TLS certificate of ${HOST} through ${named(proxy)} is not trusted (SELF_SIGNED_CERT_IN_CHAIN)`,
      hint: expect.stringMatching(/--ca-bundle.*a proxy that looks into TLS/),
    });
    const astray = await up(connectProxy({ to: elsewhere }));
    expect(await errorOf(astray.at())).toMatchObject({
      code: 'ERR_SERVICE_UNTRUSTED',
      message: expect.stringContaining('ERR_TLS_CERT_ALTNAME_INVALID'),
    });
  });

  test.each<[host: string, address: string]>([
    ['192.0.2.7', '192.0.2.7'],
    ['[2001:db8::7]', '2001:db8::7'],
  ])('an endpoint that is the address %s is verified as that address', async (host, address) => {
    const url = new URL(`https://${host}:8443/sessions`);
    // The last two are what the connection is really to: a certificate for those says nothing.
    const names = [{ ipAddresses: [address] }, { ipAddresses: ['127.0.0.1'] }, { dnsNames: ['localhost'] }];
    const outcomes = [];
    for (const name of names) {
      const proxy = await up(connectProxy({ to: await serve(OK, await certified(name)), host: 'localhost' }));
      outcomes.push(await errorOf(proxy.at(), {}, url));
      expect(proxy.asked).toMatchObject([{ target: `${host}:8443`, headers: { host: `${host}:8443` } }]);
    }
    const untrusted = expect.objectContaining({
      code: 'ERR_SERVICE_UNTRUSTED',
      message: expect.stringContaining('ALTNAME'),
    });
    // Node 22.23.3 takes no IPv6 address for one, in whatever certificate.
    const fits = checkServerIdentity(address, { subjectaltname: `IP Address:${address}` } as PeerCertificate);
    expect(outcomes).toEqual([fits ? untrusted : 'answered 201', untrusted, untrusted]);
  });
});

describe('a proxy that refuses', () => {
  const refusing = (lines: string): Promise<TestProxy> =>
    up(connectProxy({ answer: (socket) => void socket.end(`HTTP/1.1 ${lines}\r\n\r\n<html>Access denied</html>`) }));
  const FOR_BASIC = '407 Authenticate\r\nProxy-Authenticate: Basic realm="x"';

  test.each<[what: string, lines: string, password: string | undefined, code: string, hint: RegExp]>([
    [
      'without a password',
      FOR_BASIC,
      undefined,
      'ERR_PROXY_REFUSED',
      /^put a user name and a password into HTTPS_PROXY:/,
    ],
    ['with a wrong one', FOR_BASIC, PASSWORD, 'ERR_PROXY_REFUSED', /^check user name and password in HTTPS_PROXY;/],
    ['and does not say how', '407 Authenticate', undefined, 'ERR_PROXY_REFUSED', /^put a user name/],
    [
      'and takes others than Basic',
      '407 No\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM abc',
      PASSWORD,
      'ERR_PROXY_REFUSED',
      /^use a proxy that takes Basic, or put one between that speaks Negotiate or NTLM$/,
    ],
    [
      'and takes Basic too',
      `${FOR_BASIC}\r\nProxy-Authenticate: NTLM`,
      PASSWORD,
      'ERR_PROXY_REFUSED',
      /^check user name/,
    ],
    ['by policy', '403 Forbidden', PASSWORD, 'ERR_PROXY_REFUSED', /^ask who runs the proxy to allow it$/],
    ['by redirecting', '302 Found\r\nLocation: http://login.example/', undefined, 'ERR_PROXY_REFUSED', /^ask who runs/],
    ['because it got nowhere', '502 Bad Gateway', undefined, 'ERR_SERVICE_UNREACHABLE', /^the proxy did not get there/],
    ['because it is busy', '503 Busy', undefined, 'ERR_SERVICE_UNREACHABLE', /^the proxy did not get there/],
  ])('%s', async (_what, lines, password, code, hint) => {
    const proxy = await refusing(lines);
    const thrown = await errorOf(password === undefined ? proxy.at() : proxy.at('me', password));
    expect(thrown).toMatchObject({
      code,
      message: `${named(proxy)} answered ${lines.slice(0, 3)} to CONNECT ${HOST}:443`,
      hint: expect.stringMatching(hint),
      // It was not the service that answered.
      status: undefined,
    });
  });

  test('gets nothing of the request', async () => {
    let heard = '';
    const proxy = await up(
      connectProxy({
        answer: (socket) => {
          socket.on('data', (chunk: Buffer) => (heard += chunk.toString('latin1')));
          socket.write('HTTP/1.1 403 No\r\n\r\n');
        },
      }),
    );
    expect(await errorOf(proxy.at())).toMatchObject({ code: 'ERR_PROXY_REFUSED' });
    expect(heard).toBe('');
  });
});

test('no error holds the password, however deep one looks', async () => {
  const answers: ((socket: Duplex) => void)[] = [
    (socket) => void socket.end('HTTP/1.1 407 No\r\n\r\n'),
    (socket) => void socket.end('HTTP/1.1 502 No\r\n\r\n'),
    (socket) => void socket.end(),
    () => undefined,
  ];
  const encoded = encodeURIComponent(PASSWORD);
  const credentials = basic('me', PASSWORD).slice('Basic '.length);
  const echo = await up(
    rawServer((socket) => socket.once('data', (data) => socket.write(`${String(data).trimEnd()}\r\nbad\r\n\r\n`))),
  );
  const urls = [`http://me:${encoded}@127.0.0.1:${echo.port}`, `https://me:${encoded}@127.0.0.1:${echo.port}`];
  for (const answer of answers) urls.push((await up(connectProxy({ answer }))).at('me', PASSWORD));
  urls.push((await up(connectProxy({ to: await unusedPort() }))).at('me', PASSWORD));
  urls.push((await up(connectProxy({ identity: await makeIdentity() }))).at('me', PASSWORD));
  urls.push(`http://me:${encoded}@127.0.0.1:${await unusedPort()}`);
  for (const url of urls) {
    const thrown = await errorOf(url, only({ connect: 200 }));
    expect(thrown).toMatchObject({ code: expect.stringMatching(/^ERR_/) });
    const printed = `${inspect(thrown, { depth: 9, showHidden: true, getters: true })} ${JSON.stringify(thrown)}`;
    for (const secret of [PASSWORD, encoded, credentials]) expect(printed).not.toContain(secret);
  }
});
