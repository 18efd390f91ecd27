import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type LocalRolesAnywhere, startServer } from '../../src/local/server.ts';
import { INNOCENT } from '../helpers/local-innocent-cases.ts';
import { DIRECT, options, plan } from '../helpers/local-setup.ts';
import { TAMPERED } from '../helpers/local-tampered-cases.ts';
import { bytesOf, sendRaw, type Wire, wireOf } from '../helpers/raw-http.ts';
import { type Plan, signRequest } from '../helpers/x509-request.ts';

const ACCEPTED = { status: 201, text: '' };

let service: LocalRolesAnywhere;
let unverified: LocalRolesAnywhere;
beforeAll(async () => {
  service = await startServer(options());
  unverified = await startServer(options(), ['signature']);
});
afterAll(() => Promise.all([service.close(), unverified.close()]));

/** A request in order, freshly signed. */
const sound = (more: Partial<Plan> = {}): Wire =>
  wireOf(signRequest(plan({ identity: DIRECT, headers: { 'Amz-Sdk-Request': 'attempt=1; max=3' }, ...more })));

const send = (wire: Wire, to = service) => sendRaw(to.endpoint, bytesOf(wire));

describe(`${TAMPERED.length} changes on the wire, each refused beside the same request unchanged, which is accepted`, () => {
  test.each(TAMPERED)('$status $name', async ({ plan: more, change, status, text }) => {
    const control = sound(more);
    const changed = change(control);
    expect(bytesOf(changed).equals(bytesOf(control))).toBe(false);
    expect(await send(changed)).toEqual({ status, text });
    expect(await send(control)).toEqual(ACCEPTED);
  });
});

describe('changes on the wire that do not matter', () => {
  test.each(INNOCENT)('$name', async ({ plan: more, change }) => {
    const control = sound(more);
    const changed = change(control);
    expect(bytesOf(changed).equals(bytesOf(control))).toBe(false);
    expect(await send(changed)).toEqual(ACCEPTED);
  });
});

test('a build without the check of the signature lets through what only the signature tells, and nothing else', async () => {
  const passed: string[] = [];
  for (const { name, plan: more, change } of TAMPERED) {
    const { status } = await send(change(sound(more)), unverified);
    if (status === 201) passed.push(name);
  }
  expect(passed).toEqual(TAMPERED.filter((one) => one.isSignatureOnly).map(({ name }) => name));
});
