import { describe, expect, test } from '@jest/globals';
import { clockSkew } from '../../src/answer.ts';
import { ServiceError } from '../../src/errors.ts';
import type { HttpAnswer } from '../../src/http.ts';
import { refusal } from '../../src/service-error.ts';

const HOST = 'rolesanywhere.eu-central-1.amazonaws.com';
const NOW = new Date('2026-05-04T12:00:00Z');
const ROLE = 'arn:aws:iam::111122223333:role/deploy';

const answer = (status: number, body: unknown, headers: Record<string, string> = {}): HttpAnswer => ({
  status,
  headers: { 'x-amzn-requestid': 'c0ffee', date: NOW.toUTCString(), ...headers },
  body: typeof body === 'string' ? body : JSON.stringify(body),
});
const refused = (message: string, headers: Record<string, string> = {}): ServiceError =>
  refusal(answer(403, { message }, { 'x-amzn-errortype': 'AccessDeniedException', ...headers }), HOST, NOW);

describe('a text of the service', () => {
  test.each<[text: string, hint: RegExp]>([
    ['Invalid signature', /clock is right.*region.*proxy/],
    ['Untrusted signing certificate', /trust anchor whose CA issued.*intermediates.*--intermediates/],
    ['Untrusted Signing Certificate', /trust anchor whose CA issued.*intermediates.*--intermediates/],
    ['Untrusted certificate. Insufficient certificate', /digitalSignature.*version 3.*CA:FALSE.*trust anchor/],
    ['Certificate revoked', /revocation list/],
    ["Specified Trust Anchor wasn't found.", /trust anchor ARN.*region and account/],
    ['Specified Trust Anchor is disabled.', /enable the trust anchor/],
    ['Invalid or empty profile provided.', /profile ARN.*region and account/],
    ['Specified Profile is disabled.', /^enable the profile$/],
    ["Requested Role isn't one of those listed in the Profile.", /add the role to the profile/],
    ['Not authorized to set roleSessionName.', /leave out the role session name/],
    [
      `Unable to assume role for ${ROLE}.`,
      /principal.*AssumeRole, TagSession and SetSourceIdentity.*conditions.*role exists/,
    ],
    [
      `Unable to assume role for ${ROLE}. The requested DurationSeconds exceeds the MaxSessionDuration set for this role.`,
      /shorter session/,
    ],
    [
      `Unable to assume role for ${ROLE}. Some attributes failed to be mapped into session tags. Issuer: [ CN ]; Subject: [  ]; SAN: [ DNS/2 ]`,
      /attribute mapping.*trust policy/,
    ],
    ['Something that nobody has seen yet', /^correct what the service names$/],
  ])('%s', (text, hint) => {
    const error = refused(text);
    expect(error).toBeInstanceOf(ServiceError);
    expect(error).toMatchObject({
      code: 'ERR_SERVICE_REFUSED',
      message: `${HOST} answered 403 AccessDeniedException: ${text} (request c0ffee)`,
      status: 403,
      awsCode: 'AccessDeniedException',
      requestId: 'c0ffee',
      hint: expect.stringMatching(hint),
      tryNextLink: false,
    });
  });

  test.each<[text: string, hint: RegExp]>([
    [
      "1 validation error detected: Value '43200' at 'durationSeconds' failed to satisfy constraint: Member must have value less than or equal to 3600",
      /bounds that the service names.*--session-duration/,
    ],
    [
      "1 validation error detected: Value 'x' at 'roleSessionName' failed to satisfy constraint: Member must have length",
      /role session name/,
    ],
    ["1 validation error detected: Value 'x' at 'roleArn' failed to satisfy constraint: Member must satisfy", /ARN/],
    ['Incorrect basic constraints for CA certificate', /CA:TRUE/],
    ['Error creating TrustAnchor. Given AWS PCA did not allow get request.: ', /private CA.*active.*may read it/],
    ['Something else', /^correct what the service names$/],
  ])('of a wrong value: %s', (message, hint) => {
    expect(refusal(answer(400, { message, __type: 'ValidationException' }), HOST, NOW)).toMatchObject({
      code: 'ERR_SERVICE_REFUSED',
      status: 400,
      awsCode: 'ValidationException',
      requestId: 'c0ffee',
      message: `${HOST} answered 400 ValidationException: ${message.trim()} (request c0ffee)`,
      hint: expect.stringMatching(hint),
    });
  });
});

