import { createPublicKey, type KeyObject, sign } from 'node:crypto';
import { HoldfastError } from '../../errors.ts';
import { orAborted, within } from '../../limits.ts';
import { checkMessage } from '../../option-types.ts';
import type { HashName } from '../../signer.ts';
import type { OpenKey, OpenOptions } from '../store.ts';
import { unsupportedKey } from './identify.ts';

/** Shorter RSA keys are within reach of a laptop, and SHA-512 does not fit into the shortest. */
const RSA_MIN_BITS = 1024;
/** OpenSSL verifies nothing longer (OPENSSL_RSA_MAX_MODULUS_BITS), and a file could ask for hours of arithmetic. */
const RSA_MAX_BITS = 16384;

/** `asymmetricKeyType` of the keys that hash by themselves. */
const ML_DSA = /^ml-dsa-(44|65|87)$/;

const HASHES: ReadonlyMap<string, string> = new Map<HashName, string>([
  ['SHA-256', 'sha256'],
  ['SHA-384', 'sha384'],
  ['SHA-512', 'sha512'],
]);

export interface NodeKeyOptions extends Pick<OpenOptions, 'signal' | 'deadline'> {
  /** DER, the key's own first. */
  certificates: readonly Uint8Array[];
  /** What the key is called, without an article: `key file /etc/aws/key.pem`. */
  name: string;
}

/**
 * A private key of node:crypto as a key of ours.
 *
 * @throws {HoldfastError} `ERR_KEY_UNSUPPORTED` for anything but RSA of 1024 to 16384 bits, EC and ML-DSA
 */
export function nodeKey(key: KeyObject, { name, certificates, ...options }: NodeKeyOptions): OpenKey {
  checkKind(key, name);
  const hashesItself = ML_DSA.test(key.asymmetricKeyType ?? '');
  const publicKey = spkiOf(key, name);
  const inFlight = new Set<Promise<unknown>>();
  let held: KeyObject | undefined = key;

  const signWith = async (message: Uint8Array, hash: HashName): Promise<Uint8Array> => {
    if (!held) {
      throw new HoldfastError('ERR_KEY_CLOSED', `the ${name} was closed`, {
        hint: 'open the key again to sign with it',
      });
    }
    const open = held;
    const digest = hashesItself ? null : HASHES.get(hash);
    if (digest === undefined) {
      throw new HoldfastError('ERR_OPTION_INVALID', 'a hash is SHA-256, SHA-384 or SHA-512', {
        hint: 'correct the hash',
      });
    }
    checkMessage(message);
    return within(options, `signing with the ${name}`, (signal) =>
      orAborted(signInPool(digest, message, open, name), signal),
    );
  };

  return {
    publicKey,
    certificates,
    attended: false,
    description: name,
    sign(message, hash = 'SHA-256') {
      const signing = signWith(message, hash);
      inFlight.add(signing);
      const forget = (): boolean => inFlight.delete(signing);
      signing.then(forget, forget);
      return signing;
    },
    async close() {
      held = undefined;
      await Promise.allSettled(inFlight);
    },
  };
}

/**
 * Node's own defaults are what a Signer promises: PKCS#1 v1.5 for RSA, DER for EC, an empty context for ML-DSA (which it
 * signs hedged, FIPS 204 §5.2). It copies the message before it
 * returns, and signs in its thread pool: RSA-4096 takes some milliseconds, which a server's event loop would miss; the
 * way there and back costs 0.1 ms.
 */
const signInPool = (digest: string | null, message: Uint8Array, key: KeyObject, name: string): Promise<Uint8Array> =>
  new Promise((resolve, reject) => {
    const fail = (cause: unknown): void =>
      reject(
        new HoldfastError('ERR_SIGNING_FAILED', `the ${name} could not sign`, {
          hint: 'check that it is intact',
          cause,
        }),
      );
    try {
      sign(digest, message, key, (error, signature) => (error ? fail(error) : resolve(signature)));
    } catch (cause) {
      fail(cause);
    }
  });

function checkKind(key: KeyObject, name: string): void {
  if (key.type !== 'private') throw unsupportedKey(`a ${key.type} key, not a private key`, name);
  const kind = key.asymmetricKeyType;
  if (kind === 'ec' || ML_DSA.test(kind ?? '')) return;
  if (kind !== 'rsa') throw unsupportedKey(KINDS.get(kind ?? '') ?? `a key of type ${kind ?? 'unknown'}`, name);
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  if (bits < RSA_MIN_BITS || bits > RSA_MAX_BITS) {
    throw unsupportedKey(`an RSA key of ${bits} bits, where ${RSA_MIN_BITS} to ${RSA_MAX_BITS} are used`, name);
  }
}

function spkiOf(key: KeyObject, name: string): Uint8Array {
  try {
    return createPublicKey(key).export({ type: 'spki', format: 'der' });
  } catch (cause) {
    throw unsupportedKey('a key on a curve that no certificate can name', name, cause);
  }
}

const KINDS: ReadonlyMap<string, string> = new Map([
  ['rsa-pss', 'an RSA key bound to PSS'],
  ['dsa', 'a DSA key'],
  ['dh', 'a Diffie-Hellman key'],
  ['ed25519', 'an Ed25519 key'],
  ['ed448', 'an Ed448 key'],
  ['x25519', 'an X25519 key'],
  ['x448', 'an X448 key'],
]);
