// Writes test/vectors/ml-dsa.json: CreateSession requests signed deterministically with ML-DSA (FIPS 204 §5.2) by a
// library that is no part of holdfast. Node signs hedged only, and before version 24.6 not at all. With Node 24:
//
//   npm install --no-save @noble/post-quantum
//   node scripts/make-ml-dsa-vectors.mjs [path of its ml-dsa.js, where it is installed elsewhere] && npm run format
import { createPublicKey, generateKeyPairSync, randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { DIGITAL_SIGNATURE, KEY_CERT_SIGN, makeCertificate } from '../test/helpers/certificate-maker.ts';
import { plan } from '../test/helpers/local-setup.ts';
import { signRequest } from '../test/helpers/x509-request.ts';

const [library = '@noble/post-quantum/ml-dsa.js'] = process.argv.slice(2);
const { ml_dsa44, ml_dsa65, ml_dsa87 } = await import(library);

/** Parameter set, implementation, last octet of the object identifier. */
const SETS = [
  ['ML-DSA-44', ml_dsa44, 0x11],
  ['ML-DSA-65', ml_dsa65, 0x12],
  ['ML-DSA-87', ml_dsa87, 0x13],
];

const authority = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const issuer = { issuer: 'ML-DSA test CA', issuerKey: authority.privateKey };
const anchor = { ...issuer, subject: issuer.issuer, publicKey: authority.publicKey, ca: true, keyUsage: KEY_CERT_SIGN };

/** RFC 9881 §4, with one octet of the BIT STRING for bits that are not used. */
function publicKeyOf(raw, identifier) {
  const algorithm = Buffer.from([0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, identifier]);
  const long = (tag, length) => Buffer.from([tag, 0x82, length >> 8, length & 0xff]);
  const bits = Buffer.concat([long(0x03, raw.length + 1), Buffer.of(0), raw]);
  const spki = Buffer.concat([long(0x30, algorithm.length + bits.length), algorithm, bits]);
  return createPublicKey({ key: spki, format: 'der', type: 'spki' });
}

const vectors = SETS.map(([name, mlDsa, identifier]) => {
  const seed = randomBytes(32);
  const keys = mlDsa.keygen(seed);
  const publicKey = publicKeyOf(keys.publicKey, identifier);
  const leaf = { ...issuer, subject: name.toLowerCase(), publicKey, ca: false, keyUsage: DIGITAL_SIGNATURE };
  const certificate = makeCertificate(leaf);
  const signed = signRequest(
    plan({
      identity: { key: publicKey, certificate, chain: [] },
      sign: (message) => Buffer.from(mlDsa.sign(message, keys.secretKey, { extraEntropy: false })),
    }),
  );
  return { name, seed: seed.toString('hex'), request: { ...signed, body: signed.body.toString() } };
});

const about =
  'Made by scripts/make-ml-dsa-vectors.mjs with @noble/post-quantum 0.7.1. The private keys, given by their seeds, are throw-away keys.';
const file = new URL('../test/vectors/ml-dsa.json', import.meta.url);
const text = JSON.stringify({ about, anchor: makeCertificate(anchor).toString('base64'), vectors }, null, 2);
writeFileSync(file, `${text}\n`);
