import { canMlDsa, needsNewerNode } from '../../certificate.ts';
import { HoldfastError } from '../../errors.ts';

/**
 * Refuse an ML-DSA key where the running Node has none. OpenSSL may know it all the same (that of Node 22 does): then it
 * reads the key, and cannot sign with it.
 *
 * @param set the parameter set, such as `ML-DSA-65`
 * @throws {HoldfastError} `ERR_KEY_UNSUPPORTED`
 */
export function checkMlDsa(set: string, name: string): void {
  if (canMlDsa()) return;
  throw new HoldfastError('ERR_KEY_UNSUPPORTED', `the ${name} holds an ML-DSA key: ${needsNewerNode(set)}`, {
    hint: 'run it with Node 24.6 or newer, or use an RSA or ECDSA key',
  });
}
