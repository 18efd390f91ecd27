// Certificates with keys that Roles Anywhere does not take, or that this Node cannot read: refused as leaf, and as leaf
// only.
import { generateKeyPairSync, type KeyObject, type KeyPairKeyObjectResult, sign } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { type Certificate, checkLeaf, parseCertificate, readCertificates } from '../../src/certificate.ts';
import { buildChain } from '../../src/chain.ts';
import { withIdentity } from '../../src/identity.ts';
import { signRequest } from '../../src/sigv4.ts';
import { DIGITAL_SIGNATURE, KEY_CERT_SIGN, makeCertificate, type Recipe, toPem } from '../helpers/certificate-maker.ts';
import { testUnless } from '../helpers/exercised.ts';
import { CAN_ML_DSA, ML_DSA_VECTORS, type MlDsaVector, makeMlDsaPair, mislabelled } from '../helpers/ml-dsa.ts';
import { rejectionOf, thrownBy } from '../helpers/thrown.ts';

const mlDsaTest = await testUnless('ml-dsa');
const NOW = new Date('2026-06-01T00:00:00Z');
const ca = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const own = generateKeyPairSync('ec', { namedCurve: 'P-256' });

const make = (subject: string, publicKey: KeyObject, more: Partial<Recipe> = {}): Buffer =>
  makeCertificate({
    subject,
    publicKey,
    issuer: 'Test CA',
    issuerKey: ca.privateKey,
    ca: false,
    keyUsage: DIGITAL_SIGNATURE,
    ...more,
  });
const makeCa = (subject: string, publicKey: KeyObject, more: Partial<Recipe> = {}): Buffer =>
  make(subject, publicKey, { ca: true, keyUsage: KEY_CERT_SIGN, ...more });

/** A point that is not on its curve: the certificate can be read, its key cannot. */
function offTheCurve(): Buffer {
  const der = make('leaf', own.publicKey);
  const { x = '' } = own.publicKey.export({ format: 'jwk' });
  const at = der.indexOf(Buffer.from(x, 'base64url'));
  der.fill(0xff, at, at + 32);
  return der;
}

const [mlDsa] = ML_DSA_VECTORS as readonly [MlDsaVector];
const [ed25519, ed448] = [generateKeyPairSync('ed25519'), generateKeyPairSync('ed448')];
const needsNode = (name: string): string =>
  `the certificate of CN=${name.toLowerCase()} has a key that cannot be used here: ${name} needs Node 24.6 or newer; this is ${process.version}`;

/** Name, certificate, what is said of it as leaf. */
const UNUSABLE: readonly (readonly [name: string, der: Buffer, message: string])[] = [
  ['Ed25519', make('leaf', ed25519.publicKey), 'the certificate of CN=leaf has a key of type ed25519'],
  ['Ed448', make('leaf', ed448.publicKey), 'the certificate of CN=leaf has a key of type ed448'],
  ['a key that is none', offTheCurve(), 'the certificate of CN=leaf has a key that cannot be read'],
  ...ML_DSA_VECTORS.flatMap(({ name, certificate }) =>
    CAN_ML_DSA ? [] : [[`${name} on this Node`, certificate, needsNode(name)] as const],
  ),
  ...(CAN_ML_DSA
    ? [
        [
          'an ML-DSA key that is none',
          mislabelled(mlDsa),
          'the certificate of CN=ml-dsa-44 has a key that cannot be read',
        ] as const,
      ]
    : []),
];

describe.each(UNUSABLE)('%s', (_, der, message) => {
  const certificate = parseCertificate(der);

  test('is read, and refused as leaf', () => {
    expect(certificate).toMatchObject({ keyType: undefined, serialNumber: '31', isCa: false });
    expect(certificate.subject).not.toBe('');
    const refusal = { code: 'ERR_CERTIFICATE_UNSUITABLE', message, hint: expect.any(String) };
    expect(thrownBy(() => checkLeaf(certificate, NOW))).toMatchObject(refusal);
  });

  test('verifies nothing, and signs nothing', async () => {
    expect(certificate.verify(Buffer.from('m'), sign(null, Buffer.from('m'), ed25519.privateKey))).toBe(false);
    const request = { method: 'POST', url: new URL('http://127.0.0.1/sessions'), headers: {}, body: '' };
    const scope = { region: 'us-east-1', service: 'rolesanywhere', date: NOW };
    const signer = { sign: () => Promise.reject(new Error('asked to sign')) };
    expect(await rejectionOf(signRequest(request, { certificate, chain: [], signer }, scope))).toMatchObject({
      message,
    });
  });

  test('in a bundle it harms nobody, wherever it stands', async () => {
    const leaf = make('own', own.publicKey);
    const signer = {
      sign: async (data: Uint8Array) => sign('sha256', data, own.privateKey),
      publicKey: own.publicKey.export({ type: 'spki', format: 'der' }),
    };
    for (const bundle of [
      [der, leaf],
      [leaf, der],
    ]) {
      const pem = toPem(...bundle);
      expect(readCertificates(Buffer.from(pem), 'bundle.pem')).toHaveLength(2);
      const use = async ({ certificate: chosen }: { certificate: Certificate }) => chosen.subject;
      expect(await withIdentity({ certificate: pem, signer, now: () => NOW }, use)).toBe('CN=own');
    }
  });

  test('alone, it is refused before the key is opened', async () => {
    const options = { certificate: toPem(der), key: '/nonexistent/key.pem', now: () => NOW };
    expect(await rejectionOf(withIdentity(options, async () => undefined))).toMatchObject({ message });
  });
});

