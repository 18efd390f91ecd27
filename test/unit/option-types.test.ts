import { createPublicKey } from 'node:crypto';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { checkSession } from '../../src/check-session.ts';
import { withIdentity } from '../../src/identity.ts';
import { checkOptions } from '../../src/option-types.ts';
import { fromRolesAnywhere, getCredentials, type RolesAnywhereInit } from '../../src/provider.ts';
import { createSession } from '../../src/session.ts';
import { openKey } from '../../src/stores/index.ts';
import { makeIdentity, type TestIdentity } from '../helpers/certificates.ts';
import { ARNS } from '../helpers/create-session.ts';
import { ecKey } from '../helpers/key-files.ts';
import { everythingOf, rejectionOf, thrownBy } from '../helpers/thrown.ts';

const SECRET = 'S3cr3t';
const uri = new URL(`https://example.test/${SECRET}`);
const publicKey = createPublicKey(ecKey());
let own: TestIdentity;
beforeAll(async () => {
  own = await makeIdentity();
});

const WRONG: readonly (readonly [name: string, expected: string, values: readonly unknown[]])[] = [
  ...['trustAnchorArn', 'profileArn', 'roleArn', 'roleSessionName', 'region', 'endpoint', 'caBundle', 'purpose'].map(
    (name) => [name, 'a string', [1, true, {}, Buffer.from(SECRET), uri]] as const,
  ),
  ...['useFipsEndpoint', 'useDualstackEndpoint', 'strictFiles', 'allowCommands'].map(
    (name) => [name, 'true or false', [1, 'yes', {}]] as const,
  ),
  ...['durationSeconds', 'attempts'].map((name) => [name, 'a number', [SECRET, true, {}]] as const),
  ...['send', 'now', 'wait', 'notify'].map((name) => [name, 'a function', [1, SECRET, {}, new Date()]] as const),
  ['proxy', 'a string, false, or an object with url and origin', [true, 1, uri, null, { url: SECRET }]],
  ['signal', 'an AbortSignal', [true, SECRET, {}, new AbortController()]],
  ['key', 'a string or a parsed key URI', [1, true, uri, Buffer.from(SECRET), publicKey, []]],
  ['signer', 'an object with a function "sign"', [1, SECRET, true]],
  ['certificate', 'a string, a Uint8Array or a parsed key URI', [1, true, uri, publicKey, [], new ArrayBuffer(8)]],
  ['chain', 'a string, a Uint8Array or a parsed key URI', [1, true, uri, publicKey, []]],
  ['secret', 'a string, a Uint8Array or a function', [1234, {}, [SECRET]]],
  ['deadline', 'a number of milliseconds above 0', ['abc', SECRET, Number.NaN, -1, 0, new Date()]],
];
const SIGNER: typeof WRONG = [
  ['publicKey', 'a Uint8Array (DER)', [publicKey, SECRET, 1]],
  ['certificates', 'an array of Uint8Array (DER)', [SECRET, [SECRET], {}, 1]],
  ['attended', 'true or false', [1, SECRET]],
  ['description', 'a string', [1, {}]],
];
const flat = (table: typeof WRONG): [string, unknown, string][] =>
  table.flatMap(([name, expected, values]) =>
    values.map((value): [string, unknown, string] => [name, value, expected]),
  );

const sign = async (): Promise<Uint8Array> => Buffer.alloc(1);
const init = (more: object): RolesAnywhereInit => ({ ...ARNS, signer: { sign }, ...more });
const refused = (error: Error, what: string, expected: string): void => {
  expect(error).toMatchObject({ code: 'ERR_OPTION_INVALID', message: `${what} must be ${expected}` });
  expect(everythingOf(error as never).replaceAll(import.meta.url, '')).not.toMatch(/S3cr3t|83,51/);
};

describe('an option of the wrong type is refused by its name, at every door', () => {
  test.each(flat(WRONG))('%s: %p', async (name, value, expected) => {
    const given = init({ [name]: value });
    refused(
      thrownBy(() => fromRolesAnywhere(given)),
      `the option "${name}"`,
      expected,
    );
    refused(await rejectionOf(getCredentials(given)), `the option "${name}"`, expected);
    refused(await rejectionOf(withIdentity(given, async () => 0)), `the option "${name}"`, expected);
    refused(await rejectionOf(openKey('absent', given)), `the option "${name}"`, expected);
    refused(
      thrownBy(() => checkSession(given)),
      `the option "${name}"`,
      expected,
    );
    refused(await rejectionOf(createSession({} as never, given)), `the option "${name}"`, expected);
  });

  test.each(flat(SIGNER))('signer.%s: %p', (name, value, expected) => {
    const given = init({ signer: { sign, [name]: value } });
    refused(
      thrownBy(() => fromRolesAnywhere(given)),
      `the option "signer.${name}"`,
      expected,
    );
  });

  test.each([[undefined], [null], ['S3cr3t'], [1]])('no options: %p', async (given) => {
    refused(
      thrownBy(() => fromRolesAnywhere(given as never)),
      'the options',
      'an object',
    );
    refused(await rejectionOf(getCredentials(given as never)), 'the options', 'an object');
    refused(await rejectionOf(withIdentity(given as never, async () => 0)), 'the options', 'an object');
  });

  test.each([[undefined], [null], [1], [uri], [Buffer.from(SECRET)]])('no key URI: %p', async (given) => {
    refused(await rejectionOf(openKey(given as never)), 'the key URI', 'a string or a parsed key URI');
  });
});

