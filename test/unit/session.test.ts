import { describe, expect, test } from '@jest/globals';
import type { Certificate } from '../../src/certificate.ts';
import { checkSession, type SessionOptions } from '../../src/check-session.ts';
import { HoldfastError, ServiceError } from '../../src/errors.ts';
import type { HttpAnswer } from '../../src/http.ts';
import { createSession } from '../../src/session.ts';
import type { Credentials } from '../../src/session-answer.ts';
import { vend } from '../helpers/canaries.ts';
import { ARNS, answer, grant, granted, refused } from '../helpers/create-session.ts';

const NOW = '2026-05-04T12:00:00Z';
const GRANTED = granted(new Date('2026-05-04T13:00:00Z'));
const DOWN = answer(503, { message: 'Service unavailable' });
const SIGNATURE = Buffer.from('5151', 'hex');

/** A service that gives these answers in turn, a clock, and a key that counts. */
function setUp(answers: readonly (HttpAnswer | Error | (() => HttpAnswer))[]) {
  const sent: { headers: Readonly<Record<string, string>>; body: string; url: string }[] = [];
  const world = { sent, signatures: 0, waits: [] as number[], time: Date.parse(NOW) };
  const identity = {
    // What signRequest reads of a certificate; the signature's own tests use real ones.
    certificate: {
      der: Buffer.from('leaf'),
      serialNumber: '7',
      keyType: 'EC',
      verify: () => true,
    } as unknown as Certificate,
    chain: [],
    signer: {
      sign: async () => {
        world.signatures += 1;
        return SIGNATURE;
      },
    },
  };
  const run = (options: Partial<SessionOptions> = {}): Promise<Credentials> =>
    createSession(identity, {
      ...ARNS,
      now: () => new Date(world.time),
      wait: async (milliseconds) => void world.waits.push(milliseconds),
      send: async ({ url, headers, body }) => {
        const next = answers[sent.length];
        sent.push({ url: url.href, headers, body });
        if (next instanceof Error) throw next;
        if (!next) throw new Error('one request too many');
        return typeof next === 'function' ? next() : next;
      },
      ...options,
    });
  return { world, sent, identity, run };
}

const at = (date: string): Record<string, string> => ({ date: new Date(date).toUTCString() });
const dates = (sent: readonly { headers: Readonly<Record<string, string>> }[]): unknown[] =>
  sent.map(({ headers }) => headers['x-amz-date']);
const unreachable = (code: 'ERR_SERVICE_UNREACHABLE' | 'ERR_SERVICE_TIMEOUT' | 'ERR_SERVICE_UNTRUSTED'): ServiceError =>
  new ServiceError(code, 'no');

describe('a session', () => {
  test('is what the service granted', async () => {
    const { run, world } = setUp([GRANTED]);
    expect(await run()).toEqual({
      accessKeyId: 'ASIAEXAMPLE',
      ...vend,
      expiration: new Date('2026-05-04T13:00:00Z'),
      accountId: '111122223333',
    });
    expect(world.signatures).toBe(1);
  });

  test('is asked for in exactly these bytes', async () => {
    const { run, sent } = setUp([GRANTED]);
    await run({ durationSeconds: 900, roleSessionName: 'web=1' });
    expect(sent).toEqual([
      {
        url: 'https://rolesanywhere.eu-central-1.amazonaws.com/sessions',
        headers: {
          'content-type': 'application/json',
          host: 'rolesanywhere.eu-central-1.amazonaws.com',
          'x-amz-date': '20260504T120000Z',
          'x-amz-x509': Buffer.from('leaf').toString('base64'),
          authorization:
            'AWS4-X509-ECDSA-SHA256 Credential=7/20260504/eu-central-1/rolesanywhere/aws4_request, ' +
            'SignedHeaders=content-type;host;x-amz-date;x-amz-x509, Signature=5151',
        },
        body: `{"durationSeconds":900,"profileArn":"${ARNS.profileArn}","roleArn":"${ARNS.roleArn}","roleSessionName":"web=1","trustAnchorArn":"${ARNS.trustAnchorArn}"}`,
      },
    ]);
  });

  test('lasts an hour and has no name unless asked, and goes where told', async () => {
    const { run, sent } = setUp([GRANTED]);
    await run({ endpoint: 'http://127.0.0.1:8080/base/' });
    expect(JSON.parse(sent[0]?.body ?? '')).toEqual({ ...ARNS, durationSeconds: 3600 });
    expect(sent[0]).toMatchObject({ url: 'http://127.0.0.1:8080/base/sessions', headers: { host: '127.0.0.1:8080' } });
  });

  test('has the account of the role, also where the answer names no user', async () => {
    expect((await setUp([GRANTED]).run()).accountId).toBe('111122223333');
    const none = grant({}, { assumedRoleUser: undefined });
    expect((await setUp([answer(201, { credentialSet: [none] })]).run()).accountId).toBe('111122223333');
  });
});

