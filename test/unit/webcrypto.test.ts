import { createPublicKey, generateKeyPairSync, type KeyObject, sign, verify, type webcrypto } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { makeCertificateRequest, readCertificateRequest } from '../../src/pki.ts';
import type { HashName, Signer } from '../../src/signer.ts';
import { signerCrypto } from '../../src/webcrypto.ts';

const PAIRS = {
  'RSA-2048': generateKeyPairSync('rsa', { modulusLength: 2048 }),
  'P-256': generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  'P-384': generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  'P-521': generateKeyPairSync('ec', { namedCurve: 'P-521' }),
};
type Name = keyof typeof PAIRS;
const NAMES = Object.keys(PAIRS) as Name[];

const spki = (key: KeyObject) => key.export({ type: 'spki', format: 'der' });

/** A signer as a store gives one, and a list of what it was asked. */
function signerOf(key: KeyObject): Signer & { asked: { message: Buffer; hash: HashName | undefined }[] } {
  const asked: { message: Buffer; hash: HashName | undefined }[] = [];
  return {
    asked,
    sign: async (message, hash = 'SHA-256') => {
      asked.push({ message: Buffer.from(message), hash });
      return sign(hash.replace('-', ''), message, key);
    },
  };
}

const dress = async (name: Name, hash?: HashName) => {
  const signer = signerOf(PAIRS[name].privateKey);
  return { signer, ...(await signerCrypto({ signer, publicKey: spki(PAIRS[name].publicKey), hash })) };
};

describe.each(NAMES)('%s', (name) => {
  test('signs a certificate request that verifies', async () => {
    const { crypto, keys, signer } = await dress(name);
    const request = await readCertificateRequest(await makeCertificateRequest({ crypto, keys, commonName: 'web' }));
    expect(Buffer.from(request.publicKey)).toEqual(spki(PAIRS[name].publicKey));
    expect(request.commonName).toBe('web');
    expect(signer.asked.map(({ hash }) => hash)).toEqual(['SHA-256']);
  });

  test.each(['SHA-256', 'SHA-384', 'SHA-512'] as const)('signs with %s in the form of WebCrypto', async (hash) => {
    const { crypto, keys, signer } = await dress(name, hash);
    const { publicKey } = PAIRS[name];
    const algorithm = { name: keys.privateKey.algorithm.name, hash };
    const buffer = Buffer.from('--message--').subarray(2, 9);
    const signature = Buffer.from(await crypto.subtle.sign(algorithm, keys.privateKey, buffer));
    expect(signer.asked).toEqual([{ message: Buffer.from('message'), hash }]);
    const key = name === 'RSA-2048' ? publicKey : ({ key: publicKey, dsaEncoding: 'ieee-p1363' } as const);
    expect(verify(hash.replace('-', ''), Buffer.from('message'), key, signature)).toBe(true);
    expect(await crypto.subtle.verify(algorithm, keys.publicKey, signature, buffer)).toBe(true);
  });

  test('has a handle that holds no key', async () => {
    const { crypto, keys } = await dress(name);
    expect(keys.privateKey).toMatchObject({ type: 'private', extractable: false, usages: ['sign'] });
    await expect(crypto.subtle.exportKey('pkcs8', keys.privateKey)).rejects.toThrow();
    expect(Buffer.from(await crypto.subtle.exportKey('spki', keys.publicKey))).toEqual(spki(PAIRS[name].publicKey));
  });

  test('hands out no signature of another key', async () => {
    const [other] = NAMES.filter((one) => one !== name && (one === 'RSA-2048') === (name === 'RSA-2048'));
    const { privateKey } = other ? PAIRS[other] : generateKeyPairSync('rsa', { modulusLength: 2048 });
    const publicKey = spki(PAIRS[name].publicKey);
    const bad: Signer[] = [signerOf(privateKey), { sign: async () => Buffer.from('rubbish') }];
    for (const signer of bad) {
      const { crypto, keys } = await signerCrypto({ signer, publicKey });
      const made = makeCertificateRequest({ crypto, keys, commonName: 'web' });
      await expect(made).rejects.toMatchObject({ code: 'ERR_SIGNING_FAILED' });
    }
  });
});

test('everything else is a real WebCrypto', async () => {
  const { crypto, signer } = await dress('P-256');
  const digest = await crypto.subtle.digest('SHA-256', Buffer.from('abc'));
  expect(Buffer.from(digest).toString('hex')).toMatch(/^ba7816bf/);
  expect(crypto.getRandomValues(new Uint8Array(16))).toHaveLength(16);
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const own = (await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair;
  const signature = await crypto.subtle.sign(algorithm, own.privateKey, Buffer.from('abc'));
  expect(await crypto.subtle.verify(algorithm, own.publicKey, signature, Buffer.from('abc'))).toBe(true);
  expect(signer.asked).toEqual([]);
});

test('what the signer throws comes through', async () => {
  const signer: Signer = { sign: () => Promise.reject(new Error('the token is gone')) };
  const { crypto, keys } = await signerCrypto({ signer, publicKey: spki(PAIRS['P-256'].publicKey) });
  await expect(makeCertificateRequest({ crypto, keys })).rejects.toThrow('the token is gone');
});

test.each([
  ['Ed25519', () => spki(generateKeyPairSync('ed25519').publicKey), 'ERR_KEY_UNSUPPORTED'],
  [
    'RSA for PSS only',
    () => spki(generateKeyPairSync('rsa-pss', { modulusLength: 2048 }).publicKey),
    'ERR_KEY_UNSUPPORTED',
  ],
  ['secp256k1', () => spki(generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey), 'ERR_KEY_UNSUPPORTED'],
  ['no key', () => Buffer.from('key'), 'ERR_KEY_INVALID'],
])('a public key of another kind is refused: %s', async (_name, publicKey, code) => {
  const signer = signerOf(PAIRS['P-256'].privateKey);
  await expect(signerCrypto({ signer, publicKey: publicKey() })).rejects.toMatchObject({ code });
});

test.each([
  ['RSA-2048', { name: 'RSA-PSS', saltLength: 32 }],
  ['RSA-2048', { name: 'ECDSA', hash: 'SHA-256' }],
  ['P-256', { name: 'ECDSA', hash: 'SHA-1' }],
  ['P-256', { name: 'ECDSA' }],
  ['P-256', 'RSASSA-PKCS1-v1_5'],
] as const)('%s does not sign with %j', async (name, algorithm) => {
  const { crypto, keys, signer } = await dress(name);
  const signed = crypto.subtle.sign(algorithm as webcrypto.EcdsaParams, keys.privateKey, Buffer.from('x'));
  await expect(signed).rejects.toMatchObject({ code: 'ERR_KEY_UNSUPPORTED' });
  expect(signer.asked).toEqual([]);
});

test('a signature from a DER with short integers keeps its length', async () => {
  const publicKey = createPublicKey(PAIRS['P-256'].privateKey);
  const { crypto, keys } = await dress('P-256');
  const lengths = new Set<number>();
  for (let round = 0; round < 300; round++) {
    const signature = await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, keys.privateKey, Buffer.from('x'));
    lengths.add(signature.byteLength);
    expect(
      verify('sha256', Buffer.from('x'), { key: publicKey, dsaEncoding: 'ieee-p1363' }, Buffer.from(signature)),
    ).toBe(true);
  }
  expect([...lengths]).toEqual([64]);
});
