import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
  webcrypto,
  X509Certificate,
} from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import {
  createAuthority,
  explainCertificate,
  fromPem,
  keyAlgorithmOf,
  makeCertificateRequest,
  readCertificateRequest,
  toPem,
} from '../../src/pki.ts';
import { DIGITAL_SIGNATURE, KEY_CERT_SIGN, makeCertificate, type Recipe } from '../helpers/certificate-maker.ts';
import { ML_DSA_VECTORS } from '../helpers/ml-dsa.ts';

const keys = generateKeyPairSync('ec', { namedCurve: 'P-384' });
const publicKey = keys.publicKey.export({ type: 'spki', format: 'der' });
const DAY = 86_400_000;

describe('an authority', () => {
  test('is a root that signs itself', async () => {
    const { certificate } = await createAuthority({ commonName: 'root' });
    const root = new X509Certificate(certificate);
    expect([root.ca, root.subject, root.issuer]).toEqual([true, 'CN=root', 'CN=root']);
    expect(root.verify(root.publicKey)).toBe(true);
    expect(explainCertificate(certificate)).toMatchObject({
      version: 3,
      commonName: 'root',
      isCa: true,
      pathLength: undefined,
      keyUsages: ['keyCertSign', 'cRLSign'],
      signatureHash: 'SHA-256',
    });
  });

  test('has a key of its own each time, and random serials', async () => {
    const [one, other] = [await createAuthority(), await createAuthority()].map(
      (it) => new X509Certificate(it.certificate),
    );
    expect(one?.verify(other?.publicKey as X509Certificate['publicKey'])).toBe(false);
    expect(one?.serialNumber).toMatch(/^[0-9A-F]{30,32}$/);
    expect(one?.serialNumber).not.toBe(other?.serialNumber);
  });

  test('stands under another one', async () => {
    const root = await createAuthority({ commonName: 'root', pathLength: 1 });
    const middle = await createAuthority({ commonName: 'middle', issuer: root, pathLength: 0 });
    const leaf = await middle.issue({ publicKey, commonName: 'leaf' });
    const [first, second, third] = [leaf, middle.certificate, root.certificate].map(
      (der) => new X509Certificate(der),
    ) as [X509Certificate, X509Certificate, X509Certificate];
    // By names and key identifiers, then by signatures.
    expect([first.checkIssued(second), second.checkIssued(third), first.checkIssued(third)]).toEqual([
      true,
      true,
      false,
    ]);
    expect([first.verify(second.publicKey), second.verify(third.publicKey)]).toEqual([true, true]);
    expect([
      explainCertificate(root.certificate).pathLength,
      explainCertificate(middle.certificate).pathLength,
    ]).toEqual([1, 0]);
  });
});

describe('a certificate', () => {
  test('says what was asked', async () => {
    const authority = await createAuthority({ commonName: 'root' });
    const notBefore = new Date('2026-01-02T03:04:05Z');
    const notAfter = new Date('2051-01-02T03:04:05Z');
    const der = await authority.issue({
      publicKey,
      subject: 'C=DE, O=Example, CN=web',
      serialNumber: 'ff00',
      notBefore,
      notAfter,
      keyUsages: ['digitalSignature', 'keyEncipherment'],
      extendedKeyUsages: ['1.3.6.1.5.5.7.3.2'],
      dnsNames: ['web.example'],
      ipAddresses: ['192.0.2.1'],
      hash: 'SHA-384',
    });
    expect(explainCertificate(der)).toEqual({
      version: 3,
      serialNumber: 'ff00',
      subject: 'C=DE, O=Example, CN=web',
      issuer: 'CN=root',
      commonName: 'web',
      notBefore,
      notAfter,
      isCa: false,
      pathLength: undefined,
      keyUsages: ['digitalSignature', 'keyEncipherment'],
      signatureHash: 'SHA-384',
    });
    const certificate = new X509Certificate(der);
    expect(certificate.serialNumber).toBe('FF00');
    expect(certificate.keyUsage).toEqual(['1.3.6.1.5.5.7.3.2']);
    expect(certificate.subjectAltName).toBe('DNS:web.example, IP Address:192.0.2.1');
    expect(certificate.publicKey.export({ type: 'spki', format: 'der' })).toEqual(publicKey);
  });

  test('says little when little was asked', async () => {
    const authority = await createAuthority({ commonName: 'root' });
    const before = Date.now();
    const der = await authority.issue({ publicKey, subject: '', keyUsages: [] });
    const facts = explainCertificate(der);
    expect(facts).toMatchObject({ subject: '', commonName: undefined, isCa: false, keyUsages: undefined });
    expect(facts.notBefore.getTime()).toBeLessThanOrEqual(before - 299_000);
    expect(facts.notAfter.getTime() - facts.notBefore.getTime()).toBe(DAY);
    expect(new X509Certificate(der).keyUsage).toBeUndefined();
  });

  test('a common name is taken as it is', async () => {
    const authority = await createAuthority({ commonName: 'root' });
    for (const commonName of ['a,b=c+d', '"quoted" \\ #1', '#0500', 'Jürgen 山']) {
      expect(explainCertificate(await authority.issue({ publicKey, commonName })).commonName).toBe(commonName);
    }
  });

  test.each([
    ['01', '01'],
    ['0f0f', '0f0f'],
    ['ffee', 'ffee'],
    ['7fffffffffffffffffffffffffffffffffffffff', '7fffffffffffffffffffffffffffffffffffffff'],
  ])('the serial %s', async (serialNumber, shown) => {
    const der = await (await createAuthority()).issue({ publicKey, serialNumber });
    expect(explainCertificate(der).serialNumber).toBe(shown);
    expect(BigInt(`0x${new X509Certificate(der).serialNumber}`)).toBe(BigInt(`0x${shown}`));
  });
});