describe('sending again', () => {
  test('three answers of 5xx, then success: one signature, the same bytes', async () => {
    const { run, sent, world } = setUp([DOWN, answer(500, 'oops'), answer(502, '<html>'), GRANTED]);
    await run({ attempts: 4 });
    expect(world.signatures).toBe(1);
    expect(sent).toHaveLength(4);
    for (const request of sent) expect(request).toEqual(sent[0]);
    const [first = 0, second = 0, third = 0] = world.waits;
    for (const [wait, most] of [
      [first, 200],
      [second, 400],
      [third, 800],
    ] as const) {
      expect(wait).toBeGreaterThanOrEqual(most / 2);
      expect(wait).toBeLessThanOrEqual(most);
    }
  });

  test.each<[what: string, failure: HttpAnswer | Error]>([
    ['throttling', answer(429, { message: 'Too Many Requests' })],
    ['no connection', unreachable('ERR_SERVICE_UNREACHABLE')],
    ['no answer in time', unreachable('ERR_SERVICE_TIMEOUT')],
  ])('after %s, up to three times in all', async (_what, failure) => {
    const { run, sent, world } = setUp([failure, failure, failure]);
    await expect(run()).rejects.toBeInstanceOf(ServiceError);
    expect([sent.length, world.signatures, world.waits.length]).toEqual([3, 1, 2]);
  });

  test.each<[what: string, failure: HttpAnswer | Error, code: string]>([
    ['a refusal', refused('Certificate revoked'), 'ERR_SERVICE_REFUSED'],
    ['a refusal with a wrong clock', refused('Certificate revoked', at('2026-05-04T13:00:00Z')), 'ERR_SERVICE_REFUSED'],
    ['a signature refused with the clock right', refused('Invalid signature', at(NOW)), 'ERR_SERVICE_REFUSED'],
    ['a signature refused with no clock', refused('Invalid signature'), 'ERR_SERVICE_REFUSED'],
    ['the same text elsewhere', answer(400, { message: 'Invalid signature' }, at('2020-01-01')), 'ERR_SERVICE_REFUSED'],
    ['HTML', answer(403, '<html>'), 'ERR_SERVICE_ANSWER_INVALID'],
    ['TLS that is not trusted', unreachable('ERR_SERVICE_UNTRUSTED'), 'ERR_SERVICE_UNTRUSTED'],
    ['an abort', new HoldfastError('ERR_INTERRUPTED', 'no'), 'ERR_INTERRUPTED'],
  ])('never after %s', async (_what, failure, code) => {
    const { run, sent, world } = setUp([failure]);
    await expect(run()).rejects.toMatchObject({ code });
    expect([sent.length, world.signatures, world.waits.length]).toEqual([1, 1, 0]);
  });

  test('signs anew once the signature is four minutes old, not before', async () => {
    const later = (milliseconds: number) => () => {
      world.time += milliseconds;
      return DOWN;
    };
    const { run, sent, world } = setUp([later(239_999), later(1), later(60_000), GRANTED]);
    await run({ attempts: 4 });
    expect(dates(sent)).toEqual(['20260504T120000Z', '20260504T120000Z', '20260504T120400Z', '20260504T120400Z']);
    expect(world.signatures).toBe(2);
  });
});

