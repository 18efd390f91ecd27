import { createECDH, generateKeyPairSync, privateDecrypt, randomBytes } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { padded, readerOf, sized, u16, u32, withoutEndingZeros } from '../../src/stores/tpm/bytes.ts';
import { ALG } from '../../src/stores/tpm/constants.ts';
import { type Hash, hashOf, kdfa, kdfe } from '../../src/stores/tpm/hashes.ts';
import { nameOfArea, readPublicArea } from '../../src/stores/tpm/public-area.ts';
import { makeSalt } from '../../src/stores/tpm/salt.ts';

const bytes = (hex: string): Buffer => Buffer.from(hex, 'hex');
const hash = (algorithm: number): Hash => hashOf(algorithm) as Hash;

// From the published test vectors of google/go-tpm (tpm2/test/testvectors), those of whole octets.
describe('KDFa', () => {
  test.each([
    [
      ALG.SHA1,
      'f33e8c7d0efe0f',
      'CFB',
      '002ba8440f2e389a7a086726c47b2bc332a0',
      'fb4746f1b68c0f75174fa7',
      400,
      '6e5d4c0212cb1f908c0aa34c91f74b3bf429eab89f0b532b1cc7f34f240ee100c63e0b4cf5bb0017e178ef8902a5bf18a3fd',
    ],
    [
      ALG.SHA1,
      'ff9af522feced768e90933b774c6fb35f6086054',
      'IDENTITY',
      '2a2c2392200800',
      '',
      512,
      '04384a8ae06d793d28c402c088c29185fb6de2bb3227df9a604edf7beb2f29b46ff5aa66150ffcfb5d6d9130db5bc59d644c0d6259d111ed8fe8b81547d07bfe',
    ],
    [
      ALG.SHA256,
      '',
      'SECRET',
      'fbf51f160255018bbc8efea4c36ac4fb4cbba34e9eff',
      '3cea0fdc2600',
      200,
      'a26c73dca13a265e09eec4b0abc4ecb2bf8d26db04e8823ee6',
    ],
    [
      ALG.SHA256,
      'e38573d849a5cfc9973f58b4535e42b7c08ef28b1b3e775375b5c66b9644be',
      'STORAGE',
      '00586dccbebc998087e4',
      '',
      552,
      '968f349b066ed26be3bd4e78333eb5c5b51c26ea376efe5dfaf061a2cf7f5eb82e4fcc2a30736e30f12b48ab17efd10576a4cf33450324b3f20011628df7a07c411f8c0f6c',
    ],
  ])('hash %#', (algorithm, key, label, contextU, contextV, bits, result) => {
    expect(kdfa(hash(algorithm), bytes(key), label, bytes(contextU), bytes(contextV), bits).toString('hex')).toBe(
      result,
    );
  });
});

describe('KDFe', () => {
  test.each([
    [
      ALG.SHA1,
      'fffaefd2dcf59ac10ffee96d388ecc7fa0274b25',
      'INTEGRITY',
      'ff7876ca3325140c1739',
      'ffdaea80b8',
      320,
      '39bde917d4529cfb171ebb49c8aa83777481f50cf0df162c3f12b9c8ab21ddcbed2e8a8b688c8b66',
    ],
    [
      ALG.SHA1,
      '69',
      'SECRET',
      'c8892d83e51bcf3164c6b32c47',
      '0080adc707de8aaf7726f6dd4946406ea42f9d',
      576,
      'a7f5347219e2ea2ef0f46abf91865104a948eacd402b1d7ae48dde7ab1515e43e0b2d3006d9127d849c012e95191cfc77d829225967e0f49eba285abac2546ed1818383e7af21629',
    ],
    [
      ALG.SHA256,
      '6cbfdee9e66367b676',
      'STORAGE',
      'c303fe79ff',
      '79e34519a8a32f13d400',
      728,
      'e59560660988b3d66e3a76bcc96110cc199bfa0418dca315f7070619e04fa0b6cdb2912db3786aaa34f2cad7dcee560eed2b4c3f7566e533e4a3bba9c9364397dd2ce45a0b85dde5c83fea27b4fb20bb0125346d24e5d9321f81b2',
    ],
  ])('hash %#', (algorithm, z, label, partyU, partyV, bits, result) => {
    expect(kdfe(hash(algorithm), bytes(z), label, bytes(partyU), bytes(partyV), bits).toString('hex')).toBe(result);
  });
});

