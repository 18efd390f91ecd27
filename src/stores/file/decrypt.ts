import { createDecipheriv, createHash, createPrivateKey, getCipherInfo, pbkdf2, scrypt } from 'node:crypto';
import { promisify } from 'node:util';
import { children, read, type Tlv } from '../../der.ts';
import { HoldfastError, SecretError } from '../../errors.ts';
import { CIPHERS, OLD_SCHEMES, oidOf, PBES2, PBKDF2, PRFS, SCRYPT } from './algorithms.ts';

/**
 * Opens what is encrypted. Made from the header alone, so that nobody is asked for the passphrase of a file that no
 * passphrase can open.
 *
 * @returns DER of the private key
 * @throws {SecretError} `ERR_SECRET_WRONG`
 */
export type Decrypt = (passphrase: Uint8Array) => Promise<Buffer>;

/** PBKDF2 rounds that are accepted: some seconds of work. A damaged count could ask for hours. */
const MAX_ROUNDS = 10_000_000;

/** scrypt's N * r * p that is accepted (RFC 7914 §2): 1 GiB and some seconds when p is 1. */
const MAX_SCRYPT_COST = 2 ** 23;

const deriveWithPbkdf2 = promisify(pbkdf2);
const deriveWithScrypt = promisify<Uint8Array, Uint8Array, number, object, Buffer>(scrypt);

/**
 * How an `EncryptedPrivateKeyInfo` (RFC 5958 §3) opens.
 *
 * @throws {HoldfastError} `ERR_KEY_INVALID`, `ERR_KEY_UNSUPPORTED`
 */
export function decryptPkcs8(der: Uint8Array, name: string): Decrypt {
  const [scheme, encrypted] = sequence(read(der), name);
  const [schemeId, parameters] = sequence(scheme, name);
  const oid = oidOf(octetsOf(schemeId, name));
  if (oid !== PBES2) return decryptOldPkcs8(der, oid, sequence(parameters, name)[1], name);

  const [derivation, encryption] = sequence(parameters, name);
  const [cipherId, cipherParameters] = sequence(encryption, name);
  const cipher = CIPHERS.get(oidOf(octetsOf(cipherId, name)));
  if (cipher === undefined) throw unsupported(name, 'a cipher that holdfast does not know');
  // RC2 and RC5 have a SEQUENCE there; no Node can use them.
  const iv = cipherParameters?.tag === 0x04 ? cipherParameters.value : new Uint8Array();
  const box = cipherBox(cipher, iv, octetsOf(encrypted, name), name);
  const derive = derivationOf(derivation, name);
  return async (passphrase) => box.open(await derive(passphrase, box.keyLength));
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
    return (passphrase, length) => deriveWithScrypt(passphrase, salt, length, options);
  }
  if (oid !== PBKDF2) throw unsupported(name, 'a key derivation that holdfast does not know');
  const rounds = integer(rest[0], name);
  if (rounds === 0) throw damaged(name);
  if (rounds > MAX_ROUNDS) throw unsupported(name, `PBKDF2 with more than ${MAX_ROUNDS} rounds`);
  // PBKDF2-params: an optional keyLength may stand before the PRF, whose default is HMAC-SHA-1 (RFC 8018 §A.2).
  const prf = rest.slice(1).find(({ tag }) => tag === 0x30);
  const hash = prf ? PRFS.get(oidOf(octetsOf(sequence(prf, name)[0], name))) : 'sha1';
  if (hash === undefined) throw unsupported(name, 'a pseudo-random function that holdfast does not know');
  return (passphrase, length) => deriveWithPbkdf2(passphrase, salt, rounds, length, hash);
}

/** As a Buffer, without another copy of a secret. */
export const viewOf = ({ buffer, byteOffset, length }: Uint8Array): Buffer => Buffer.from(buffer, byteOffset, length);