describe('in the chain', () => {
  const leafOf = (issuerKey: KeyObject, issuer: string): Certificate =>
    parseCertificate(make('leaf', own.publicKey, { issuer, issuerKey }));
  const root = parseCertificate(makeCa('Test CA', ca.publicKey));

  test.each([
    ['an Ed25519 CA, without harm', ed25519],
    ['an Ed448 CA, without harm', ed448],
  ])('%s', (_, stranger: KeyPairKeyObjectResult) => {
    const issuer = parseCertificate(makeCa('Issuing CA', ca.publicKey));
    const pool = [parseCertificate(makeCa('Issuing CA', stranger.publicKey)), issuer, root];
    expect(buildChain(leafOf(ca.privateKey, 'Issuing CA'), pool, NOW)).toEqual([issuer]);
  });

  test('an ML-DSA certificate of the same name, without harm', () => {
    const issuer = parseCertificate(makeCa(mlDsa.name.toLowerCase(), ca.publicKey));
    const pool = [parseCertificate(mlDsa.certificate), issuer, root];
    expect(buildChain(leafOf(ca.privateKey, mlDsa.name.toLowerCase()), pool, NOW)).toEqual([issuer]);
  });

  mlDsaTest('ML-DSA authorities, each link proven', () => {
    const keys = ML_DSA_VECTORS.map(({ name }) => makeMlDsaPair(name)) as [
      KeyPairKeyObjectResult,
      KeyPairKeyObjectResult,
      KeyPairKeyObjectResult,
    ];
    const [low, high, other] = keys;
    const lowCa = parseCertificate(makeCa('Low CA', low.publicKey, { issuer: 'High CA', issuerKey: high.privateKey }));
    const highCa = parseCertificate(makeCa('High CA', high.publicKey, { issuer: 'Root', issuerKey: other.privateKey }));
    const impostor = parseCertificate(
      makeCa('Low CA', other.publicKey, { issuer: 'High CA', issuerKey: high.privateKey }),
    );
    expect(buildChain(leafOf(low.privateKey, 'Low CA'), [highCa, impostor, lowCa], NOW)).toEqual([lowCa, highCa]);
  });
});

describe.each(ML_DSA_VECTORS.map((vector) => [vector.name, vector] as const))('%s', (name, { certificate: der }) => {
  const PUBLIC_KEY_SIZES: Record<string, number> = { 'ML-DSA-44': 1312, 'ML-DSA-65': 1952, 'ML-DSA-87': 2592 };

  test('what does not need the key is read on every Node', () => {
    const certificate = parseCertificate(der);
    expect(certificate).toMatchObject({
      serialNumber: '31',
      subject: `CN=${name.toLowerCase()}`,
      issuer: 'CN=ML-DSA test CA',
      notAfter: new Date('2027-01-01T00:00:00Z'),
      isCa: false,
    });
    // SubjectPublicKeyInfo (RFC 9881 §4): 22 octets around the key itself.
    expect(certificate.publicKey).toHaveLength((PUBLIC_KEY_SIZES[name] as number) + 22);
    expect(der.includes(Buffer.from(certificate.publicKey))).toBe(true);
  });

  mlDsaTest('is a leaf like any other', () => {
    const certificate = parseCertificate(der);
    expect(certificate.keyType).toBe('ML-DSA');
    expect(() => checkLeaf(certificate, NOW)).not.toThrow();
    for (const length of [0, 1, 2420, 3309, 4627]) {
      expect(certificate.verify(Buffer.from('m'), Buffer.alloc(length, 7))).toBe(false);
    }
  });
});

test.each([
  ['EC', generateKeyPairSync('ec', { namedCurve: 'P-521' }).publicKey],
  ['EC on a curve without a NIST name', generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey],
  [
    'EC with its curve written out',
    generateKeyPairSync('ec', { namedCurve: 'P-256', paramEncoding: 'explicit' }).publicKey,
  ],
  ['RSA', generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey],
  ['RSA bound to PSS', generateKeyPairSync('rsa-pss', { modulusLength: 2048, hashAlgorithm: 'sha256' }).publicKey],
])('the public key of a certificate is as Node writes it: %s', (_, key) => {
  const { publicKey } = parseCertificate(make('leaf', key));
  expect(Buffer.from(publicKey)).toEqual(key.export({ type: 'spki', format: 'der' }));
});