describe('salts', () => {
  // 04_R_P256_SHA256_128 and 09_R_P256_SHA384_128 of the same: the salt that an ephemeral key leads to.
  test.each([
    [
      '5cea796303c5b3aba6c42334c0211c2b3ae62397740e97c9c3ade39756f4a71d',
      '0023000b000304600020bef56b8c1cc84e11edd717528d2cd99356bd2bbf8f015209c3f84aeeaba8e8a20006008000430010000300100020f126562cedff2fa344c6234085de4250112ecf72d0714336970de012ba977da9002017436ee1160921fdd2ed033e11ba04ed0cedf2ca462246118a359f8eb469b531',
      'cabb2edd36e5253664b558de2ddf8ac9deea99168ab0edb6c2d06a1d90c62c4e',
      '0020544e4be9da6b7060a90307ed83cad6a9b45502f9e400bf0c3cb99f9a1dbe733b0020f1186daa24d1e57d0dc7b6700d2693068c6a5cef84c57fa7cbe5c04950b024f3',
    ],
    [
      '8b845b9c3f689db08afcfc04cb81ac1fce910d64380db205ae2b8f53cfee13a3',
      '0023000c000304600030faaa97a96648cf3028b4c29e62587317ed03d3bef5f50958523c21593b020a2fa177964893ca758b26f0a5f16d0d0c1c000600800043001000030010002072d51078654c85db5fd8fe42e9eca7dff3f5ca464fbf1117370e47da8670da8d0020d4d7f00a210e4c58537829023e2bc5be7c910a663e461d3d69c96b8061f813f2',
      '0866f41d209a627d5d9503e9f92e88a7c80afcf4cada01d46a36eef5185a0337223a833c2b51440986764b097982581d',
      '0020b9f4d42982bf9dfb99f231ce461f3d4ba0efc0c703810c9cfe2503047a0f187000204c4d58a4871503efcb2078daa5570c28c9c1d8d9fb8d13549628268b283d31cb',
    ],
  ])('P-256 %#', (ephemeral, publicArea, secret, ciphertext) => {
    const area = readPublicArea(bytes(publicArea));
    const key = { handle: 0x80000000, area, name: nameOfArea(area) };
    const ours = createECDH('prime256v1');
    ours.setPrivateKey(bytes(ephemeral));
    const salt = makeSalt(key, randomBytes, () => ours);
    expect(salt.bytes.toString('hex')).toBe(secret);
    expect(salt.encrypted.toString('hex')).toBe(ciphertext);
  });

  test('RSA-2048: the holder of the key decrypts it', () => {
    const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const n = Buffer.from(publicKey.export({ format: 'jwk' }).n as string, 'base64url');
    const head = [ALG.RSA, ALG.SHA256].map(u16);
    const aes = [ALG.AES, 128, ALG.CFB, ALG.NULL, 2048].map(u16);
    const area = readPublicArea(Buffer.concat([...head, u32(0x30472), sized(), ...aes, u32(0), sized(n)]));
    const salt = makeSalt({ handle: 0x80000000, area, name: nameOfArea(area) }, randomBytes);
    const options = { key: privateKey, oaepHash: 'sha256', oaepLabel: Buffer.from('SECRET\0') };
    expect(privateDecrypt(options, salt.encrypted).equals(salt.bytes)).toBe(true);
  });

  test('a point that is not on its curve is refused', () => {
    const none = `0023000b0003047200000006008000430010000300100020${'01'.repeat(32)}0020${'02'.repeat(32)}`;
    const area = readPublicArea(bytes(none));
    const key = { handle: 0x80000000, area, name: nameOfArea(area) };
    expect(() => makeSalt(key, randomBytes)).toThrow(expect.objectContaining({ code: 'ERR_TOKEN_FAILED' }));
  });

  test('an RSA key whose modulus is even, or too small, is refused', () => {
    for (const n of [Buffer.alloc(256, 0xfe), Buffer.alloc(32, 0xff)]) {
      const head = [ALG.RSA, ALG.SHA256].map(u16);
      const aes = [ALG.AES, 128, ALG.CFB, ALG.NULL, 2048].map(u16);
      const area = readPublicArea(Buffer.concat([...head, u32(0x30472), sized(), ...aes, u32(0), sized(n)]));
      const key = { handle: 0x80000000, area, name: nameOfArea(area) };
      expect(() => makeSalt(key, randomBytes)).toThrow(expect.objectContaining({ code: 'ERR_TOKEN_FAILED' }));
    }
  });
});

describe('bytes', () => {
  test('an authValue counts without the zeros that it ends with', () => {
    expect([...withoutEndingZeros(Buffer.of(1, 0, 2, 0, 0))]).toEqual([1, 0, 2]);
    expect([...withoutEndingZeros(Buffer.of(0, 0))]).toEqual([]);
  });

  test('numbers are as long as their place', () => {
    expect(padded(Buffer.of(1), 3)).toEqual(Buffer.of(0, 0, 1));
    expect(() => padded(Buffer.alloc(4), 3)).toThrow(expect.objectContaining({ code: 'ERR_TOKEN_FAILED' }));
  });

  test('nothing is read beyond the end', () => {
    const reader = readerOf(Buffer.of(0, 3, 1, 2));
    expect(() => reader.sized()).toThrow(expect.objectContaining({ code: 'ERR_TOKEN_FAILED' }));
    const other = readerOf(Buffer.of(0, 1, 7, 9));
    expect(other.sized()).toEqual(Buffer.of(7));
    expect(() => other.end()).toThrow(expect.objectContaining({ code: 'ERR_TOKEN_FAILED' }));
  });
});
