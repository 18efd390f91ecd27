import { spawnSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { toPem } from '../../src/pki.ts';
import { open, openKeyBytes, readCertificates } from '../../src/stores/file/index.ts';
import type { OpenOptions } from '../../src/stores/store.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { makeIdentity, type TestIdentity } from '../helpers/certificates.ts';
import { place } from '../helpers/key-files.ts';
import { encryptedFile, exporter, joined, tlv } from '../helpers/pkcs12-files.ts';
import { failure } from '../stores/conformance.ts';

const files = place();
const hasOpenssl = spawnSync('openssl', ['version']).status === 0;
const describeOpenssl = hasOpenssl ? describe : describe.skip;
const openAt = (path: string, options: OpenOptions = {}) => open(parseKeyUri(path), options);
const exported = exporter(files);
const NONE = ['-keypbe', 'NONE', '-certpbe', 'NONE'];
const forbidden = (): never => {
  throw new Error('asked');
};

let ec: TestIdentity;
beforeAll(async () => {
  const rsa = await makeIdentity({ keyType: 'RSA-2048', intermediates: 1 });
  ec = await makeIdentity({ intermediates: 2 });
  for (const [name, { pem, certificatePem, intermediates, root }] of [['rsa', rsa] as const, ['ec', ec] as const]) {
    await files.write(`${name}.pem`, pem + certificatePem + toPem([...intermediates, root]));
  }
});

describeOpenssl(`PKCS#12 files that are refused${hasOpenssl ? '' : ' (skipped: openssl is not installed)'}`, () => {
  test('several keys, with the names that tell them apart', async () => {
    const [first, second] = [
      readFileSync(exported('rsa.pem', '', '-nomac', ...NONE, '-name', 'web\u001b[2J')),
      readFileSync(exported('ec.pem', '', '-nomac', ...NONE)),
    ];
    const error = await failure(openKeyBytes(joined(first, second)));
    expect(error.code).toBe('ERR_KEY_AMBIGUOUS');
    expect(error.message).toMatch(
      /2 private keys: "web\?\[2J" \(localKeyID [0-9a-f]{40}\), one without a name \(local/,
    );
    // Their certificates can be read all the same.
    const path = await files.write('several.p12', joined(first, second));
    expect(await readCertificates(parseKeyUri(path), {})).toHaveLength(7);
  });

  test('no key', async () => {
    const error = await failure(openAt(exported('ec.pem', 'x', '-nokeys'), { secret: 'x' }));
    expect(error.code).toBe('ERR_KEY_INVALID');
    expect(error.message).toMatch(/holds no private key/);
  });

  test('RC4, by its name and without asking', async () => {
    const path = exported('ec.pem', 'x', '-legacy', '-certpbe', 'PBE-SHA1-RC4-128');
    const error = await failure(openAt(path, { secret: forbidden }));
    expect(error.code).toBe('ERR_KEY_UNSUPPORTED');
    expect(error.message).toMatch(/encrypted with SHA-1 and RC4/);
    const key = exported('ec.pem', 'x', '-legacy', '-certpbe', 'NONE', '-keypbe', 'PBE-SHA1-RC4-128');
    expect((await failure(openAt(key, { secret: 'x' }))).message).toMatch(/encrypted with SHA-1 and RC4/);
  });

  test('more work than anybody would wait for, in other ways, without asking', async () => {
    await files.write('many.pem', ec.pem + ec.certificatePem + toPem(Array.from({ length: 200 }, () => ec.root)));
    const large = await failure(openAt(exported('many.pem', 'x', '-legacy'), { secret: forbidden }));
    expect(large.code).toBe('ERR_KEY_UNSUPPORTED');
    expect(large.message).toMatch(/RC2 in a part of more than 65536 bytes/);
    const file = readFileSync(exported('ec.pem', 'x', '-nomac'));
    const parts = await failure(openKeyBytes(joined(...Array.from({ length: 9 }, () => file)), { secret: forbidden }));
    expect(parts.code).toBe('ERR_KEY_UNSUPPORTED');
    expect(parts.message).toMatch(/more than 16 parts/);
  });

  test('more rounds than anybody would wait for, without asking', async () => {
    const path = exported('ec.pem', 'x', ...NONE, '-iter', '2000001');
    const error = await failure(openAt(path, { secret: forbidden }));
    expect(error.code).toBe('ERR_KEY_UNSUPPORTED');
    expect(error.message).toMatch(/more than 2000000 rounds/);
  });

  test('numbers that OpenSSL refuses: scrypt with an N that is no power of two', async () => {
    const costs = tlv(
      0x30,
      tlv(0x04, Buffer.alloc(8)),
      ...['02012b', '020101', '020101'].map((one) => Buffer.from(one, 'hex')),
    );
    const scrypt = tlv(0x30, Buffer.from('06092b06010401da47040b', 'hex'), costs);
    const error = await failure(openKeyBytes(encryptedFile(tlv(0x30), 'x', scrypt), { secret: 'x' }));
    expect(error.code).toBe('ERR_KEY_UNSUPPORTED');
    expect(error.message).toBe('this Node cannot decrypt the key data');
  });

  test('a key of an algorithm that signs nothing here', async () => {
    const { privateKey } = generateKeyPairSync('ed25519');
    await files.write('ed.pem', privateKey.export({ type: 'pkcs8', format: 'pem' }));
    const error = await failure(openAt(exported('ed.pem', 'x', '-nocerts'), { secret: 'x' }));
    expect(error.code).toBe('ERR_KEY_UNSUPPORTED');
    expect(error.message).toMatch(/Ed25519/);
  });

  test.each([
    ['a MAC that holdfast does not know', '0609608648016503040201', '060960864801650304027f', 'ERR_KEY_UNSUPPORTED'],
    ['a signature in place of the MAC', '06092a864886f70d010701', '06092a864886f70d010702', 'ERR_KEY_UNSUPPORTED'],
    ['contents for a certificate', '06092a864886f70d010706', '06092a864886f70d010703', 'ERR_KEY_UNSUPPORTED'],
    ['contents of another type', '06092a864886f70d010706', '06092a864886f70d010705', 'ERR_KEY_INVALID'],
    ['no known type', '06092a864886f70d010701', '06092a864886f70d010709', 'ERR_KEY_INVALID'],
  ])('%s, without asking', async (_, from, to, code) => {
    const hex = readFileSync(exported('ec.pem', 'x')).toString('hex');
    expect(hex).toContain(from);
    const error = await failure(openKeyBytes(Buffer.from(hex.replace(from, to), 'hex'), { secret: forbidden }));
    expect(error.code).toBe(code);
  });

  test('a file that is cut off, wherever', async () => {
    const file = readFileSync(exported('ec.pem', ''));
    for (let length = 8; length < file.length; length += 7) {
      const error = await failure(openKeyBytes(file.subarray(0, length), { secret: forbidden }));
      expect(error.code).toBe('ERR_KEY_INVALID');
    }
  });
});
