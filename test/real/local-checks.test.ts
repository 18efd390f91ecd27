import { describe, expect, test } from '@jest/globals';
import { type Call, startCall } from '../../src/local/call.ts';
import { CHECKS, runChecks } from '../../src/local/checks.ts';
import { Refusal } from '../../src/local/refusal.ts';
import { answerCall, createSession } from '../../src/local/session.ts';
import { createWorld, type World } from '../../src/local/world.ts';
import { CASES } from '../helpers/local-cases.ts';
import { CONTROLS } from '../helpers/local-controls.ts';
import { ARNS, type Case, ed25519, options, plan, repeatedExtension } from '../helpers/local-setup.ts';
import { type Plan, signRequest } from '../helpers/x509-request.ts';

const messageOf = (text: string): unknown => (JSON.parse(text) as { message?: unknown }).message;

const plain = createWorld(options());
const worldOf = (one: Pick<Case, 'options'>) => (one.options ? createWorld(options(one.options)) : plain);

async function judge(one: Pick<Case, 'options' | 'plan'>) {
  return createSession(signRequest(plan(one.plan)), await worldOf(one));
}

describe('what is in order is accepted', () => {
  test.each(CONTROLS)('$name', async (control) => {
    const { status, message, warnings } = await judge(control);
    expect({ status, message, warnings }).toEqual({ status: 201, message: undefined, warnings: [] });
  });
});

// Reading a certificate costs more than all checks together, so the request of each case is read once for all builds.
const PREPARED = CASES.map((one) => ({ ...one, call: startCall(signRequest(plan(one.plan))), world: worldOf(one) }));

describe('each rule refuses, in the words of the service', () => {
  test.each(PREPARED)('$check: $name', async (one) => {
    const { status, headers, body, message } = answerCall(one.call, await one.world);
    expect({ status, text: messageOf(body) }).toEqual({ status: one.status ?? 403, text: one.text });
    expect(message).toBe(one.text);
    expect(headers['X-Amzn-ErrorType']).toBe(one.status === 400 ? 'ValidationException' : 'AccessDeniedException');
    expect(headers['x-amzn-RequestId']).toMatch(/^[0-9a-f-]{36}$/);
  });

  test(`each of the ${CHECKS.length} checks has a case`, () => {
    expect([...new Set(CASES.map((one) => one.check))]).toEqual(CHECKS.map((check) => check.name));
  });
});

describe(`a build without one of the ${CHECKS.length} checks lets through the cases of that check and no other`, () => {
  const passes = (call: Call, world: World, leaveOut: string): boolean => {
    try {
      runChecks(call, world, [leaveOut]);
      return true;
    } catch (thrown) {
      if (thrown instanceof Refusal) return false;
      throw thrown;
    }
  };

  test.each(CHECKS.map((check) => check.name))('%s', async (left) => {
    const accepted: string[] = [];
    for (const { name, call, world } of PREPARED) if (passes(call, await world, left)) accepted.push(name);
    expect(accepted).toEqual(CASES.filter((one) => one.check === left).map((one) => one.name));
    const first = PREPARED.find(({ name }) => name === accepted[0]) as (typeof PREPARED)[number];
    expect(answerCall(first.call, await first.world, [left])).toMatchObject({ status: 201 });
  });
});

