// Key files in every format that is read, with as little work for their passphrase as can be asked: for fuzzing, where
// a million of them are opened.
import { createCipheriv, createHmac, generateKeyPairSync, pbkdf2Sync, scryptSync } from 'node:crypto';
import rc2 from 'node-forge/lib/rc2.js';
import util from 'node-forge/lib/util.js';
import { derivePkcs12, PURPOSE } from '../../dist/stores/file/pkcs12-derive.js';

export const PASSPHRASE = 'grün';

const SALT = Buffer.alloc(8, 1);
const IV = Buffer.alloc(16, 2);
const hex = (text) => Buffer.from(text, 'hex');

function tlv(tag, ...parts) {
  const value = Buffer.concat(parts);
  const { length } = value;
  const header = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...header]), value]);
}

const sequence = (...parts) => tlv(0x30, ...parts);
const octets = (value) => tlv(0x04, value);
const integer = (value) => tlv(0x02, Buffer.of(value));
const ONCE = integer(1);

function encrypt(cipher, key, iv, plain) {
  const box = createCipheriv(cipher, key, iv);
  return Buffer.concat([box.update(plain), box.final()]);
}

/** Ways to encrypt: each makes an `AlgorithmIdentifier` and the ciphertext. */
const SCHEMES = {
  pbkdf2: (plain) => {
    const derivation = sequence(hex('06092a864886f70d01050c'), sequence(octets(SALT), ONCE));
    return pbes2(derivation, pbkdf2Sync(PASSPHRASE, SALT, 1, 32, 'sha1'), plain);
  },
  scrypt: (plain) => {
    const costs = sequence(octets(SALT), integer(16), ONCE, ONCE);
    const derivation = sequence(hex('06092b06010401da47040b'), costs);
    return pbes2(derivation, scryptSync(PASSPHRASE, SALT, 32, { N: 16, r: 1, p: 1 }), plain);
  },
  tripleDes: async (plain) => {
    const [key, iv] = await Promise.all([derive(PURPOSE.key, 24), derive(PURPOSE.iv, 8)]);
    return oldScheme('060a2a864886f70d010c0103', encrypt('des-ede3-cbc', key, iv, plain));
  },
  rc2: async (plain) => {
    const [key, iv] = await Promise.all([derive(PURPOSE.key, 5), derive(PURPOSE.iv, 8)]);
    const cipher = rc2.createEncryptionCipher(key.toString('latin1'), 40);
    cipher.start(iv.toString('latin1'));
    cipher.update(util.createBuffer(plain.toString('latin1')));
    cipher.finish();
    return oldScheme('060a2a864886f70d010c0106', Buffer.from(cipher.output.getBytes(), 'latin1'));
  },
};

const derive = (purpose, length) =>
  derivePkcs12(Buffer.from(PASSPHRASE), { salt: SALT, rounds: 1, hash: 'sha1' }, purpose, length);

const oldScheme = (id, encrypted) => ({ algorithm: sequence(hex(id), sequence(octets(SALT), ONCE)), encrypted });

function pbes2(derivation, key, plain) {
  const encryption = sequence(hex('060960864801650304012a'), octets(IV)); // AES-256-CBC
  const algorithm = sequence(hex('06092a864886f70d01050d'), sequence(derivation, encryption));
  return { algorithm, encrypted: encrypt('aes-256-cbc', key, IV, plain) };
}

async function encryptedPkcs8(scheme, plain) {
  const { algorithm, encrypted } = await SCHEMES[scheme](plain);
  return sequence(algorithm, octets(encrypted));
}

const DATA = hex('06092a864886f70d010701');
const ENCRYPTED_DATA = hex('06092a864886f70d010706');
const bag = (last, content) => sequence(hex(`060b2a864886f70d010c0a01${last}`), tlv(0xa0, content), attributes());
const attributes = () => {
  const name = tlv(0x1e, hex('00770065'));
  return tlv(0x31, sequence(hex('06092a864886f70d010914'), tlv(0x31, name)));
};

/** @param scheme of the key and of the certificates; undefined for neither */
async function pkcs12(key, certificate, scheme, mac) {
  const wrapped = sequence(hex('060a2a864886f70d01091601'), tlv(0xa0, octets(certificate)));
  const certificates = sequence(bag('03', wrapped));
  const keys = sequence(scheme ? bag('02', await encryptedPkcs8(scheme, key)) : bag('01', key));
  const safe = sequence(sequence(DATA, tlv(0xa0, octets(keys))), await contentOf(certificates, scheme));
  const macData = mac ? [await macOf(safe)] : [];
  return sequence(integer(3), sequence(DATA, tlv(0xa0, octets(safe))), ...macData);
}

async function contentOf(plain, scheme) {
  if (!scheme) return sequence(DATA, tlv(0xa0, octets(plain)));
  const { algorithm, encrypted } = await SCHEMES[scheme](plain);
  return sequence(ENCRYPTED_DATA, tlv(0xa0, sequence(integer(0), sequence(DATA, algorithm, tlv(0x80, encrypted)))));
}

async function macOf(content) {
  const key = await derive(PURPOSE.mac, 20);
  const digest = createHmac('sha1', key).update(content).digest();
  return sequence(sequence(sequence(hex('06052b0e03021a')), octets(digest)), octets(SALT));
}

/** `{ label, der }`, `{ der }` and `{ text }` of one file in each format. */
export async function makeKeyFiles(certificate) {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey;
  const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const [rsaDer, ecDer] = [rsa, ec].map((key) => key.export({ type: 'pkcs8', format: 'der' }));
  const old = { format: 'pem', cipher: 'aes-128-cbc', passphrase: PASSPHRASE };
  const encrypted = await Promise.all(['pbkdf2', 'scrypt', 'tripleDes'].map((scheme) => encryptedPkcs8(scheme, ecDer)));
  const schemes = [undefined, ...Object.keys(SCHEMES)];
  const files = await Promise.all([
    ...schemes.map((scheme) => pkcs12(ecDer, certificate, scheme, true)),
    ...schemes.map((scheme) => pkcs12(rsaDer, certificate, scheme, false)),
  ]);
  return [
    { label: 'RSA PRIVATE KEY', der: rsa.export({ type: 'pkcs1', format: 'der' }) },
    { label: 'EC PRIVATE KEY', der: ec.export({ type: 'sec1', format: 'der' }) },
    { label: 'PRIVATE KEY', der: rsaDer },
    { label: 'PRIVATE KEY', der: ecDer },
    ...encrypted.map((der) => ({ label: 'ENCRYPTED PRIVATE KEY', der })),
    { text: Buffer.from(rsa.export({ type: 'pkcs1', ...old })) },
    { text: Buffer.from(ec.export({ type: 'sec1', ...old })) },
    ...files.map((der) => ({ der })),
  ];
}
