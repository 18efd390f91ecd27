import { describe, expect, test } from '@jest/globals';
import { arnsOf, enroll, KEYS, sign, start, vended } from '../helpers/local-client.ts';
import { send } from '../helpers/x509-request.ts';

describe('requests that are in order', () => {
  test.each(Object.entries(KEYS))('%s, chains of 0 to 4 intermediates in any order', async (_name, keys) => {
    const service = await start();
    for (let intermediates = 0; intermediates <= 4; intermediates++) {
      const identity = await enroll(service, { intermediates }, keys);
      expect(identity.chain).toHaveLength(intermediates);
      const odd = identity.chain.filter((_, index) => index % 2 === 1);
      const shuffled = [...odd, ...identity.chain.filter((_, index) => index % 2 === 0)].toReversed();
      const answer = await send(service.endpoint, sign(service, { ...identity, chain: shuffled }));
      expect([answer.status, intermediates, answer.text.includes('message')]).toEqual([201, intermediates, false]);
    }
  });

  test('in chunks, and with ARNs in the query', async () => {
    const service = await start();
    const identity = await enroll(service);
    const chunked = await send(service.endpoint, sign(service, identity), { chunked: true });
    const query = sign(service, identity, { body: { durationSeconds: 900 }, query: Object.entries(arnsOf(service)) });
    expect([chunked.status, (await send(service.endpoint, query)).status]).toEqual([201, 201]);
  });

  test('over TLS, trusted by the bundle and by nothing else', async () => {
    const service = await start({ tls: true });
    expect(service.endpoint).toMatch(/^https:\/\/127\.0\.0\.1:\d+$/);
    const request = sign(service, await enroll(service));
    expect((await send(service.endpoint, request, { ca: service.caBundle })).status).toBe(201);
    await expect(send(service.endpoint, request)).rejects.toMatchObject({ code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' });
  });

  test('with 100 kB of headers', async () => {
    const service = await start();
    const request = sign(service, await enroll(service), { headers: { 'X-Large': 'x'.repeat(100_000) } });
    expect((await send(service.endpoint, request)).status).toBe(201);
  });

  test('the answer, to the letter', async () => {
    const service = await start({ now: () => new Date('2026-06-15T12:00:00.900Z') });
    const identity = await enroll(service, { commonName: 'web-01', serialNumber: '0abc' });
    const request = sign(service, identity, { date: new Date('2026-06-15T12:00:00Z') });
    const { status, headers, text } = await send(service.endpoint, request);
    expect(status).toBe(201);
    expect(headers).toMatchObject({ 'content-type': 'application/json', date: 'Mon, 15 Jun 2026 12:00:00 GMT' });
    expect(headers['x-amzn-requestid']).toMatch(/^[0-9a-f-]{36}$/);
    const text32 = (length: number) => expect.stringMatching(new RegExp(`^[A-Z2-7]{${length}}$`));
    expect(text32(20)).toEqual(vended(text).credentials.accessKeyId);
    expect(JSON.parse(text)).toEqual({
      credentialSet: [
        {
          assumedRoleUser: {
            arn: 'arn:aws:sts::111122223333:assumed-role/holdfast-local/0abc',
            assumedRoleId: expect.stringMatching(/^AROA[A-Z2-7]{16}:0abc$/),
          },
          credentials: {
            accessKeyId: expect.stringMatching(/^ASIA/),
            secretAccessKey: expect.stringMatching(/^[A-Za-z0-9+/]{40}$/),
            sessionToken: expect.stringMatching(/^[A-Za-z0-9+/]{320}$/),
            expiration: '2026-06-15T13:00:00Z',
          },
          packedPolicySize: expect.any(Number),
          roleArn: 'arn:aws:iam::111122223333:role/holdfast-local',
          sourceIdentity: 'CN=web-01',
        },
      ],
      subjectArn: expect.stringMatching(
        /^arn:aws:rolesanywhere:us-east-1:111122223333:subject\/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/,
      ),
    });
  });

  test.each([
    [{ commonName: 'a'.repeat(61) }, `CN=${'a'.repeat(61)}`],
    [{ commonName: 'a'.repeat(62) }, 'a'.repeat(62)],
    [{ subject: 'O=Example', serialNumber: '0123' }, 'ID=0123'],
    [{ subject: 'O=Example', serialNumber: '05' }, 'ID=05'],
  ])('source identity of %j', async (certificate, expected) => {
    const service = await start();
    const answer = await send(service.endpoint, sign(service, await enroll(service, certificate)));
    expect(vended(answer.text).sourceIdentity).toBe(expected);
  });

  test.each([
    ['profile and request', { profileDurationSeconds: 1800 }, { durationSeconds: 900 }, 900],
    ['the profile alone', { profileDurationSeconds: 1800 }, {}, 1800],
    ['the profile, when more is asked', { profileDurationSeconds: 1800 }, { durationSeconds: 3600 }, 1800],
    ['the test switch', { lifeSeconds: 3 }, { durationSeconds: 3600 }, 3],
  ])('how long it lives: %s', async (_name, options, body, seconds) => {
    const now = new Date(Math.floor(Date.now() / 1000) * 1000);
    const service = await start({ ...options, now: () => now });
    const request = sign(service, await enroll(service), { date: now, body: { ...arnsOf(service), ...body } });
    const { credentials } = vended((await send(service.endpoint, request)).text);
    expect(Date.parse(credentials.expiration) - now.getTime()).toBe(seconds * 1000);
  });

  test('a session name, ARNs and secrets by option', async () => {
    const own = {
      region: 'cn-north-1',
      accountId: '999988887777',
      trustAnchorArn: 'arn:aws-cn:rolesanywhere:cn-north-1:999988887777:trust-anchor/x',
      profileArn: 'arn:aws-cn:rolesanywhere:cn-north-1:999988887777:profile/y',
      roleArn: 'arn:aws-cn:iam::999988887777:role/team/deploy',
    };
    const vend = { secretAccessKey: 'the secret', sessionToken: 'the token' };
    const service = await start({ ...own, vend, acceptRoleSessionName: true });
    expect(service).toMatchObject(own);
    const body = { ...arnsOf(service), roleSessionName: 'build-7' };
    const set = vended((await send(service.endpoint, sign(service, await enroll(service), { body }))).text);
    expect(set.credentials).toMatchObject(vend);
    expect(set.assumedRoleUser.arn).toBe('arn:aws-cn:sts::999988887777:assumed-role/deploy/build-7');
  });
});
