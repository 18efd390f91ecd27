import { generateKeyPairSync, type KeyPairKeyObjectResult } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type Certificate, parseCertificate } from '../../src/certificate.ts';
import { buildChain, CHAIN_LIMIT, preference } from '../../src/chain.ts';
import { createAuthority } from '../../src/pki.ts';
import { DIGITAL_SIGNATURE, KEY_CERT_SIGN, makeCertificate, type Recipe } from '../helpers/certificate-maker.ts';
import { fromBase64, VECTORS } from '../helpers/vectors.ts';

const now = new Date('2026-06-01T00:00:00Z');

/** Keys by name, made when they are first wanted. These certificates have no key identifiers: names and signatures decide. */
const keys = new Map<string, KeyPairKeyObjectResult>();
function keyOf(name: string): KeyPairKeyObjectResult {
  const key = keys.get(name) ?? generateKeyPairSync('ec', { namedCurve: 'P-256' });
  keys.set(name, key);
  return key;
}

/** A certificate of `subject` by `issuer`; the keys are those of these names, unless others are named. */
function make(
  subject: string,
  issuer: string,
  recipe: Partial<Recipe> & { key?: string; by?: string } = {},
): Certificate {
  const { key = subject, by = issuer, ...rest } = recipe;
  const usage = subject === 'leaf' ? { ca: false, keyUsage: DIGITAL_SIGNATURE } : { ca: true, keyUsage: KEY_CERT_SIGN };
  const { publicKey, privateKey: issuerKey } = { publicKey: keyOf(key).publicKey, privateKey: keyOf(by).privateKey };
  return parseCertificate(makeCertificate({ subject, issuer, publicKey, issuerKey, ...usage, ...rest }));
}

/** A leaf under a line of intermediates under a root; the line is closest to the leaf first. */
function line(length: number): { leaf: Certificate; intermediates: Certificate[]; root: Certificate } {
  const names = ['leaf', ...Array.from({ length }, (_, at) => `CA ${at + 1}`), 'root'];
  const [leaf, ...intermediates] = names.slice(0, -1).map((name, at) => make(name, names[at + 1] as string));
  return { leaf: leaf as Certificate, intermediates, root: make('root', 'root') };
}

const subjects = (chain: readonly Certificate[]): string[] => chain.map(({ subject }) => subject);
const shuffled = <T>(list: readonly T[]): fc.Arbitrary<T[]> =>
  fc.shuffledSubarray([...list], { minLength: list.length, maxLength: list.length });

describe('a line of intermediates comes out in path order, whatever else is in the pool', () => {
  const strangers = [
    make('stranger', 'stranger root'),
    make('stranger root', 'stranger root'),
    make('leaf', 'stranger', { serial: '2', key: 'another leaf' }),
    make('CA 1', 'CA 2', { key: 'impostor' }), // the right names, another key
    make('CA 2', 'root', { key: 'impostor' }),
    make('CA 1', 'CA 2', { serial: '3', ca: false }), // right but for the CA flag
    make('CA 1', 'CA 2', { serial: '4', keyUsage: DIGITAL_SIGNATURE }), // and for the key usage
    make('CA 3', 'CA 4', { by: 'impostor', key: 'impostor' }),
  ];

  test.each([0, 1, 2, 3, 4, 5, 6])('%i of them', (length) => {
    const { leaf, intermediates, root } = line(length);
    const named = (chain: readonly Certificate[]): string[] => chain.map((one) => `${one.subject} ${one.serialNumber}`);
    const expected = named(intermediates.slice(0, CHAIN_LIMIT));
    const pool = [...intermediates, leaf, root, ...strangers, ...intermediates.slice(0, 2), leaf];
    fc.assert(
      fc.property(shuffled(pool), (shuffledPool) => {
        const chain = buildChain(leaf, shuffledPool, now);
        expect(named(chain)).toEqual(expected);
        expect(chain.every((one, at) => (chain[at - 1] ?? leaf).isIssuedBy(one))).toBe(true);
      }),
      { numRuns: 30 },
    );
  });
});

describe('what is missing ends the chain', () => {
  const { leaf, intermediates, root } = line(3);
  const [first, second, third] = intermediates as [Certificate, Certificate, Certificate];

  test.each([
    ['an empty pool', [], []],
    ['the first', [second, third, root], []],
    ['the second', [third, first, root], ['CN=CA 1']],
    ['the root, which is never sent', [third, first, second], ['CN=CA 1', 'CN=CA 2', 'CN=CA 3']],
  ])('%s', (_, pool, expected) => {
    expect(subjects(buildChain(leaf, pool, now))).toEqual(expected);
  });

  test('five at most: CHAIN_LIMIT', () => {
    expect(CHAIN_LIMIT).toBe(5);
  });

  test('a self-signed leaf has none', () => {
    const self = make('self', 'self', { ca: false });
    expect(buildChain(self, [self, make('self', 'self', { serial: '2' })], now)).toEqual([]);
  });
});