describe('a clock that is wrong', () => {
  test('is corrected by the date of a refused signature, without costing an attempt', async () => {
    const { run, sent, world } = setUp([refused('Invalid signature', at('2026-05-04T12:10:00Z')), GRANTED]);
    await run({ attempts: 1 });
    expect(dates(sent)).toEqual(['20260504T120000Z', '20260504T121000Z']);
    expect([world.signatures, world.waits.length]).toEqual([2, 0]);
  });

  test('is corrected once only', async () => {
    const no = refused('Invalid signature', at('2026-05-04T12:10:00Z'));
    const { run, world } = setUp([no, no]);
    await expect(run()).rejects.toMatchObject({ hint: expect.stringMatching(/600 s behind the service/) });
    expect(world.signatures).toBe(2);
  });

  test('is corrected after a failure that passes, too', async () => {
    const { run, sent } = setUp([{ ...DOWN, headers: at('2026-05-04T11:00:00Z') }, DOWN, GRANTED]);
    await run();
    expect(dates(sent)).toEqual(['20260504T120000Z', '20260504T110000Z', '20260504T110000Z']);
  });

  test('by less than four minutes is left alone', async () => {
    const { run, world } = setUp([refused('Invalid signature', at('2026-05-04T12:03:59Z'))]);
    await expect(run()).rejects.toMatchObject({ hint: expect.stringMatching(/239 s behind the service/) });
    expect(world.signatures).toBe(1);
  });

  test('credentials that only our clock, which is ahead, takes for expired are credentials', async () => {
    const given = { ...granted(new Date('2026-05-04T11:00:00Z')), headers: at('2026-05-04T10:00:00Z') };
    expect((await setUp([given]).run()).expiration).toEqual(new Date('2026-05-04T11:00:00Z'));
  });
});

describe('an abort', () => {
  test('before: nothing is signed; the reason counts if it is an error of ours', async () => {
    const { run, world } = setUp([]);
    await expect(run({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
    const late = new HoldfastError('ERR_SIGNING_TIMEOUT', 'late');
    await expect(run({ signal: AbortSignal.abort(late) })).rejects.toBe(late);
    expect(world.signatures).toBe(0);
  });

  test.each(['sign', 'wait'] as const)('while it must %s', async (where) => {
    const abort = new AbortController();
    const { run, identity, sent } = setUp([DOWN]);
    const hang = async (): Promise<never> => {
      setImmediate(() => abort.abort());
      return new Promise(() => undefined);
    };
    if (where === 'sign') identity.signer.sign = hang;
    const send = async (): Promise<HttpAnswer> => {
      if (where === 'wait') abort.abort();
      return DOWN;
    };
    const given = where === 'wait' ? { send, wait: undefined } : {};
    await expect(run({ signal: abort.signal, ...given })).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
    expect(sent).toEqual([]);
  });
});

describe('before any key is touched', () => {
  test.each<[what: string, options: Partial<SessionOptions>, code: string]>([
    ['an ARN', { roleArn: 'arn:aws:iam::1111:role/deploy' }, 'ERR_ARN_INVALID'],
    ['another account', { roleArn: 'arn:aws:iam::444455556666:role/deploy' }, 'ERR_ARN_MISMATCH'],
    ['another region', { region: 'us-east-1' }, 'ERR_ARN_MISMATCH'],
    ['899 s', { durationSeconds: 899 }, 'ERR_OPTION_INVALID'],
    ['43201 s', { durationSeconds: 43_201 }, 'ERR_OPTION_INVALID'],
    ['half seconds', { durationSeconds: 900.5 }, 'ERR_OPTION_INVALID'],
    ['a short name', { roleSessionName: 'x' }, 'ERR_OPTION_INVALID'],
    ['a long name', { roleSessionName: 'x'.repeat(65) }, 'ERR_OPTION_INVALID'],
    ['a name with a space', { roleSessionName: 'a b' }, 'ERR_OPTION_INVALID'],
    ['a name of two lines', { roleSessionName: 'ab\n' }, 'ERR_OPTION_INVALID'],
    ['no attempts', { attempts: 0 }, 'ERR_OPTION_INVALID'],
    ['an endpoint without TLS', { endpoint: 'http://example.com' }, 'ERR_ENDPOINT_INVALID'],
  ])('refuses %s', async (_what, options, code) => {
    const { run, sent, world } = setUp([GRANTED]);
    await expect(run(options)).rejects.toMatchObject({ code });
    expect([sent.length, world.signatures]).toEqual([0, 0]);
  });

  test('takes what is just allowed', () => {
    for (const durationSeconds of [900, 43_200]) {
      const options = { ...ARNS, durationSeconds, roleSessionName: 'A_9+=,.@-', region: 'eu-central-1', attempts: 20 };
      expect(checkSession(options)).toMatchObject({ region: 'eu-central-1', account: '111122223333' });
    }
  });
});
