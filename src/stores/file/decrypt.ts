import { createHash, pbkdf2, scrypt } from 'node:crypto';
import { children, read, type Tlv } from '../../der.ts';
import { oidOf } from './algorithms.ts';
import { type CipherBox, cipherBox, damaged, integer, NOTHING, unsupported } from './cipher-box.ts';
import { CIPHERS, OLD_SCHEMES, PBES2, PBKDF2, PKCS12_CIPHERS, PRFS, SCRYPT } from './encryption.ts';
import { derivePkcs12, PURPOSE } from './pkcs12-derive.ts';

/**
 * Opens what is encrypted. Made from the header alone, so that nobody is asked for the passphrase of a file that no
 * passphrase can open.
 *
 * @param passphrase UTF-8; undefined for none at all, which PKCS#12 tells from an empty one
 * @returns the plaintext: a DER or BER SEQUENCE
 * @throws {SecretError} `ERR_SECRET_WRONG`
 */
export type Decrypt = (passphrase: Uint8Array | undefined) => Promise<Buffer>;

/** PBKDF2 rounds that are accepted: some seconds of work. A damaged count could ask for hours. */
const MAX_ROUNDS = 10_000_000;

/** The same for PKCS#12's own derivation. */
export const MAX_PKCS12_ROUNDS = 2_000_000;

/** scrypt's N * r * p that is accepted (RFC 7914 §2): 1 GiB and some seconds when p is 1. */
const MAX_SCRYPT_COST = 2 ** 23;

/**
 * How an `EncryptedPrivateKeyInfo` (RFC 5958 §3) opens.
 *
 * @throws {HoldfastError} `ERR_KEY_INVALID`, `ERR_KEY_UNSUPPORTED`
 */
export function decryptPkcs8(der: Uint8Array, name: string): Decrypt {
  const [scheme, encrypted] = sequence(read(der), name);
  return decryptWith(scheme, octetsOf(encrypted, name), name);
}

/**
 * How octets open that were encrypted under an `AlgorithmIdentifier`: PBES2 (RFC 8018 §6.2), or PKCS#12's scheme with
 * 3DES (RFC 7292 §C). The rest of the old ones is retired.
 *
 * @throws {HoldfastError} `ERR_KEY_INVALID`, `ERR_KEY_UNSUPPORTED`
 */
export function decryptWith(algorithm: Tlv | undefined, encrypted: Uint8Array, name: string): Decrypt {
  const [id, parameters] = sequence(algorithm, name);
  const oid = oidOf(octetsOf(id, name));
  if (oid === PBES2) return decryptPbes2(parameters, encrypted, name);
  const cipher = PKCS12_CIPHERS.get(oid);
  if (cipher) return decryptPkcs12Scheme(parameters, cipherBox(cipher, encrypted, name), name);
  throw unsupported(name, OLD_SCHEMES.get(oid) ?? 'a scheme that holdfast does not know');
}

function decryptPbes2(parameters: Tlv | undefined, encrypted: Uint8Array, name: string): Decrypt {
  const [derivation, encryption] = sequence(parameters, name);
  const [cipherId, cipherParameters] = sequence(encryption, name);
  const cipher = CIPHERS.get(oidOf(octetsOf(cipherId, name)));
  if (cipher === undefined) throw unsupported(name, 'a cipher that holdfast does not know');
  const box = cipherBox(cipher, encrypted, name);
  // RC2 and RC5 would have a SEQUENCE there; no Node can use them.
  const iv = octetsOf(cipherParameters, name);
  if (iv.length !== box.ivLength) throw damaged(name);
  const derive = derivationOf(derivation, name);
  return async (passphrase) => openWith(box, await derive(passphrase ?? NOTHING, box.keyLength), iv);
}

/** PKCS#12's own schemes, which make the initialization vector out of the passphrase as well. */
export function decryptPkcs12Scheme(parameters: Tlv | undefined, box: CipherBox, name: string): Decrypt {
  const [salt, count] = sequence(parameters, name);
  const derivation = { salt: octetsOf(salt, name), rounds: roundsOf(count, MAX_PKCS12_ROUNDS, name), hash: 'sha1' };
  return async (passphrase) => {
    const key = await derivePkcs12(passphrase, derivation, PURPOSE.key, box.keyLength);
    return openWith(box, key, await derivePkcs12(passphrase, derivation, PURPOSE.iv, box.ivLength));
  };
}

