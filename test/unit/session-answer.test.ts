import { inspect } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { ServiceError } from '../../src/errors.ts';
import type { HttpAnswer } from '../../src/http.ts';
import { type Credentials, readSession } from '../../src/session-answer.ts';
import { expectNoCanary } from '../helpers/canaries.ts';
import { ARNS, answer, grant } from '../helpers/create-session.ts';

const url = new URL('https://rolesanywhere.eu-central-1.amazonaws.com/sessions');
const NOW = new Date('2026-05-04T12:00:00Z');

const run = async (given: HttpAnswer): Promise<Credentials> =>
  readSession(given, { url, account: '111122223333', roleArn: ARNS.roleArn }, NOW);

describe('an answer of 2xx that is not one', () => {
  const set = (...credentialSet: unknown[]): HttpAnswer => answer(201, { credentialSet });
  const bad = (credentials: Record<string, unknown>): HttpAnswer => set(grant(credentials));

  test.each<[what: string, given: HttpAnswer, message: RegExp]>([
    ['HTML', answer(200, '<!doctype html><p>Welcome'), /answered 200 with an HTML page$/],
    ['nothing', answer(204, ''), /answered 204 with an empty body$/],
    ['cut off', answer(201, '{"credentialSet":[{"cred'), /answered 201 with 24 characters of application\/json$/],
    ['null', answer(201, 'null'), /with an empty credential set$/],
    ['an empty object', answer(201, {}), /with an empty credential set$/],
    ['an empty set', set(), /with an empty credential set$/],
    ['a set of null', set(null), /with an empty credential set$/],
    ['a set that is none', answer(201, { credentialSet: 'all' }), /with an empty credential set$/],
    ['no credentials', set(grant({}, { credentials: null })), /with an empty credential set$/],
    ['credentials that are text', set(grant({}, { credentials: 'all' })), /with incomplete credentials$/],
    ['no access key', bad({ accessKeyId: undefined }), /with incomplete credentials$/],
    ['an empty secret', bad({ secretAccessKey: '' }), /with incomplete credentials$/],
    ['a token of null', bad({ sessionToken: null }), /with incomplete credentials$/],
    ['no expiration', bad({ expiration: undefined }), /with incomplete credentials$/],
    ['a numeric expiration', bad({ expiration: 9999 }), /with incomplete credentials$/],
    ['an expiration without a zone', bad({ expiration: '2026-05-04T13:00:00' }), /with incomplete credentials$/],
    ['an impossible expiration', bad({ expiration: '2026-13-04T13:00:00Z' }), /with incomplete credentials$/],
    ['an expiration that has passed', bad({ expiration: NOW }), /with credentials that expired at 2026-05-04T12:00:00/],
  ])('%s', async (_what, given, message) => {
    const thrown: unknown = await run(given).catch((error: unknown) => error);
    expect(thrown).toBeInstanceOf(ServiceError);
    expect(thrown).toMatchObject({ code: 'ERR_SERVICE_ANSWER_INVALID', message: expect.stringMatching(message) });
    expect(thrown).toMatchObject({ status: given.status, requestId: 'c0ffee', hint: expect.any(String) });
    expectNoCanary(inspect(thrown, { depth: 9, showHidden: true }), 'the error');
  });

  test.each(['111122223333:assumed-role/admin/01', '999999999999:assumed-role/deploy/01'])(
    'an assumed role of another name or account, where the answer names no role: %s',
    async (user) => {
      for (const roleArn of [undefined, ARNS.roleArn]) {
        const other = grant({}, { roleArn, assumedRoleUser: { arn: `arn:aws:sts::${user}` } });
        await expect(run(set(other))).rejects.toMatchObject({ code: 'ERR_ROLE_MISMATCH' });
      }
    },
  );

  test('credentials of nobody knows which role', async () => {
    const none = set(grant({}, { roleArn: undefined, assumedRoleUser: undefined }));
    await expect(run(none)).rejects.toMatchObject({ code: 'ERR_SERVICE_ANSWER_INVALID' });
  });

  test.each([['arn:aws:iam::111122223333:role/admin'], [null], ['']])('another role: %p', async (roleArn) => {
    const thrown: unknown = await run(set(grant({}, { roleArn }))).catch((error: unknown) => error);
    expect(thrown).toMatchObject({ code: 'ERR_ROLE_MISMATCH', status: 201, requestId: 'c0ffee' });
    expectNoCanary(inspect(thrown, { depth: 9, showHidden: true }), 'the error');
  });
});
