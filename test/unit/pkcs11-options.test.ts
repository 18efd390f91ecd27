import { beforeEach, describe, expect, test } from '@jest/globals';
import { HoldfastError } from '../../src/errors.ts';
import type { SecretFunction } from '../../src/secret.ts';
import * as pkcs11 from '../../src/stores/pkcs11/index.ts';
import { registry } from '../../src/stores/pkcs11/modules.ts';
import type { OpenOptions } from '../../src/stores/store.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { failure } from '../stores/conformance.ts';

const uri = parseKeyUri('pkcs11:token=prod;object=web?module-path=/nowhere.so');
const boom = new Error('boom');
const thrower = (): never => {
  throw boom;
};
const withOrigin = (descriptor: PropertyDescriptor): SecretFunction =>
  Object.defineProperty(() => '1234', 'origin', { ...descriptor, configurable: true });

beforeEach(() => registry().failing.clear());

describe('options at the door of the PKCS#11 store', () => {
  test.each<[string, object]>([
    ['isolation', { isolation: 'foo' }],
    ['isolation', { isolation: true }],
    ['isolation', { isolation: '' }],
    ['childPath', { childPath: 5 }],
    ['deadline', { deadline: 'soon' }],
    ['now', { now: new Date() }],
    ['secret', { secret: 1234 }],
  ])('%s of a wrong type is refused by every function: %j', async (name, wrong) => {
    const options = { ...wrong, keyType: 'P-256' } as OpenOptions & { keyType: 'P-256' };
    const calls = [
      () => pkcs11.open(uri, options),
      () => pkcs11.readCertificates(uri, options),
      () => pkcs11.list(uri, options),
      () => pkcs11.create(uri, options),
      () => pkcs11.putCertificate(uri, [], options),
      () => pkcs11.removeCertificate(uri, options),
      () => pkcs11.retryPin(uri, options),
    ];
    for (const call of calls) {
      const error = await failure(call());
      expect([error.code, error.message]).toEqual(['ERR_OPTION_INVALID', expect.stringContaining(`"${name}"`)]);
    }
  });

  test('null counts as left out: a process of its own', async () => {
    const options = { isolation: null, secret: null } as unknown as OpenOptions;
    expect((await failure(pkcs11.open(uri, options))).code).toBe('ERR_CHILD_MISSING'); // there is none in src/
  });

  const NOWHERE = { isolation: 'child', childPath: '/nowhere.js' } as const;

  test.each<[string, () => unknown, unknown]>([
    ['a number', () => 5, undefined],
    ['no time', () => new Date(Number.NaN), undefined],
    ['an error', thrower, boom],
  ])('"now" that gives %s is refused', async (_, now, cause) => {
    const error = await failure(pkcs11.open(uri, { ...NOWHERE, now: now as () => Date }));
    expect(error).toMatchObject({ code: 'ERR_OPTION_INVALID', message: expect.stringContaining('"now"') });
    expect(error.cause).toBe(cause);
  });

  test.each<[string, PropertyDescriptor, unknown]>([
    ['a number', { value: 5 }, undefined],
    ['without a name', { value: { kind: 'file' } }, undefined],
    ['with a function for a name', { value: { kind: 'file', name: () => '/pin' } }, undefined],
    ['that throws', { get: thrower }, boom],
    ['whose name throws', { value: Object.defineProperty({ kind: 'file' }, 'name', { get: thrower }) }, boom],
  ])('an origin of the secret %s is refused, in place too', async (_, descriptor, cause) => {
    const secret = withOrigin(descriptor);
    for (const isolation of ['child', 'in-place'] as const) {
      const error = await failure(pkcs11.open(uri, { ...NOWHERE, isolation, secret }));
      expect(error).toMatchObject({ code: 'ERR_OPTION_INVALID', message: expect.stringContaining('"origin"') });
      expect(error.cause).toBe(cause);
    }
  });

  test.each([{ value: undefined }, { value: null }, { value: { kind: 'file', name: '/pin', more: () => '' } }])(
    'an origin that is left out, or has more than it needs, is one',
    async (descriptor) => {
      const error = await failure(pkcs11.open(uri, { ...NOWHERE, secret: withOrigin(descriptor) }));
      expect(error).toBeInstanceOf(HoldfastError);
      expect(error.code).toBe('ERR_CHILD_MISSING');
    },
  );
});
