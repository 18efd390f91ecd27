import { createPublicKey, type KeyObject, verify, type webcrypto } from 'node:crypto';
import { Crypto } from '@peculiar/webcrypto';
import { ecdsaSignatureFromDer } from './der.ts';
import { HoldfastError, messageOf } from './errors.ts';
import type { HashName, Signer } from './signer.ts';

export interface SignerCryptoOptions {
  signer: Signer;
  /** DER SubjectPublicKeyInfo of the signer's key: an `OpenKey` knows it when its store does. */
  publicKey: Uint8Array;
  /** The hash an RSA key signs with: WebCrypto ties it to the key, and to the signature for ECDSA. Default: SHA-256. */
  hash?: HashName | undefined;
}

/** A signer dressed as WebCrypto. Pass both parts along; nothing is registered anywhere. */
export interface SignerCrypto {
  /** `subtle.sign` with `keys.privateKey` asks the signer; everything else is @peculiar/webcrypto. */
  readonly crypto: webcrypto.Crypto;
  /** `privateKey` is a handle without a key in it: it signs through `crypto` and nowhere else. */
  readonly keys: webcrypto.CryptoKeyPair;
}

const CURVES: Record<string, { namedCurve: string; size: number } | undefined> = {
  prime256v1: { namedCurve: 'P-256', size: 32 },
  secp384r1: { namedCurve: 'P-384', size: 48 },
  secp521r1: { namedCurve: 'P-521', size: 66 },
};

/**
 * Make a signer usable where a library wants a WebCrypto `Crypto` and a `CryptoKeyPair`: certificate requests of
 * @peculiar/x509, CMS of pkijs.
 *
 * Algorithms: RSASSA-PKCS1-v1_5 and ECDSA over P-256, P-384, P-521; signatures in the form of WebCrypto (ECDSA: r and s
 * side by side, W3C WebCrypto §23.7.1). Each one is verified with the public key before it is handed out.
 *
 * @throws {HoldfastError} `ERR_KEY_UNSUPPORTED` for any other key; from `subtle.sign`: `ERR_SIGNING_FAILED` when the
 *   signer answers with a signature of another key, and whatever the signer throws
 */
export async function signerCrypto(options: SignerCryptoOptions): Promise<SignerCrypto> {
  const real = new Crypto() as webcrypto.Crypto;
  const key = readPublicKey(options.publicKey);
  const hash = options.hash ?? 'SHA-256';
  const curve = CURVES[key.asymmetricKeyDetails?.namedCurve ?? ''];
  if (key.asymmetricKeyType !== 'rsa' && !curve) {
    throw unsupported(`a key of type ${key.asymmetricKeyDetails?.namedCurve ?? key.asymmetricKeyType}`);
  }
  const algorithm = curve ? { name: 'ECDSA', namedCurve: curve.namedCurve } : { name: 'RSASSA-PKCS1-v1_5', hash };
  const publicKey = await real.subtle.importKey('spki', options.publicKey, algorithm, true, ['verify']);
  const privateKey: webcrypto.CryptoKey = Object.freeze({
    type: 'private' as const,
    extractable: false,
    algorithm: publicKey.algorithm,
    usages: ['sign' as const],
  });

  const sign: webcrypto.SubtleCrypto['sign'] = async (asked, handle, data) => {
    if (handle !== privateKey) return real.subtle.sign(asked, handle, data);
    const message = ArrayBuffer.isView(data)
      ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
      : new Uint8Array(data);
    const { name, hash: askedHash } = typeof asked === 'string' ? { name: asked } : (asked as webcrypto.EcdsaParams);
    if (name.toUpperCase() !== algorithm.name.toUpperCase())
      throw unsupported(`${name} with a key for ${algorithm.name}`);
    const hashName = curve ? hashNameOf(askedHash) : hash;
    const signature = await options.signer.sign(message, hashName);
    const web = curve ? ecdsaSignatureFromDer(signature, curve.size) : signature;
    if (web && verify(hashName.replace('-', ''), message, key, signature)) return new Uint8Array(web).buffer;
    throw new HoldfastError('ERR_SIGNING_FAILED', 'the signature is not one of the public key that was given', {
      hint: 'check that the signer and the public key belong together',
    });
  };
  // The methods of the real one look for its parts on `this`, which inherits them.
  const subtle = Object.create(real.subtle, { sign: { value: sign } }) as webcrypto.SubtleCrypto;
  const crypto = Object.create(real, { subtle: { value: subtle } }) as webcrypto.Crypto;
  return { crypto, keys: { privateKey, publicKey } };
}

function readPublicKey(der: Uint8Array): KeyObject {
  try {
    return createPublicKey({ key: Buffer.from(der), format: 'der', type: 'spki' });
  } catch (cause) {
    throw new HoldfastError('ERR_KEY_INVALID', `this is no public key: ${messageOf(cause)}`, {
      hint: 'give its SubjectPublicKeyInfo in DER',
      cause,
    });
  }
}

const HASHES: readonly HashName[] = ['SHA-256', 'SHA-384', 'SHA-512'];

function hashNameOf(asked: webcrypto.HashAlgorithmIdentifier | undefined): HashName {
  const name = typeof asked === 'object' ? asked.name : asked;
  const found = HASHES.find((hash) => hash === name?.toUpperCase());
  if (found) return found;
  throw unsupported(`the hash ${name ?? '(none)'}`);
}

const unsupported = (what: string) =>
  new HoldfastError('ERR_KEY_UNSUPPORTED', `holdfast cannot sign through WebCrypto with ${what}`, {
    hint: 'use RSASSA-PKCS1-v1_5, or ECDSA over P-256, P-384 or P-521, with SHA-256, SHA-384 or SHA-512',
  });
