import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { sized, u16, u32 } from '../../src/stores/tpm/bytes.ts';
import { ALG, CC, OBJECT } from '../../src/stores/tpm/constants.ts';
import { type KeyFile, readKeyFile } from '../../src/stores/tpm/key-file.ts';
import { pcrSelection, policiesOf } from '../../src/stores/tpm/policy.ts';
import { keyObjectOf, readPublicArea } from '../../src/stores/tpm/public-area.ts';
import { writeKeyFile } from '../../src/stores/tpm/write-key-file.ts';
import { thrownBy } from '../helpers/thrown.ts';

/** DER, as other programs write it: nothing of ours is in it. */
const der = (tag: number, ...parts: readonly Uint8Array[]): Buffer => {
  const value = Buffer.concat(parts);
  const length = value.length < 128 ? [value.length] : [0x82, value.length >> 8, value.length & 255];
  return Buffer.concat([Buffer.of(tag, ...length), value]);
};
const LOADABLE = Buffer.from('06066781050a0103', 'hex');
const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const jwk = publicKey.export({ format: 'jwk' });
const [x, y] = [jwk.x, jwk.y].map((one) => Buffer.from(one as string, 'base64url')) as [Buffer, Buffer];
const areaBytes = Buffer.concat([
  ...[ALG.ECC, ALG.SHA256].map(u16),
  u32(0x40472),
  sized(),
  ...[ALG.NULL, ALG.NULL, 3, ALG.NULL].map(u16),
  sized(x),
  sized(y),
]);
const area = readPublicArea(areaBytes);
const privateBytes = Buffer.alloc(120, 7);
const publicBlob = der(4, sized(areaBytes));
const privateBlob = der(4, sized(privateBytes));
const OWNER = der(2, Buffer.from('40000001', 'hex'));
const yes = der(0xa0, der(1, Buffer.of(0xff)));
const pem = (content: Buffer, label = 'TSS2 PRIVATE KEY'): string =>
  `-----BEGIN ${label}-----\n${content.toString('base64').replace(/.{64}/g, '$&\n')}\n-----END ${label}-----\n`;
const readIn = (text: string | Uint8Array): KeyFile => readKeyFile(Buffer.from(text as string), 'TPM key file k');
const refused = (text: string | Uint8Array): unknown => thrownBy(() => readIn(text));

describe('the dialects', () => {
  test.each([
    [
      'all that is usual',
      der(0x30, LOADABLE, yes, OWNER, publicBlob, privateBlob),
      { parent: 0x40000001, emptyAuth: true },
    ],
    ['no emptyAuth', der(0x30, LOADABLE, OWNER, publicBlob, privateBlob), { emptyAuth: undefined }],
    [
      'emptyAuth that is TRUE otherwise than in DER',
      der(0x30, LOADABLE, der(0xa0, der(1, Buffer.of(1))), OWNER, publicBlob, privateBlob),
      { emptyAuth: true },
    ],
    [
      'emptyAuth FALSE',
      der(0x30, LOADABLE, der(0xa0, der(1, Buffer.of(0))), OWNER, publicBlob, privateBlob),
      { emptyAuth: false },
    ],
    [
      'a persistent parent with a leading zero',
      der(0x30, LOADABLE, der(2, Buffer.from('0081000001', 'hex')), publicBlob, privateBlob),
      { parent: 0x81000001 },
    ],
    [
      'a persistent parent as a negative number',
      der(0x30, LOADABLE, der(2, Buffer.from('81000001', 'hex')), publicBlob, privateBlob),
      { parent: 0x81000001 },
    ],
    ['a parent of 0', der(0x30, LOADABLE, der(2, Buffer.of(0)), publicBlob, privateBlob), { parent: 0x40000001 }],
    [
      'a description and an RSA parent',
      der(
        0x30,
        LOADABLE,
        yes,
        der(0xa4, der(0x0c, Buffer.from('user@höst'))),
        der(0xa5, der(1, Buffer.of(0xff))),
        OWNER,
        publicBlob,
        privateBlob,
      ),
      { description: 'user@höst', rsaParent: true },
    ],
  ])('%s', (_, content, expected) => {
    const found = readIn(pem(content));
    expect(found).toMatchObject(expected);
    expect(found.privateBytes.equals(privateBytes)).toBe(true);
    expect(keyObjectOf(found.area).equals(publicKey)).toBe(true);
    expect(readIn(content)).toEqual(found);
    expect(readIn(`Bag Attributes\r\n${pem(content).replaceAll('\n', '\r\n')}-----BEGIN CERTIFICATE-----\n`)).toEqual(
      found,
    );
  });

  test('TSS2 KEY BLOB, of before 2018', () => {
    const old = Buffer.from('06056781050a02', 'hex');
    const parent = der(0xa1, der(2, Buffer.from('0081000001', 'hex')));
    const content = der(0x30, old, yes, parent, der(0xa2, publicBlob), privateBlob);
    expect(readIn(pem(content, 'TSS2 KEY BLOB'))).toMatchObject({ parent: 0x81000001, emptyAuth: true, policy: [] });
    const without = der(0x30, old, yes, der(0xa2, publicBlob), privateBlob);
    expect(readIn(pem(without, 'TSS2 KEY BLOB'))).toMatchObject({ parent: 0x40000001 });
  });

  test('a policy', () => {
    const selection = pcrSelection('sha256:0,7').bytes;
    const step = (code: number, parameters: Uint8Array): Buffer =>
      der(0x30, der(0xa0, der(2, u16(code))), der(0xa1, der(4, parameters)));
    const policy = der(0xa1, der(0x30, step(CC.PolicyPCR, selection), step(CC.PolicyAuthValue, Buffer.alloc(0))));
    const found = readIn(pem(der(0x30, LOADABLE, yes, policy, OWNER, publicBlob, privateBlob)));
    expect(found.policy).toEqual([
      { command: CC.PolicyPCR, parameters: selection },
      { command: CC.PolicyAuthValue, parameters: Buffer.alloc(0) },
    ]);
  });
});