function openWith(box: CipherBox, key: Buffer, iv: Uint8Array): Buffer {
  try {
    return box.open(key, iv);
  } finally {
    key.fill(0);
  }
}

type Derive = (passphrase: Uint8Array, keyLength: number) => Promise<Buffer>;

function derivationOf(derivation: Tlv | undefined, name: string): Derive {
  const [id, parameters] = sequence(derivation, name);
  const oid = oidOf(octetsOf(id, name));
  const [saltValue, ...rest] = sequence(parameters, name);
  const salt = octetsOf(saltValue, name);

  if (oid === SCRYPT) {
    const [cost = 0, blockSize = 0, parallelization = 0] = rest.slice(0, 3).map((each) => integer(each, name));
    const work = cost * blockSize * parallelization;
    if (work === 0 || cost < 2) throw damaged(name);
    if (work > MAX_SCRYPT_COST) throw unsupported(name, 'scrypt at a cost beyond what is sane');
    const options = { cost, blockSize, parallelization, maxmem: 512 * work };
    return (passphrase, length) => derived((done) => scrypt(passphrase, salt, length, options, done));
  }
  if (oid !== PBKDF2) throw unsupported(name, 'a key derivation that holdfast does not know');
  const rounds = roundsOf(rest[0], MAX_ROUNDS, name);
  // PBKDF2-params: an optional keyLength may stand before the PRF, whose default is HMAC-SHA-1 (RFC 8018 §A.2).
  const prf = rest.slice(1).find(({ tag }) => tag === 0x30);
  const hash = prf ? PRFS.get(oidOf(octetsOf(sequence(prf, name)[0], name))) : 'sha1';
  if (hash === undefined) throw unsupported(name, 'a pseudo-random function that holdfast does not know');
  return (passphrase, length) => derived((done) => pbkdf2(passphrase, salt, rounds, length, hash, done));
}

const derived = (derive: (done: (error: Error | null, key: Buffer) => void) => void): Promise<Buffer> =>
  new Promise((resolve, reject) => derive((error, key) => (error ? reject(error) : resolve(key))));

/** @throws {HoldfastError} `ERR_KEY_INVALID`, `ERR_KEY_UNSUPPORTED` */
export function roundsOf(value: Tlv | undefined, most: number, name: string): number {
  const rounds = integer(value, name);
  if (rounds === 0) throw damaged(name);
  if (rounds > most) throw unsupported(name, `more than ${most} rounds`);
  return rounds;
}

/**
 * How the body of a PEM block with `DEK-Info: CIPHER,IV` opens: the key is one round of MD5 over passphrase and IV
 * (EVP_BytesToKey), which is why nobody should write such files any more.
 *
 * @throws {HoldfastError} `ERR_KEY_INVALID`, `ERR_KEY_UNSUPPORTED`
 */
export function decryptTraditional(encrypted: Uint8Array, dekInfo: string, name: string): Decrypt {
  const [, cipher = '', hex = ''] = /^([A-Za-z0-9-]+),((?:[0-9A-Fa-f]{2})+)$/.exec(dekInfo) ?? [];
  const iv = Buffer.from(hex, 'hex');
  if (iv.length < 8) throw damaged(name);
  const box = cipherBox(cipher.toLowerCase(), encrypted, name);
  if (iv.length !== box.ivLength) throw damaged(name);
  return async (passphrase = NOTHING) => {
    let key = Buffer.alloc(0);
    for (let digest = key; key.length < box.keyLength; key = Buffer.concat([key, digest])) {
      digest = createHash('md5').update(digest).update(passphrase).update(iv.subarray(0, 8)).digest();
    }
    return openWith(box, key.subarray(0, box.keyLength), iv);
  };
}

export function sequence(value: Tlv | undefined, name: string): Tlv[] {
  if (value?.tag === 0x30) return [...children(value.value)];
  throw damaged(name);
}

export function octetsOf(value: Tlv | undefined, name: string): Uint8Array {
  if (value && (value.tag === 0x04 || value.tag === 0x06)) return value.value;
  throw damaged(name);
}
