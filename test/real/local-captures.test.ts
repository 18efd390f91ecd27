// Two requests of another client, recorded in public: the service must accept them as they are, and not otherwise.
import { readFileSync } from 'node:fs';
import { beforeAll, expect } from '@jest/globals';
import { type Call, startCall } from '../../src/local/call.ts';
import { CHECKS, runChecks } from '../../src/local/checks.ts';
import { Refusal } from '../../src/local/refusal.ts';
import { createSession } from '../../src/local/session.ts';
import type { WireRequest } from '../../src/local/wire.ts';
import { createWorld, type World } from '../../src/local/world.ts';
import { testUnless } from '../helpers/exercised.ts';
import { CAPTURES } from '../not-exercised.mjs';

interface Capture {
  name: string;
  request: { method: string; path: string; query: string; headers: Record<string, string>; body: string };
}

const captureTest = await testUnless('captures');

// Who issued the recorded certificates is not public, so the path is the one thing that cannot be asked.
const LEFT_OUT = ['path-exists', 'path-signatures'];

let captures: readonly Capture[] = [];
let anchor = '';

beforeAll(async () => {
  try {
    ({ captures } = JSON.parse(readFileSync(CAPTURES, 'utf8')) as { captures: Capture[] });
  } catch {
    // Absent: the tests below are skipped.
  }
  const { authority } = await createWorld();
  const base64 = Buffer.from(authority.certificate).toString('base64');
  anchor = `-----BEGIN CERTIFICATE-----\n${base64}\n-----END CERTIFICATE-----\n`;
});

const wire = ({ request }: Capture): WireRequest => ({
  method: request.method,
  target: `${request.path}?${request.query}`,
  headers: Object.entries(request.headers),
  body: Buffer.from(request.body),
});

function worldOf({ request }: Capture): Promise<World> {
  const query = new URLSearchParams(request.query);
  const arn = (name: string) => query.get(name) ?? '';
  const [, , , region, accountId] = arn('trustAnchorArn').split(':') as [string, string, string, string, string];
  const date = (request.headers['x-amz-date'] ?? '').replace(/(....)(..)(..)T(..)(..)(..)Z/, '$1-$2-$3T$4:$5:$6Z');
  return createWorld({
    region,
    accountId,
    profileArn: arn('profileArn'),
    roleArn: arn('roleArn'),
    anchors: [{ arn: arn('trustAnchorArn'), pem: anchor }],
    now: () => new Date(date),
  });
}

const flip = (bytes: Uint8Array, index: number, bit: number): Buffer => {
  const copy = Buffer.from(bytes);
  copy[index] = (copy[index] ?? 0) ^ bit;
  return copy;
};

/** The request once for each byte of a field, with one bit of it turned over. */
function* changed(
  request: WireRequest,
  bit: number,
  stride: number,
): Generator<{ where: string; request: WireRequest }> {
  for (let index = 0; index < request.body.length; index++) {
    yield { where: `body ${index}`, request: { ...request, body: flip(request.body, index, bit) } };
  }
  for (let index = 0; index < request.target.length; index++) {
    const target = flip(Buffer.from(request.target), index, bit).toString('latin1');
    yield { where: `target ${index}`, request: { ...request, target } };
  }
  for (const [header, value] of request.headers) {
    for (let index = 0; index < value.length; index += value.length > 600 ? stride : 1) {
      const bad = flip(Buffer.from(value), index, bit).toString('latin1');
      const headers = request.headers.map(([name, was]) => [name, name === header ? bad : was] as const);
      yield { where: `${header} ${index}`, request: { ...request, headers } };
    }
  }
}

captureTest('the recorded requests are accepted', async () => {
  expect(captures).toHaveLength(2);
  for (const capture of captures) {
    const answer = createSession(wire(capture), await worldOf(capture), LEFT_OUT);
    expect({ name: capture.name, message: answer.message, status: answer.status }).toEqual({
      name: capture.name,
      message: undefined,
      status: 201,
    });
  }
});

captureTest('and without a path to the anchor they are not', async () => {
  for (const capture of captures) {
    expect(createSession(wire(capture), await worldOf(capture)).message).toBe('Untrusted signing certificate');
  }
});

// Bit 0 never turns a letter into its other case, so no change is one between %3A and %3a, which mean the same.
const refusalOf = (call: Call, world: World, leaveOut: readonly string[]): unknown => {
  try {
    runChecks(call, world, leaveOut);
    return undefined;
  } catch (thrown) {
    return thrown;
  }
};

captureTest('with any one byte changed they are refused, by the signature or the serial beside it', async () => {
  // Most changes would break another rule first, so that the signature is not put to the test.
  const others = CHECKS.map(({ name }) => name).filter((name) => name !== 'signature' && name !== 'credential-serial');
  for (const capture of captures) {
    const world = await worldOf(capture);
    expect(createSession(wire(capture), world, others).status).toBe(201);
    const { leaf } = startCall(wire(capture));
    const accepted: string[] = [];
    let tried = 0;
    for (const { where, request } of changed(wire(capture), 1, 13)) {
      tried++;
      // Reading a certificate is what takes time: where it is the same, it is read once.
      const call = startCall(request);
      const refusal = refusalOf(where.startsWith('x-amz-x509') ? call : { ...call, leaf }, world, others);
      if (refusal === undefined) accepted.push(where);
      else expect(refusal).toBeInstanceOf(Refusal);
    }
    expect(accepted).toEqual([]);
    expect(tried).toBeGreaterThan(500);
  }
});

captureTest('with another host, the bare host, or the hash of an empty body they are refused', async () => {
  for (const capture of captures) {
    const world = await worldOf(capture);
    const request = wire(capture);
    const withHost = (host: string) => ({
      ...request,
      headers: request.headers.map(([name, value]) => [name, name === 'host' ? host : value] as const),
    });
    for (const bad of [withHost('127.0.0.1'), withHost('localhost:8080'), { ...request, body: Buffer.alloc(0) }]) {
      expect(createSession(bad, world, LEFT_OUT).message).toBe('Invalid signature');
    }
  }
});