/** PKCS#12's scheme with 3DES still works in OpenSSL 3, which knows how to derive its key; the rest is retired. */
function decryptOldPkcs8(der: Uint8Array, oid: string, rounds: Tlv | undefined, name: string): Decrypt {
  const scheme = OLD_SCHEMES.get(oid);
  if (scheme !== 'SHA-1 and 3DES') throw unsupported(name, scheme ?? 'a scheme that holdfast does not know');
  if (integer(rounds, name) > MAX_ROUNDS) throw unsupported(name, `more than ${MAX_ROUNDS} rounds`);
  return async (passphrase) => {
    try {
      const input = { key: viewOf(der), passphrase: viewOf(passphrase) };
      return createPrivateKey({ ...input, format: 'der', type: 'pkcs8' }).export({ format: 'der', type: 'pkcs8' });
    } catch (cause) {
      throw wrong(name, cause);
    }
  };
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
  const box = cipherBox(cipher.toLowerCase(), iv, encrypted, name);
  return async (passphrase) => {
    let key = Buffer.alloc(0);
    for (let digest = key; key.length < box.keyLength; key = Buffer.concat([key, digest])) {
      digest = createHash('md5').update(digest).update(passphrase).update(iv.subarray(0, 8)).digest();
    }
    return box.open(key.subarray(0, box.keyLength));
  };
}

/** Checks everything that can be known of a ciphertext before its key is. */
function cipherBox(
  cipher: string,
  iv: Uint8Array,
  encrypted: Uint8Array,
  name: string,
): { keyLength: number; open: (key: Uint8Array) => Buffer } {
  const info = getCipherInfo(cipher);
  if (!info) throw unsupported(name, 'a cipher that this Node does not have');
  const { keyLength, ivLength = 0, blockSize = 1, mode } = info;
  try {
    createDecipheriv(cipher, Buffer.alloc(keyLength), Buffer.alloc(ivLength));
  } catch (cause) {
    throw unsupported(name, cipher, cause);
  }
  if (iv.length !== ivLength || encrypted.length === 0) throw damaged(name);
  if (mode === 'cbc' && encrypted.length % blockSize !== 0) throw damaged(name);

  const open = (key: Uint8Array): Buffer => {
    const decipher = createDecipheriv(cipher, key, iv);
    let plain: Buffer;
    try {
      plain = Buffer.concat([decipher.update(encrypted), decipher.final()]);
    } catch (cause) {
      throw wrong(name, cause);
    }
    // A wrong key leaves good padding once in 256 tries; it does not leave a DER SEQUENCE that fits.
    if (plain[0] === 0x30 && read(plain)?.end === plain.length) return plain;
    throw wrong(name);
  };
  return { keyLength, open };
}

function sequence(value: Tlv | undefined, name: string): Tlv[] {
  if (value?.tag === 0x30) return [...children(value.value)];
  throw damaged(name);
}

function octetsOf(value: Tlv | undefined, name: string): Uint8Array {
  if (value && (value.tag === 0x04 || value.tag === 0x06)) return value.value;
  throw damaged(name);
}

/** A positive INTEGER; one too large for JavaScript is too large for its purpose as well. */
function integer(value: Tlv | undefined, name: string): number {
  if (value?.tag !== 0x02 || value.value.length === 0 || (value.value[0] as number) >= 0x80) throw damaged(name);
  return value.value.reduce((sum, octet) => sum * 256 + octet, 0);
}

const damaged = (name: string): HoldfastError =>
  new HoldfastError('ERR_KEY_INVALID', `the encrypted private key in the ${name} is damaged`, {
    hint: 'copy the file again; its header cannot be read, whatever the passphrase',
  });

const unsupported = (name: string, what: string, cause?: unknown): HoldfastError =>
  new HoldfastError('ERR_KEY_UNSUPPORTED', `the private key in the ${name} is encrypted with ${what}`, {
    hint: 'encrypt it anew: openssl pkey -provider legacy -provider default -in FILE | openssl pkcs8 -topk8 -out NEW',
    cause,
  });

const wrong = (name: string, cause?: unknown): SecretError =>
  new SecretError('ERR_SECRET_WRONG', `the passphrase does not open the ${name}`, {
    hint: 'give the right passphrase; if it is right, the file is damaged',
    cause,
  });
