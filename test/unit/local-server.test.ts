import { X509Certificate } from 'node:crypto';
import { connect } from 'node:net';
import { describe, expect, test } from '@jest/globals';
import type { LocalOptions } from '../../src/local/index.ts';
import { startServer } from '../../src/local/server.ts';
import { enroll, running, sign, start } from '../helpers/local-client.ts';
import { send } from '../helpers/x509-request.ts';

describe('refusals', () => {
  test('come with status, code, text and request id, and are logged without secrets', async () => {
    const service = await start();
    const identity = await enroll(service);
    await send(service.endpoint, sign(service, identity));
    const { status, headers, text } = await send(service.endpoint, sign(service, identity, { serial: '1' }));
    expect(status).toBe(403);
    expect(headers).toMatchObject({
      'x-amzn-errortype': 'AccessDeniedException',
      'x-amzn-requestid': expect.stringMatching(/^[0-9a-f-]{36}$/),
    });
    expect(text).toBe('{"message":"Invalid signature"}');
    expect(service.requests).toEqual([
      { method: 'POST', path: '/sessions', status: 201, message: undefined, warnings: [] },
      { method: 'POST', path: '/sessions', status: 403, message: 'Invalid signature', warnings: [] },
    ]);
  });

  test.each([
    ['GET', '/', 404],
    ['GET', '/sessions', 405],
    ['POST', '/session', 404],
    ['POST', '/sessions/', 404],
    ['DELETE', '/', 404],
  ])('%s %s is %d', async (method, path, status) => {
    const service = await start();
    const answer = await send(service.endpoint, { ...sign(service, await enroll(service)), method, target: path });
    expect(answer.status).toBe(status);
  });

  test('a header twice, a body too long', async () => {
    const service = await start();
    const request = sign(service, await enroll(service));
    const [contentType, , date] = request.headers as [[string, string], unknown, [string, string]];
    const twice = await send(service.endpoint, { ...request, headers: [...request.headers, date, contentType] });
    expect([twice.status, twice.text]).toEqual([403, '{"message":"Invalid signature"}']);
    expect((await send(service.endpoint, { ...request, body: Buffer.alloc(100_000) })).status).toBe(413);
  });

  test('a build without a check', async () => {
    const service = await startServer({}, ['credential-serial']);
    running.push(service);
    const identity = await enroll(service);
    expect((await send(service.endpoint, sign(service, identity, { serial: '1' }))).status).toBe(201);
    await expect(startServer({}, ['credential-seral'])).rejects.toMatchObject({ code: 'ERR_OPTION_INVALID' });
  });
});

describe('trouble on demand', () => {
  const ask = async (trouble: LocalOptions['trouble']) => {
    const service = await start({ trouble });
    const received = send(service.endpoint, sign(service, await enroll(service)));
    return { service, received };
  };

  test('another status, body, date', async () => {
    const seen: string[] = [];
    const { received, service } = await ask((request, answer) => {
      seen.push(request.method, request.target);
      expect(answer.status).toBe(201);
      return { status: 503, headers: { Date: 'Mon, 01 Jan 2001 00:00:00 GMT' }, body: '<html>' };
    });
    const { status, headers, text } = await received;
    expect([status, headers.date, text]).toEqual([503, 'Mon, 01 Jan 2001 00:00:00 GMT', '<html>']);
    expect(seen).toEqual(['POST', '/sessions']);
    expect(service.requests.map((request) => request.status)).toEqual([503]);
  });

  test('the real answer, changed and late', async () => {
    const { received } = await ask(async (_request, answer) => {
      await new Promise((resolve) => setImmediate(resolve));
      return { ...answer, body: answer.body.replace('role/holdfast-local', 'role/other') };
    });
    const { status, text } = await received;
    expect([status, text.includes('role/other')]).toEqual([201, true]);
  });

  test('no answer', async () => {
    const { received, service } = await ask(() => undefined);
    await expect(received).rejects.toMatchObject({ code: 'ECONNRESET' });
    expect(service.requests.map((request) => request.status)).toEqual([0]);
  });

  test('a hook that throws closes the connection, and the service lives on', async () => {
    let faults = 1;
    const service = await start({
      trouble: (_request, answer) => {
        if (faults-- > 0) throw new Error('planted');
        return answer;
      },
    });
    const request = sign(service, await enroll(service));
    await expect(send(service.endpoint, request)).rejects.toMatchObject({ code: 'ECONNRESET' });
    expect((await send(service.endpoint, request)).status).toBe(201);
  });
});

describe('start and close', () => {
  test('close ends a connection that waits and one that is silent, and may be called twice', async () => {
    let arrived = (): void => undefined;
    const waiting = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    const service = await start({
      trouble: () => {
        arrived();
        return new Promise<undefined>(() => undefined);
      },
    });
    const silent = connect(Number(new URL(service.endpoint).port), '127.0.0.1');
    await new Promise((resolve) => silent.once('connect', resolve));
    const silenced = new Promise((resolve) => silent.once('close', resolve));
    const received = send(service.endpoint, sign(service, await enroll(service)));
    const refused = expect(received).rejects.toMatchObject({ code: 'ECONNRESET' });
    await waiting;
    await service.close();
    await service.close();
    await Promise.all([refused, silenced]);
  });

  test('the anchor is a CA certificate, and issued it', async () => {
    const service = await start();
    const anchor = new X509Certificate(service.anchor);
    const { certificate } = await enroll(service);
    expect(anchor.ca).toBe(true);
    expect(new X509Certificate(certificate).verify(anchor.publicKey)).toBe(true);
  });

  test('what is left out or undefined has a default', async () => {
    const service = await start({ now: () => new Date('2030-01-01T00:00:00Z'), region: undefined, vend: undefined });
    const { certificate } = await enroll(service, { commonName: undefined, notBefore: undefined });
    const { subject, validFrom, validTo } = new X509Certificate(certificate);
    expect([subject, validFrom, validTo]).toEqual([
      'CN=holdfast local leaf',
      'Dec 31 23:55:00 2029 GMT',
      'Jan 31 00:00:00 2030 GMT',
    ]);
  });

  test('bad options', async () => {
    const { endpoint } = await start();
    await expect(start({ port: Number(new URL(endpoint).port) })).rejects.toMatchObject({ code: 'ERR_OPTION_INVALID' });
    await expect(start({ roleArn: 'arn:aws:iam::1:role/x' })).rejects.toMatchObject({ code: 'ERR_ARN_MISMATCH' });
    await expect(start({ roleArn: 'role/x' })).rejects.toMatchObject({ code: 'ERR_ARN_INVALID' });
    const arn = 'arn:aws:rolesanywhere:us-east-1:111122223333:trust-anchor/x';
    for (const pem of ['', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n']) {
      await expect(start({ anchors: [{ arn, pem }] })).rejects.toMatchObject({ code: 'ERR_CERTIFICATE_INVALID' });
    }
  });
});
