import type { KeyObject } from 'node:crypto';
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { HoldfastError } from '../../src/errors.ts';
import { openKeyBytes } from '../../src/stores/file/index.ts';
import { canaries } from '../helpers/canaries.ts';
import { makeIdentity } from '../helpers/certificates.ts';
import { ecKey, pemOf, rsaKey } from '../helpers/key-files.ts';

const PASSPHRASE = canaries.passphrase;

const [rsa, ec] = [rsaKey(1024), ecKey()];
const encryption = { cipher: 'aes-128-cbc', passphrase: PASSPHRASE };
const exported = (key: KeyObject, options: object): Buffer =>
  Buffer.from(key.export(options as { type: 'pkcs8'; format: 'der' }));

/** One key in every form that is read: label and DER. */
const DERS: readonly (readonly [string, Buffer])[] = [
  ['RSA PRIVATE KEY', exported(rsa, { type: 'pkcs1', format: 'der' })],
  ['EC PRIVATE KEY', exported(ec, { type: 'sec1', format: 'der' })],
  ['PRIVATE KEY', exported(rsa, { type: 'pkcs8', format: 'der' })],
  ['PRIVATE KEY', exported(ec, { type: 'pkcs8', format: 'der' })],
  ['ENCRYPTED PRIVATE KEY', exported(rsa, { type: 'pkcs8', format: 'der', ...encryption })],
  ['ENCRYPTED PRIVATE KEY', exported(ec, { type: 'pkcs8', format: 'der', ...encryption })],
];

type Mutate = (data: Buffer) => Buffer;

/** A place in data of any length; half of them in its first tenth, where the structure is. */
const place = fc.tuple(fc.nat(9999), fc.boolean()).map(([fraction, early]) => fraction / (early ? 100_000 : 10_000));
const octets = (minLength: number, maxLength: number): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ minLength, maxLength });
/** How many octets go, and what comes in their place. */
const change = fc.oneof(
  { weight: 8, arbitrary: fc.tuple(fc.constant(1), octets(1, 1)) },
  { weight: 1, arbitrary: fc.tuple(fc.constant(0), octets(1, 20)) },
  { weight: 1, arbitrary: fc.tuple(fc.integer({ min: 1, max: 20 }), octets(0, 0)) },
  { weight: 1, arbitrary: fc.tuple(fc.constant(Number.POSITIVE_INFINITY), octets(0, 0)) },
);
const mutation = fc.tuple(place, change).map(([fraction, [removed, added]]): Mutate => {
  return (data) => {
    const at = Math.floor(fraction * data.length);
    return Buffer.concat([data.subarray(0, at), added, data.subarray(at + removed)]);
  };
});
const mutations: fc.Arbitrary<Mutate> = fc
  .array(mutation, { minLength: 1, maxLength: 2 })
  .map((list) => (data) => list.reduce((before, mutate) => mutate(before), data));

test('2,000 mutations of key files: each opens or is refused by an error of ours', async () => {
  const { pem, certificatePem } = await makeIdentity();
  const texts = [
    Buffer.from(`${certificatePem}${pem}`),
    exported(ec, { type: 'sec1', format: 'pem', ...encryption }),
    ...DERS.map(([label, der]) => Buffer.from(pemOf(label, der))),
  ];
  const file = fc.oneof(
    fc.tuple(fc.constantFrom(...DERS), mutations).map(([[, der], mutate]) => mutate(der)),
    fc
      .tuple(fc.constantFrom(...DERS), mutations)
      .map(([[label, der], mutate]) => Buffer.from(pemOf(label, mutate(der)))),
    fc.tuple(fc.constantFrom(...texts), mutations).map(([text, mutate]) => mutate(text)),
  );

  const codes = new Map<string, number>();
  const count = (code: string): unknown => codes.set(code, (codes.get(code) ?? 0) + 1);
  const property = fc.asyncProperty(file, async (data) => {
    try {
      const key = await openKeyBytes(data, { secret: PASSPHRASE });
      await key.sign(Buffer.from('message'));
      await key.close();
      count('opened');
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      expect(error.code).toMatch(/^ERR_(KEY_INVALID|KEY_UNSUPPORTED|KEY_AMBIGUOUS|SECRET_WRONG|SIGNING_FAILED)$/);
      count(error.code);
    }
  });
  await fc.assert(property, { numRuns: 2000 });
  // The mutations reach all the way: none of these could be missing from 2,000.
  for (const code of ['opened', 'ERR_KEY_INVALID', 'ERR_KEY_UNSUPPORTED', 'ERR_SECRET_WRONG']) {
    expect(codes.get(code) ?? 0).toBeGreaterThan(0);
  }
}, 60_000);