describe('what cannot be read', () => {
  const valid = signRequest(plan());
  const authorization = valid.headers.find(([name]) => name === 'Authorization')?.[1] ?? '';
  const withHeader = (header: string, value: string | undefined) => ({
    ...valid,
    headers: valid.headers
      .map(([name, was]) => [name, name === header ? value : was] as const)
      .filter((entry): entry is [string, string] => entry[1] !== undefined),
  });
  const INSUFFICIENT = 'Untrusted certificate. Insufficient certificate';
  const signed = (more: Partial<Plan>) => signRequest(plan(more));
  const base64 = Buffer.from('certificate').toString('base64');

  test.each([
    ['no leaf', 403, INSUFFICIENT, withHeader('X-Amz-X509', undefined)],
    ['a leaf in hex', 403, INSUFFICIENT, signed({ headers: { 'X-Amz-X509': '3082abc' } })],
    ['a leaf in PEM', 403, INSUFFICIENT, signed({ headers: { 'X-Amz-X509': `-----BEGIN CERTIFICATE-----${base64}` } })],
    ['a leaf that is none', 403, INSUFFICIENT, signed({ headers: { 'X-Amz-X509': base64 } })],
    ['a leaf with an Ed25519 key', 403, INSUFFICIENT, signed({ identity: ed25519(), sign: () => Buffer.alloc(64) })],
    ['a leaf with an extension twice', 403, INSUFFICIENT, signed({ identity: repeatedExtension })],
    ['a chain that is none', 403, 'Untrusted signing certificate', signed({ headers: { 'X-Amz-X509-Chain': base64 } })],
    ['an empty chain', 403, 'Untrusted signing certificate', signed({ headers: { 'X-Amz-X509-Chain': '' } })],
    ['no Authorization', 403, 'Invalid signature', withHeader('Authorization', undefined)],
    ['no signature', 403, 'Invalid signature', withHeader('Authorization', authorization.replace(/, Signature.*/, ''))],
    ['half a byte more', 403, 'Invalid signature', withHeader('Authorization', `${authorization}0`)],
    [
      'upper-case hex',
      403,
      'Invalid signature',
      withHeader(
        'Authorization',
        authorization.replace(/[0-9a-f]+$/, (hex) => hex.toUpperCase()),
      ),
    ],
    [
      'no space after the comma',
      403,
      'Invalid signature',
      withHeader('Authorization', authorization.replaceAll(', ', ',')),
    ],
    [
      'header names out of order',
      403,
      'Invalid signature',
      withHeader('Authorization', authorization.replace('content-type;host', 'host;content-type')),
    ],
    [
      'a header name twice',
      403,
      'Invalid signature',
      withHeader('Authorization', authorization.replace('host', 'host;host')),
    ],
    [
      'a signed header that did not come',
      403,
      'Invalid signature',
      withHeader('Authorization', authorization.replace('host', 'host;range')),
    ],
    ['headers signed in the wrong order', 403, 'Invalid signature', signed({ reversed: true })],
    ['no X-Amz-Date', 403, 'Invalid signature', withHeader('X-Amz-Date', undefined)],
    ['a date of another form', 403, 'Invalid signature', withHeader('X-Amz-Date', '2026-06-15T12:00:00Z')],
    ['the thirteenth month', 403, 'Invalid signature', withHeader('X-Amz-Date', '20261315T120000Z')],
    ['a body that is no JSON', 400, 'The request body is not a JSON object.', signed({ body: '<xml/>' })],
    [
      'a body that is no UTF-8',
      400,
      'The request body is not a JSON object.',
      { ...valid, body: Buffer.from('{"a":"\xff"}', 'latin1') },
    ],
    ['a body that is a list', 400, 'The request body is not a JSON object.', signed({ body: [] })],
    ['a body that is null', 400, 'The request body is not a JSON object.', signed({ body: null })],
    ['a number as ARN', 400, 'profileArn must be a string.', signed({ body: { profileArn: 1 } })],
    [
      'a string as duration',
      400,
      'durationSeconds must be a whole number.',
      signed({ body: { durationSeconds: '900' } }),
    ],
    ['half a second', 400, 'durationSeconds must be a whole number.', signed({ body: { durationSeconds: 900.5 } })],
    [
      'a query that is not percent-encoded',
      400,
      'The query string is not percent-encoded.',
      { ...valid, target: '/sessions?a=%zz' },
    ],
    ...(['profileArn', 'roleArn', 'trustAnchorArn'] as const).map((member) => {
      const text = `1 validation error detected: Value null at '${member}' failed to satisfy constraint: Member must not be null`;
      return [`no ${member}`, 400, text, signed({ body: { ...ARNS, [member]: undefined } })] as const;
    }),
  ])('%s', async (_name, status, text, request) => {
    const answer = createSession(request, await plain);
    expect({ status: answer.status, text: messageOf(answer.body) }).toEqual({ status, text });
  });
});

describe('a lenient service', () => {
  test.each([
    ['a header that is not signed', { unsigned: ['content-type', 'host'] }, ['not signed: content-type, host']],
    [
      'the token of another algorithm',
      { algorithm: 'AWS4-X509-MD5' },
      ['algorithm AWS4-X509-MD5 does not fit the key'],
    ],
  ])('notes %s', async (_name, more, warnings) => {
    const answer = await judge({ options: { signedHeaders: 'warn' }, plan: more });
    expect({ status: answer.status, warnings: answer.warnings }).toEqual({ status: 201, warnings });
  });

  test('still wants a signature', async () => {
    const answer = await judge({ options: { signedHeaders: 'warn' }, plan: { signedHost: 'elsewhere' } });
    expect(answer.message).toBe('Invalid signature');
  });
});