describe('what is no such file', () => {
  test.each([
    ['nothing', '', 'ERR_KEY_INVALID', /no TPM key file/],
    [
      'another key',
      '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n',
      'ERR_KEY_INVALID',
      /holds a PRIVATE KEY/,
    ],
    ['PEM that is cut off', pem(der(0x30, LOADABLE)).slice(0, 50), 'ERR_KEY_INVALID', /PEM is damaged/],
    [
      'DER that is cut off',
      der(0x30, LOADABLE, OWNER, publicBlob, privateBlob).subarray(0, 60),
      'ERR_KEY_INVALID',
      /cut off/,
    ],
    ['another SEQUENCE', der(0x30, Buffer.from('0603550406', 'hex')), 'ERR_KEY_INVALID', /no kind/],
    [
      'a point that is on no curve',
      der(0x30, LOADABLE, OWNER, der(4, sized(Buffer.concat([areaBytes.subarray(0, -32), x]))), privateBlob),
      'ERR_KEY_INVALID',
      /public part is damaged/,
    ],
    ['no private part', pem(der(0x30, LOADABLE, OWNER, publicBlob)), 'ERR_KEY_INVALID', /missing/],
    [
      'a parent that is no handle',
      pem(der(0x30, LOADABLE, der(2, Buffer.alloc(9, 1)), publicBlob, privateBlob)),
      'ERR_KEY_INVALID',
      /parent/,
    ],
    [
      'an importable key',
      pem(der(0x30, Buffer.from('06066781050a0104', 'hex'), OWNER, publicBlob, privateBlob)),
      'ERR_KEY_UNSUPPORTED',
      /importable/,
    ],
    [
      'sealed data',
      pem(der(0x30, Buffer.from('06066781050a0105', 'hex'), OWNER, publicBlob, privateBlob)),
      'ERR_KEY_UNSUPPORTED',
      /sealed/,
    ],
    [
      'several policies',
      pem(der(0x30, LOADABLE, der(0xa3, der(0x30)), OWNER, publicBlob, privateBlob)),
      'ERR_KEY_UNSUPPORTED',
      /several policies/,
    ],
  ])('%s', (_, text, code, message) => {
    expect(refused(text)).toMatchObject({ code, message: expect.stringMatching(message) });
  });

  test('each octet that is missing, and each bit that is wrong: read or refused, never anything else', () => {
    const content = der(0x30, LOADABLE, yes, OWNER, publicBlob, privateBlob);
    const attempt = (bytes: Uint8Array): void => {
      try {
        readIn(bytes);
      } catch (error) {
        expect((error as { code?: string }).code).toMatch(/^ERR_KEY_(INVALID|UNSUPPORTED)$/);
      }
    };
    for (let length = 0; length < content.length; length += 1) attempt(content.subarray(0, length));
    for (let bit = 0; bit < content.length * 8; bit += 1) {
      const flipped = Buffer.from(content);
      flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
      attempt(flipped);
    }
  });
});

test.each([
  [0x160, 'TPM2_PolicySigned'],
  [0x171, 'TPM2_PolicyOR'],
  [0x151, 'TPM2_PolicySecret'],
  [0x7ff, 'TPM2_0x7ff'],
])('a step of a policy that cannot be done is named: %d', (command, name) => {
  const locked = { ...area, attributes: area.attributes & ~OBJECT.userWithAuth, authPolicy: Buffer.alloc(32) };
  const error = thrownBy(() => policiesOf(locked, [{ command, parameters: Buffer.alloc(0) }], undefined));
  expect(error).toMatchObject({
    code: 'ERR_KEY_UNSUPPORTED',
    message: expect.stringContaining(`cannot do yet: ${name}`),
  });
});

test.each([0x40000001, 0x40000007, 0x81000001])('what is written is read again, below %d', (parent) => {
  const policy = [{ command: CC.PolicyAuthValue, parameters: Buffer.alloc(0) }];
  const key = { area, privateBytes, parent, policy, description: 'mine', emptyAuth: false };
  const text = writeKeyFile(key);
  expect(readIn(text)).toEqual({ ...key, rsaParent: undefined });
  expect(text.split('\n').every((line) => line.length <= 64)).toBe(true);
  // tpm2-openssl 1.1.1 takes a file without the field for one without an authValue.
  expect(
    Buffer.from(text.replace(/-----[^-]+-----|\s/g, ''), 'base64').includes(Buffer.from('a003010100', 'hex')),
  ).toBe(true);
});

test('a SubjectPublicKeyInfo comes out of it', () => {
  const spki = keyObjectOf(area).export({ type: 'spki', format: 'der' });
  expect(createPublicKey({ key: spki, format: 'der', type: 'spki' }).equals(publicKey)).toBe(true);
});