describe('several certificates of one issuer', () => {
  const leaf = make('leaf', 'CA');
  const date = (year: number): Date => new Date(Date.UTC(year, 0));
  const variant = (serial: string, from: number, to: number): Certificate =>
    make('CA', 'root', { serial, notBefore: date(from), notAfter: date(to) });
  const expired = variant('1', 2020, 2026);
  const early = variant('2', 2027, 2040);
  const valid = variant('5', 2025, 2030);
  const longer = variant('7', 2025, 2031);
  const longerTwin = variant('6', 2024, 2031);

  test.each([
    ['valid before expired', [expired, valid], '5'],
    ['valid before what is valid later', [early, valid], '5'],
    ['the one that lasts longer', [valid, longer], '7'],
    ['then the lowest serial number', [longer, longerTwin], '6'],
    ['expired rather than none', [expired], '1'],
    ['all of them', [expired, early, valid, longer, longerTwin], '6'],
  ])('%s', (_, pool, serial) => {
    fc.assert(
      fc.property(shuffled(pool), (shuffledPool) => {
        expect(buildChain(leaf, shuffledPool, now).map(({ serialNumber }) => serialNumber)).toEqual([serial]);
      }),
      { numRuns: 20 },
    );
  });

  test('the order is total: serial numbers beyond 2^53 too', () => {
    const large = make('CA', 'root', { serial: '20000000000001' });
    const larger = make('CA', 'root', { serial: '20000000000002' });
    expect([preference(large, larger, now), preference(larger, large, now), preference(large, large, now)]).toEqual([
      -1, 1, 0,
    ]);
  });
});

describe('cross-signed issuers', () => {
  const leaf = make('leaf', 'CA');
  const pool = [
    make('CA', 'new root', { serial: '1' }),
    make('new root', 'new root', { serial: '2', notAfter: new Date('2040-01-01T00:00:00Z') }),
    make('old root', 'old root', { serial: '3' }),
  ];
  const cross = make('new root', 'old root', { serial: '4' });
  const back = make('old root', 'new root', { serial: '5' });
  const stale = make('new root', 'old root', { serial: '6', notAfter: new Date('2026-05-31T00:00:00Z') });

  test.each([
    ['a root that another certifies is sent as that: the anchor may be the other one', [cross], ['1', '4']],
    ['but not when that is over and the root is not', [stale], ['1']],
    ['roots that certify each other are no endless way', [cross, back], ['1', '4', '5']],
  ])('%s', (_, more, expected) => {
    fc.assert(
      fc.property(shuffled([...pool, ...more]), (shuffledPool) => {
        expect(buildChain(leaf, shuffledPool, now).map(({ serialNumber }) => serialNumber)).toEqual(expected);
      }),
      { numRuns: 30 },
    );
  });

  test('without its root, an expired certificate is better than none', () => {
    expect(subjects(buildChain(leaf, [...pool.slice(0, 1), stale], now))).toEqual(['CN=CA', 'CN=new root']);
  });
});

describe('key identifiers', () => {
  test('an impostor with the name and the key identifier of the issuer is found out by the signature', async () => {
    const root = await createAuthority({ commonName: 'root' });
    const ca = await createAuthority({ commonName: 'CA', issuer: root });
    const other = await createAuthority({ commonName: 'CA', issuer: root });
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const spki = publicKey.export({ type: 'spki', format: 'der' });
    const leaf = parseCertificate(await ca.issue({ commonName: 'leaf', publicKey: spki }));
    const [issuer, stranger] = [parseCertificate(ca.certificate), parseCertificate(other.certificate)];

    // The subject key identifier: OCTET STRING of 20 octets behind the identifier of the extension, 2.5.29.14.
    const identifierAt = (der: Uint8Array): number => Buffer.from(der).indexOf('0603551d0e04160414', 'hex') + 9;
    const forged = Buffer.from(other.certificate);
    forged.set(ca.certificate.subarray(identifierAt(ca.certificate)).subarray(0, 20), identifierAt(forged));
    const impostor = parseCertificate(forged);

    expect(buildChain(leaf, [stranger, impostor, issuer], new Date())).toEqual([issuer]);
    expect(buildChain(leaf, [stranger, impostor], new Date())).toEqual([]);
  });

  test.each(Object.entries(VECTORS.identities))('chains made by OpenSSL: %s', (_, identity) => {
    const [leaf, ...chain] = [identity.certificate, ...identity.chain].map((der) => parseCertificate(fromBase64(der)));
    expect(buildChain(leaf as Certificate, [...chain].reverse(), now)).toEqual(chain);
  });
});