describe('an option that no door knows is refused at every door', () => {
  const doors: readonly (readonly [string, (given: RolesAnywhereInit) => Promise<Error>])[] = [
    ['fromRolesAnywhere', async (given) => thrownBy(() => fromRolesAnywhere(given))],
    ['getCredentials', (given) => rejectionOf(getCredentials(given))],
    ['withIdentity', (given) => rejectionOf(withIdentity(given, async () => 0))],
    ['openKey', (given) => rejectionOf(openKey('absent', given))],
    ['checkSession', async (given) => thrownBy(() => checkSession(given))],
    ['createSession', (given) => rejectionOf(createSession({} as never, given))],
  ];
  test.each(doors)('%s', async (_, refusalOf) => {
    expect(await refusalOf(init({ roleARN: SECRET }))).toMatchObject({
      code: 'ERR_OPTION_INVALID',
      message: 'there is no option "roleARN"',
      hint: 'did you mean "roleArn"?',
    });
  });

  test.each([
    ['intermediates', 'chain'],
    ['maxAttempts', 'attempts'],
    ['privateKey', 'key'],
    ['sessionDuration', 'durationSeconds'],
    ['pin', 'secret'],
    ['durationSecond', 'durationSeconds'],
    ['useDualStackEndpoint', 'useDualstackEndpoint'],
    ['useFIPSEndpoint', 'useFipsEndpoint'],
  ])('%s: did you mean %s?', (name, meant) => {
    const error = thrownBy(() => checkOptions({ [name]: SECRET }));
    expect(error).toMatchObject({ message: `there is no option "${name}"`, hint: `did you mean "${meant}"?` });
    expect(everythingOf(error as never)).not.toContain(SECRET);
  });

  test('one that is near to nothing gets the list, and is not repeated where it is no name', () => {
    expect(thrownBy(() => checkOptions({ clientConfig: {} })).hint).toMatch(/^there are trustAnchorArn, .*childPath$/);
    expect(thrownBy(() => checkOptions({ 'my S3cr3t': 1 })).message).toBe('there is an option of a name that is none');
  });

  test('left out, as undefined and null are, it does nothing', () => {
    expect(checkOptions({ maxAttempts: undefined, intermediates: null, attempts: 2 })).toMatchObject({ attempts: 2 });
  });

  test('what an SDK passes to the provider itself is no option', async () => {
    const provider = fromRolesAnywhere(init({ signer: { sign: () => Promise.reject(new Error('asked')) } }));
    const asked = provider({ callerClientConfig: { region: 'x' } } as never);
    expect(await rejectionOf(asked)).not.toMatchObject({ code: 'ERR_OPTION_INVALID' });
    await provider.close();
  });
});

test('an inherited option counts', () => {
  const options = Object.assign(Object.create({ strictFiles: true, attempts: 2 }), { region: 'eu-west-1' });
  expect(checkOptions(options)).toEqual({ strictFiles: true, attempts: 2, region: 'eu-west-1' });
  expect(() => checkOptions(Object.create({ intermediates: 'x' }))).toThrow('intermediates');
});

test('half a key URI is none', () => {
  const key = { scheme: 'file', location: 'x', path: new Map() };
  expect(() => checkOptions({ key })).toThrow('must be a string or a parsed key URI');
});

describe('null', () => {
  const others = WRONG.map(([name]) => name).filter((name) => name !== 'proxy'); // may mean none: the table refuses it
  test.each(others)('counts as left out: %s', (name) => {
    expect(checkOptions({ [name]: null, proxy: false })).toEqual({ proxy: false });
  });

  test('in every place where nothing must stand', async () => {
    const nothing = { key: null, chain: null, caBundle: null, deadline: null, roleSessionName: null, secret: null };
    const signer = { sign, certificates: null, publicKey: null, attended: null, description: null };
    const given = { ...ARNS, ...nothing, signer, certificate: own.certificate } as never;
    fromRolesAnywhere(given);
    checkSession(given);
    const identity = await withIdentity(given, async (opened) => opened);
    expect(identity).toMatchObject({ matched: false, attended: false, description: 'a signer of the caller' });
  });
});
