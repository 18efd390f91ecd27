import { generateKeyPairSync, type KeyObject, randomBytes, sign, verify } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  algorithmOf,
  ecdsaSignatureFromDer,
  ecdsaSignatureToDer,
  hasCaFlag,
  KEY_USAGE_DIGITAL_SIGNATURE,
  keyUsageOf,
  publicKeyOf,
  read,
} from '../../src/der.ts';
import { makeCertificate, type Recipe } from '../helpers/certificate-maker.ts';

const hex = (digits: string): Buffer => Buffer.from(digits.replaceAll(' ', ''), 'hex');
const CURVES: [string, number][] = [
  ['P-256', 32],
  ['P-384', 48],
  ['P-521', 66],
];

describe.each(CURVES)('Ecdsa-Sig-Value of %s', (namedCurve, size) => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve });
  const verifies = (message: Buffer, signature: Uint8Array, dsaEncoding: 'der' | 'ieee-p1363'): boolean =>
    verify('sha256', message, { key: publicKey, dsaEncoding }, signature);

  test('is what OpenSSL takes and gives', () => {
    for (let round = 0; round < 50; round += 1) {
      const message = randomBytes(20);
      const raw = sign('sha256', message, { key: privateKey, dsaEncoding: 'ieee-p1363' });
      expect(verifies(message, ecdsaSignatureToDer(raw), 'der')).toBe(true);
      const der = sign('sha256', message, privateKey);
      expect(verifies(message, ecdsaSignatureFromDer(der, size) as Uint8Array, 'ieee-p1363')).toBe(true);
    }
  });

  test('there and back, with any number of leading zeros', () => {
    const integer = fc
      .tuple(fc.integer({ min: 0, max: size }), fc.uint8Array({ minLength: size, maxLength: size }))
      .map(([zeros, bytes]) => bytes.fill(0, 0, zeros));
    fc.assert(
      fc.property(integer, integer, (r, s) => {
        const raw = Buffer.concat([r, s]);
        expect(ecdsaSignatureFromDer(ecdsaSignatureToDer(raw), size)).toEqual(raw);
      }),
      { numRuns: 300 },
    );
  });
});

describe('Ecdsa-Sig-Value', () => {
  test.each([
    ['7f 01', '30 06 02 01 7f 02 01 01'],
    ['80 01', '30 07 02 02 00 80 02 01 01'],
    ['0000 0000', '30 06 02 01 00 02 01 00'],
    ['0000ff 000001', '30 07 02 02 00 ff 02 01 01'],
  ])('%s is %s', (raw, der) => {
    expect(ecdsaSignatureToDer(hex(raw))).toEqual(hex(der));
    expect(ecdsaSignatureFromDer(hex(der), hex(raw).length / 2)).toEqual(hex(raw));
  });

  test('has a long length from 128 octets on', () => {
    expect(ecdsaSignatureToDer(Buffer.alloc(132, 0x7f)).subarray(0, 5)).toEqual(hex('30 8188 02 42'));
  });

  test.each([
    ['nothing', ''],
    ['no sequence', '31 06 02 01 01 02 01 01'],
    ['one integer', '30 03 02 01 01'],
    ['three integers', '30 09 02 01 01 02 01 01 02 01 01'],
    ['no integers', '30 06 04 01 01 04 01 01'],
    ['cut short', '30 06 02 01 01 02 01'],
    ['octets behind the sequence', '30 06 02 01 01 02 01 01 00'],
    ['octets behind the integers', '30 07 02 01 01 02 01 01 99'],
    ['an empty integer', '30 05 02 00 02 01 01'],
    ['a negative integer', '30 06 02 01 80 02 01 01'],
    ['a needless zero', '30 07 02 02 00 01 02 01 01'],
    ['too large an integer', '30 07 02 02 01 01 02 01 01'],
    ['an indefinite length', '30 80 02 01 01 02 01 01 00 00'],
    ['a length of five octets', '30 85 00 00 00 00 06 02 01 01 02 01 01'],
  ])('is not: %s', (_, der) => {
    expect(ecdsaSignatureFromDer(hex(der), 1)).toBeUndefined();
  });
});

