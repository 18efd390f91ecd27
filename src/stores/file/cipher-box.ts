import { createDecipheriv, getCipherInfo } from 'node:crypto';
import { read, type Tlv } from '../../der.ts';
import { HoldfastError, SecretError } from '../../errors.ts';

/** A ciphertext of which everything was checked that can be known before its key is. */
export interface CipherBox {
  readonly keyLength: number;
  readonly ivLength: number;
  /** @throws {SecretError} `ERR_SECRET_WRONG` */
  open(key: Uint8Array, iv: Uint8Array): Buffer;
}

/** @throws {HoldfastError} `ERR_KEY_INVALID`, `ERR_KEY_UNSUPPORTED` */
export function cipherBox(cipher: string, encrypted: Uint8Array, name: string): CipherBox {
  const info = getCipherInfo(cipher);
  if (!info) throw unsupported(name, 'a cipher that this Node does not have');
  const { keyLength, ivLength = 0, blockSize = 1, mode } = info;
  try {
    createDecipheriv(cipher, Buffer.alloc(keyLength), Buffer.alloc(ivLength));
  } catch (cause) {
    throw unsupported(name, cipher, cause);
  }
  if (encrypted.length === 0 || (mode === 'cbc' && encrypted.length % blockSize !== 0)) throw damaged(name);
  const open = (key: Uint8Array, iv: Uint8Array): Buffer => {
    const decipher = createDecipheriv(cipher, key, iv);
    try {
      return checkPlain(Buffer.concat([decipher.update(encrypted), decipher.final()]), name);
    } catch (cause) {
      throw cause instanceof HoldfastError ? cause : wrong(name, cause);
    }
  };
  return { keyLength, ivLength, open };
}

/** A wrong key leaves good padding once in 256 tries; it does not leave a SEQUENCE that fits, or one without a length. */
export function checkPlain(plain: Buffer, name: string): Buffer {
  if (plain[0] === 0x30 && (plain[1] === 0x80 || read(plain)?.end === plain.length)) return plain;
  throw wrong(name);
}

/** An empty range of octets, for what is absent. */
export const NOTHING: Uint8Array = new Uint8Array();

/** A positive INTEGER; one too large for JavaScript is too large for its purpose as well. */
export function integer(value: Tlv | undefined, name: string): number {
  if (value?.tag !== 0x02 || value.value.length === 0 || (value.value[0] as number) >= 0x80) throw damaged(name);
  return value.value.reduce((sum, octet) => sum * 256 + octet, 0);
}

export const damaged = (name: string): HoldfastError =>
  new HoldfastError('ERR_KEY_INVALID', `the encrypted part of the ${name} is damaged`, {
    hint: 'copy the file again; its header cannot be read, whatever the passphrase',
  });

export const unsupported = (name: string, what: string, cause?: unknown): HoldfastError =>
  new HoldfastError('ERR_KEY_UNSUPPORTED', `the ${name} is encrypted with ${what}`, {
    hint: 'encrypt it anew: openssl reads it with -provider legacy -provider default (native-notes/file.md)',
    cause,
  });

/** The scheme is known, but this Node's OpenSSL (in FIPS mode, say, or given impossible numbers) will not derive its key. */
export async function orUndecryptable<T>(decrypting: Promise<T>, name: string): Promise<T> {
  try {
    return await decrypting;
  } catch (cause) {
    if (cause instanceof HoldfastError) throw cause;
    const hint = 'encrypt it anew: native-notes/file.md says how';
    throw new HoldfastError('ERR_KEY_UNSUPPORTED', `this Node cannot decrypt the ${name}`, { hint, cause });
  }
}

export const wrong = (name: string, cause?: unknown): SecretError =>
  new SecretError('ERR_SECRET_WRONG', `the passphrase does not open the ${name}`, {
    hint: 'give the right passphrase; if it is right, the file is damaged',
    cause,
  });
