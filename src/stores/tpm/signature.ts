import { ecdsaSignatureToDer } from '../../der.ts';
import { HoldfastError } from '../../errors.ts';
import type { HashName } from '../../signer.ts';
import { damaged, padded, readerOf, u16 } from './bytes.ts';
import { ALG } from './constants.ts';
import { type Hash, hashOf } from './hashes.ts';
import { has, type PublicArea } from './public-area.ts';

const HASHES: ReadonlyMap<string, number> = new Map<HashName, number>([
  ['SHA-256', ALG.SHA256],
  ['SHA-384', ALG.SHA384],
  ['SHA-512', ALG.SHA512],
]);

const nameOfHash = (algorithm: number | undefined): string =>
  [...HASHES].find(([, one]) => one === algorithm)?.[0] ??
  (algorithm === ALG.SHA1 ? 'SHA-1' : 'a hash that is not known');

/**
 * Refuse a key that cannot sign what a Signer signs.
 *
 * @param name what the key is called, without an article
 * @throws {HoldfastError} `ERR_KEY_UNSUPPORTED`, with the reason
 */
export function checkSigns(area: PublicArea, name: string): void {
  const reason = reasonAgainst(area);
  if (!reason) return;
  throw new HoldfastError('ERR_KEY_UNSUPPORTED', `the ${name} ${reason}`, {
    hint: 'use an unrestricted signing key (RSA with RSASSA, or ECDSA)',
  });
}

function reasonAgainst(area: PublicArea): string | undefined {
  if (!has(area, 'sign')) {
    return has(area, 'restricted')
      ? 'is a storage key, which holds other keys and does not sign'
      : 'only decrypts: its attribute "sign" is not set, and the TPM will not sign with it';
  }
  if (has(area, 'restricted'))
    return 'is restricted to what the TPM itself says (an attestation key): it signs no other digest';
  const { scheme } = area;
  if (!scheme || scheme.algorithm === wantedScheme(area)) return undefined;
  if (scheme.algorithm === ALG.RSAPSS) return 'signs with RSA-PSS alone, which Roles Anywhere does not take';
  return `signs with a scheme that holdfast does not use (0x${scheme.algorithm.toString(16)})`;
}

const wantedScheme = ({ type }: PublicArea): number => (type === 'RSA' ? ALG.RSASSA : ALG.ECDSA);

/** The hash of a signature, by its name. @throws {HoldfastError} `ERR_OPTION_INVALID`, `ERR_KEY_UNSUPPORTED` */
export function signingHash(area: PublicArea, name: HashName, key: string): { algorithm: number; hash: Hash } {
  const algorithm = HASHES.get(name);
  if (algorithm === undefined) {
    throw new HoldfastError('ERR_OPTION_INVALID', 'a hash is SHA-256, SHA-384 or SHA-512', {
      hint: 'correct the hash',
    });
  }
  if (area.scheme && area.scheme.hash !== algorithm) {
    throw new HoldfastError(
      'ERR_KEY_UNSUPPORTED',
      `the ${key} signs with ${nameOfHash(area.scheme.hash)} alone, which is fixed in it`,
      { hint: `sign with ${nameOfHash(area.scheme.hash)}, or use a key without a fixed scheme` },
    );
  }
  return { algorithm, hash: hashOf(algorithm) as Hash };
}

/** `TPMT_SIG_SCHEME` (TPM 2.0 Part 2 §11.2.1.5). It may stand there also when the key has it fixed. */
export const schemeFor = (area: PublicArea, algorithm: number): Buffer =>
  Buffer.concat([u16(wantedScheme(area)), u16(algorithm)]);

/** A `TPMT_SIGNATURE` (Part 2 §11.3.4) as a Signer gives it. @throws {HoldfastError} `ERR_TOKEN_FAILED` */
export function signatureOf(bytes: Buffer, area: PublicArea, algorithm: number): Buffer {
  const reader = readerOf(bytes);
  if (reader.u16() !== wantedScheme(area) || reader.u16() !== algorithm) {
    throw damaged('it is a signature of another kind than was asked for');
  }
  const [first, second] = [reader.sized(), area.type === 'ECC' ? reader.sized() : undefined];
  reader.end();
  if (area.type === 'RSA') return padded(first, area.modulus.length);
  const { size } = area.curve;
  return ecdsaSignatureToDer(Buffer.concat([padded(first, size), padded(second as Buffer, size)]));
}