describe('a certificate of others is explained', () => {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const recipe: Recipe = { subject: 'a', issuer: 'b', publicKey: keys.publicKey, issuerKey: keys.privateKey };

  test.each([
    ['version 1', { version: 1 }, { version: 1, isCa: false, keyUsages: undefined }],
    ['SHA-1', { hash: 'sha1' }, { signatureHash: 'SHA-1' }],
    ['SHA-1 by RSA', { hash: 'sha1', issuerKey: rsa.privateKey }, { signatureHash: 'SHA-1' }],
    ['MD5', { hash: 'md5', issuerKey: rsa.privateKey }, { signatureHash: undefined }],
    [
      'a CA',
      { ca: true, pathLength: 3, keyUsage: KEY_CERT_SIGN },
      { isCa: true, pathLength: 3, keyUsages: ['keyCertSign'] },
    ],
    ['a leaf', { ca: false, keyUsage: DIGITAL_SIGNATURE }, { isCa: false, keyUsages: ['digitalSignature'] }],
    ['no key usage at all', { keyUsage: 0 }, { keyUsages: [] }],
    ['no subject', { subject: '' }, { subject: '', commonName: undefined }],
  ] satisfies [string, Partial<Recipe>, object][])('%s', (_name, change, facts) => {
    expect(explainCertificate(makeCertificate({ ...recipe, ...change }))).toMatchObject(facts);
  });

  test('or refused, with one code', () => {
    const sound = makeCertificate({ ...recipe, ca: true });
    const bad = [
      Buffer.alloc(0),
      Buffer.from('certificate'),
      sound.subarray(0, 100),
      publicKey,
      makeCertificate({ ...recipe, ca: true, twice: true }),
    ];
    for (const data of bad) {
      expect(() => explainCertificate(data)).toThrow(expect.objectContaining({ code: 'ERR_CERTIFICATE_INVALID' }));
    }
    for (let length = 0; length < sound.length; length += 7) {
      expect(() => explainCertificate(sound.subarray(0, length))).toThrow(
        expect.objectContaining({ code: 'ERR_CERTIFICATE_INVALID' }),
      );
    }
  });

  test('wherever in a buffer it lies', () => {
    const sound = makeCertificate(recipe);
    const padded = Buffer.concat([Buffer.alloc(9), sound, Buffer.alloc(9)]).subarray(9, 9 + sound.length);
    expect(explainCertificate(padded)).toEqual(explainCertificate(sound));
  });
});

describe('a certificate request', () => {
  const request = async () => {
    const pair = await webcrypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-521' }, false, ['sign', 'verify']);
    return makeCertificateRequest({
      crypto: webcrypto as webcrypto.Crypto,
      keys: pair,
      subject: 'O=Example, CN=web',
      hash: 'SHA-512',
    });
  };

  test('is made and read, DER and PEM', async () => {
    const der = await request();
    const read = await readCertificateRequest(der);
    expect(read).toMatchObject({ subject: 'O=Example, CN=web', commonName: 'web' });
    const key = createPublicKey({ key: Buffer.from(read.publicKey), format: 'der', type: 'spki' });
    expect(key.asymmetricKeyDetails).toEqual({ namedCurve: 'secp521r1' });
    expect(await readCertificateRequest(toPem([der], 'CERTIFICATE REQUEST'))).toEqual(read);
  });

  test('is refused when another key signed it, or it is none', async () => {
    const der = await request();
    const other = Buffer.from(der);
    // The last octet belongs to the signature, the subject to what is signed.
    other[other.length - 1] = (other.at(-1) ?? 0) ^ 1;
    const renamed = Buffer.from(Buffer.from(der).toString('latin1').replace('Example', 'Exemple'), 'latin1');
    for (const bad of [other, renamed, Buffer.from('request'), 'request', '', publicKey]) {
      await expect(readCertificateRequest(bad)).rejects.toMatchObject({ code: 'ERR_CERTIFICATE_INVALID' });
    }
  });
});

test('the key in a certificate is named, also one that this Node cannot read', () => {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const of = (publicKey: KeyObject): string | undefined =>
    keyAlgorithmOf(makeCertificate({ subject: 'a', issuer: 'b', publicKey, issuerKey: privateKey }));
  expect(of(createPublicKey(privateKey))).toBe('ECDSA');
  expect(of(generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey)).toMatch(/^RSA/);
  expect(of(generateKeyPairSync('ed25519').publicKey)).toMatch(/^Ed/i);
  expect(ML_DSA_VECTORS.map(({ certificate }) => keyAlgorithmOf(certificate))).toEqual([
    'ML-DSA-44',
    'ML-DSA-65',
    'ML-DSA-87',
  ]);
  expect(keyAlgorithmOf(Buffer.from('3000', 'hex'))).toBeUndefined();
});

test('PEM there and back', () => {
  const pkcs8 = keys.privateKey.export({ type: 'pkcs8', format: 'der' });
  const pem = toPem([publicKey, pkcs8], 'THING');
  expect(pem.match(/-----BEGIN THING-----/g)).toHaveLength(2);
  expect(fromPem(`text before\n${pem}text after`)).toEqual([new Uint8Array(publicKey), new Uint8Array(pkcs8)]);
  expect(fromPem('no PEM')).toEqual([]);
  const again = createPrivateKey(toPem([pkcs8], 'PRIVATE KEY'));
  expect(sign('sha256', Buffer.from('x'), again).length).toBeGreaterThan(64);
});