describe('read', () => {
  test.each([
    ['04 00', 0],
    ['04 01 aa', 1],
    [`04 81 80 ${'00'.repeat(128)}`, 128],
    [`04 82 01 00 ${'00'.repeat(256)}`, 256],
    [`04 84 00 00 00 01 aa`, 1],
  ])('%.20s', (data, length) => {
    expect(read(hex(`ff${data}`), 1)).toMatchObject({ tag: 4, end: hex(data).length + 1 });
    expect(read(hex(data))?.value).toHaveLength(length);
  });

  test.each(['', '04', '04 01', '04 81', '04 82 01', '04 84 ff ff ff ff', '04 80 00 00', '04 85 00 00 00 00 00'])(
    'nothing from "%s"',
    (data) => {
      expect(read(hex(data))).toBeUndefined();
    },
  );

  test('never reads beyond its input, whatever it is', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 12 }), (data) => {
        const found = read(data);
        expect(found?.end ?? 0).toBeLessThanOrEqual(data.length);
        keyUsageOf(data);
        ecdsaSignatureFromDer(data, 4);
      }),
      { numRuns: 1000 },
    );
  });
});

describe('of a certificate', () => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const certificate = (recipe: Partial<Recipe>): Buffer =>
    makeCertificate({ subject: 'a', issuer: 'b', publicKey: publicKey as KeyObject, issuerKey: privateKey, ...recipe });

  test.each([
    ['digitalSignature', { ca: false, keyUsage: 0x80 }, 0x80],
    ['keyCertSign and cRLSign', { ca: true, keyUsage: 0x06 }, 0x06],
    ['none of the bits', { keyUsage: 0 }, 0],
    ['no such extension', { ca: false }, undefined],
    ['no extension at all', {}, undefined],
    ['version 1', { version: 1 as const }, undefined],
  ])('key usage: %s', (_, recipe, bits) => {
    expect(keyUsageOf(certificate(recipe))).toBe(bits);
  });

  test('an extension without content counts as no usage, not as no extension', () => {
    const der = certificate({ keyUsage: 0x80 });
    // The BIT STRING (03 02 00 80) becomes one without bits (03 01 00), followed by something else.
    der.set([0x03, 0x01, 0x00, 0x05], der.indexOf(hex('03020080')));
    expect(keyUsageOf(der)).toBe(0);
    expect(KEY_USAGE_DIGITAL_SIGNATURE).toBe(0x80);
  });

  test.each([
    ['true', { ca: true }, true],
    ['true, although the key usage says otherwise', { ca: true, keyUsage: 0x80 }, true],
    ['true, with a path length', { ca: true, pathLength: 0 }, true],
    ['false', { ca: false }, false],
    ['a path length and no flag', { ca: false, pathLength: 1 }, false],
    ['no such extension', { keyUsage: 0x04 }, false],
  ])('CA flag: %s', (_, recipe, flag) => {
    expect(hasCaFlag(certificate(recipe))).toBe(flag);
  });

  test('CA flag: false, written out', () => {
    const der = certificate({ ca: true });
    der.set([0x00], der.indexOf(hex('30030101ff')) + 4);
    expect(hasCaFlag(der)).toBe(false);
  });

  test.each([1, 3] as const)('public key: version %d', (version) => {
    const found = publicKeyOf(certificate({ version }));
    expect(Buffer.from(found).toString('hex')).toBe(publicKey.export({ type: 'spki', format: 'der' }).toString('hex'));
    expect(algorithmOf(found)).toBe('2a8648ce3d0201');
  });

  test.each(['', '30', '3000', '30023000', 'ffff', '30043002a000'])('what is no certificate has none: "%s"', (data) => {
    expect([keyUsageOf(hex(data)), hasCaFlag(hex(data))]).toEqual([undefined, false]);
    expect(publicKeyOf(hex(data))).toHaveLength(0);
    expect(algorithmOf(hex(data))).toBeUndefined();
  });

  test('nothing in it makes the reader fail', () => {
    const der = certificate({ ca: false, keyUsage: 0x80 });
    fc.assert(
      fc.property(fc.nat(der.length - 1), fc.nat(255), fc.nat(der.length), (at, octet, end) => {
        const bad = Buffer.from(der);
        bad[at] = octet;
        algorithmOf(publicKeyOf(bad.subarray(0, end)));
        algorithmOf(publicKeyOf(bad));
        hasCaFlag(bad);
      }),
      { numRuns: 1000 },
    );
  });
});
