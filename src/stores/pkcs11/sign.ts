import { createHash } from 'node:crypto';
import type { PKCS11 } from 'pkcs11js';
import { ecdsaSignatureToDer } from '../../der.ts';
import { HoldfastError } from '../../errors.ts';
import type { HashName } from '../../signer.ts';
import { CK } from './cryptoki.ts';
import type { PrivateKey } from './keys.ts';

/** DER of a DigestInfo up to the digest itself (RFC 8017 §9.2, note 1). */
const HASHES: ReadonlyMap<unknown, { readonly node: string; readonly digestInfo: string }> = new Map([
  ['SHA-256', { node: 'sha256', digestInfo: '3031300d060960864801650304020105000420' }],
  ['SHA-384', { node: 'sha384', digestInfo: '3041300d060960864801650304020205000430' }],
  ['SHA-512', { node: 'sha512', digestInfo: '3051300d060960864801650304020305000440' }],
]);

/** Room for the signature of an 8192-bit RSA key. */
const LONGEST_SIGNATURE = 1024;

/** What the token is given to sign: the hash is made here, because every token signs a digest and few hash. */
export function toBeSigned(key: PrivateKey, message: Uint8Array, hash: HashName): Buffer {
  const known = HASHES.get(hash);
  if (!known) {
    throw new HoldfastError('ERR_OPTION_INVALID', `there is no hash "${String(hash)}"`, {
      hint: `use one of ${[...HASHES.keys()].join(', ')}`,
    });
  }
  const digest = createHash(known.node).update(message).digest();
  if (key.type === 'RSA') return Buffer.concat([Buffer.from(known.digestInfo, 'hex'), digest]);
  // ECDSA takes the leftmost bits of a longer digest (FIPS 186-5 §6.4.1); not every token cuts it by itself.
  return digest.subarray(0, key.orderSize);
}

/**
 * One signature on a PKCS#11 session that is busy with nothing else.
 *
 * @param authenticate called between C_SignInit and C_Sign, where a key that always authenticates wants its login
 */
export async function signOn(
  pkcs11: PKCS11,
  session: Buffer,
  key: PrivateKey,
  input: Buffer,
  authenticate: () => void,
): Promise<Buffer> {
  const output = Buffer.alloc(LONGEST_SIGNATURE);
  pkcs11.C_SignInit(session, { mechanism: key.type === 'RSA' ? CK.CKM_RSA_PKCS : CK.CKM_ECDSA }, key.handle);
  authenticate();
  const signature = Buffer.from(await pkcs11.C_SignAsync(session, input, output));
  // The native worker holds bare pointers into both buffers: they are used here so that they live until it is done.
  input.fill(0);
  output.fill(0);
  return key.type === 'RSA' ? signature : Buffer.from(ecdsaSignatureToDer(signature));
}