describe('an invalid signature and the clock', () => {
  const hintAt = (date: string): string | undefined => refused('Invalid signature', { date }).hint;
  const THEN = /; then check that the endpoint .* region and that no proxy changes requests$/;

  test.each<[date: string, hint: RegExp]>([
    ['Mon, 04 May 2026 13:00:00 GMT', /^set the clock of this machine: it is 3600 s behind the service;/],
    ['Mon, 04 May 2026 11:58:30 GMT', /^set the clock of this machine: it is 90 s ahead of the service;/],
    // A Date is cut off to whole seconds: the service's clock is up to one later.
    ['Mon, 04 May 2026 12:00:59 GMT', /^the clock is right: it agrees with the service's to within 60 s;/],
    ['Mon, 04 May 2026 12:00:05 GMT', /^the clock is right: it agrees with the service's to within 6 s;/],
    ['Mon, 04 May 2026 12:00:00 GMT', /^the clock is right: it agrees with the service's to within 1 s;/],
    ['Mon, 04 May 2026 11:59:57 GMT', /^the clock is right: it agrees with the service's to within 3 s;/],
    ['', /^check the clock of this machine;/],
    ['yesterday', /^check the clock of this machine;/],
  ])('the service says %p', (date, hint) => {
    expect(hintAt(date)).toMatch(hint);
    expect(hintAt(date)).toMatch(THEN);
  });

  test('the skew is that of the server', () => {
    expect(clockSkew(answer(403, '', { date: 'Mon, 04 May 2026 13:00:00 GMT' }), NOW)).toBe(3_600_000);
    expect(clockSkew(answer(403, '', { date: 'soon' }), NOW)).toBeUndefined();
  });
});

describe('the envelope', () => {
  const ANOTHER = { 'x-amzn-errortype': 'AnotherException' };

  test.each<[where: string, body: unknown, headers: Record<string, string>, awsCode: string]>([
    ['the header', {}, { 'x-amzn-errortype': 'ValidationException:http://internal/' }, 'ValidationException'],
    ['the header before the body', { code: 'ValidationException' }, ANOTHER, 'AnotherException'],
    ['the header of an empty body', '', ANOTHER, 'AnotherException'],
    ['code', { code: 'ValidationException' }, {}, 'ValidationException'],
    ['__type', { __type: 'com.amazonaws.rolesanywhere#ValidationException' }, {}, 'ValidationException'],
  ])('has its code in %s', (_where, body, headers, awsCode) => {
    expect(refusal(answer(400, body, headers), HOST, NOW)).toMatchObject({
      code: 'ERR_SERVICE_REFUSED',
      awsCode,
      message: `${HOST} answered 400 ${awsCode} (request c0ffee)`,
    });
  });

  test.each([
    'Client sent an HTTP request to an HTTPS server.\n',
    '<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>',
    "Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />",
  ])('of a port that wants TLS: %s', (body) => {
    expect(refusal(answer(400, body), HOST, NOW)).toMatchObject({
      code: 'ERR_SERVICE_ANSWER_INVALID',
      hint: 'begin the endpoint with https://: TLS is spoken at that port',
    });
    expect(refusal(answer(404, body), HOST, NOW).hint).toMatch(/^check the endpoint and any proxy/);
  });

  test('has its text in Message too, and may lack everything else', () => {
    const error = refusal({ status: 403, headers: {}, body: '{"Message":"Certificate revoked"}' }, HOST, NOW);
    expect(error).toMatchObject({ code: 'ERR_SERVICE_REFUSED', message: `${HOST} answered 403 Certificate revoked` });
    expect(error).toMatchObject({
      awsCode: undefined,
      requestId: undefined,
      hint: expect.stringContaining('revocation'),
    });
  });

  test('cannot drive a terminal', () => {
    const error = refusal(
      answer(
        400,
        { message: `\u001b[31mred\u001b[0m\r\n\u202etxt${'x'.repeat(9999)}` },
        { 'x-amzn-errortype': '\u009b31mCode', 'x-amzn-requestid': 'id\u0085' },
      ),
      HOST,
      NOW,
    );
    for (const text of [error.message, error.awsCode, error.requestId]) expect(text).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    expect(error.message.length).toBeLessThan(700);
  });
});

describe('other answers', () => {
  test.each<[what: string, status: number, body: unknown, headers: Record<string, string>, code: string]>([
    ['429', 429, { message: 'Too Many Requests' }, {}, 'ERR_SERVICE_THROTTLED'],
    ['a throttling code', 400, {}, { 'x-amzn-errortype': 'ThrottlingException' }, 'ERR_SERVICE_THROTTLED'],
    ['a throttling 503', 503, { __type: 'TooManyRequestsException' }, {}, 'ERR_SERVICE_THROTTLED'],
    ['500', 500, { message: 'Internal server error' }, {}, 'ERR_SERVICE_FAILED'],
    ['a 502 in HTML', 502, '<html>Bad Gateway</html>', {}, 'ERR_SERVICE_FAILED'],
    ['a 403 in HTML', 403, '<!DOCTYPE html><title>Corporate proxy</title>', {}, 'ERR_SERVICE_ANSWER_INVALID'],
    ['a 404 without a body', 404, '', {}, 'ERR_SERVICE_ANSWER_INVALID'],
    ['a redirect', 302, '', { location: 'https://login.example/' }, 'ERR_SERVICE_ANSWER_INVALID'],
    ['text', 400, 'no', { 'content-type': 'text/plain; charset=x' }, 'ERR_SERVICE_ANSWER_INVALID'],
    ['JSON of another kind', 403, [1], {}, 'ERR_SERVICE_ANSWER_INVALID'],
    ['null', 403, 'null', {}, 'ERR_SERVICE_ANSWER_INVALID'],
  ])('%s', (_what, status, body, headers, code) => {
    expect(refusal(answer(status, body, headers), HOST, NOW)).toMatchObject({ code, status, requestId: 'c0ffee' });
  });

  test('are named, not repeated', () => {
    const html = refusal(answer(403, ' <HTML>secret</HTML>'), HOST, NOW);
    expect(html.message).toBe(`${HOST} answered 403 with an HTML page (request c0ffee)`);
    const text = refusal(answer(403, 'secret', { 'content-type': 'text/plain; charset=x' }), HOST, NOW);
    expect(text.message).toBe(`${HOST} answered 403 with 6 characters of text/plain (request c0ffee)`);
    expect(text.hint).toMatch(/check the endpoint and any proxy/);
  });
});

test('a code made to be slow to read is read', () => {
  const code = `${':'.repeat(250_000)}\n`;
  expect(refusal(answer(403, { message: 'no', code }), HOST, NOW)).toMatchObject({ code: 'ERR_SERVICE_REFUSED' });
});
