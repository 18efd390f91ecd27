import { publicKeyOf } from '../../der.ts';
import { HoldfastError } from '../../errors.ts';
import { type Limits, within } from '../../limits.ts';
import { checkMessage } from '../../option-types.ts';
import type { Secret } from '../../secret.ts';
import type { HashName } from '../../signer.ts';
import type { OpenKey } from '../store.ts';
import type { Use } from './careful.ts';
import { sign as signDigest } from './commands.ts';
import type { Tpm } from './execute.ts';
import { digest } from './hashes.ts';
import type { Hold } from './hold.ts';
import { authorizationFor, type Loaded } from './load-key.ts';
import { lockedError, readLockout } from './lockout.ts';
import { policyError } from './policy.ts';
import { keyObjectOf } from './public-area.ts';
import { isResponse, RC } from './response-codes.ts';
import { checkSigns, schemeFor, signatureOf, signingHash } from './signature.ts';

/** A key that was found, with its authValue. */
export interface Found {
  readonly hold: Pick<Hold<Loaded>, 'close'>;
  /** DER. */
  readonly certificates: readonly Uint8Array[];
  readonly area: Loaded['key']['area'];
  /** Without an article. */
  readonly name: string;
  readonly deviceName: string;
  /** Wiped when the key is closed. */
  readonly secret: Secret;
  /** How the key is used with it. */
  readonly use: Use;
}

/** A key of a TPM as a key of ours. @throws {HoldfastError} `ERR_KEY_UNSUPPORTED` */
export function tpmKey(found: Found, limits: Limits): OpenKey {
  const { hold, area, certificates, name, secret } = found;
  checkSigns(area, name);
  const publicKey = keyObjectOf(area).export({ type: 'spki', format: 'der' });
  const isOwn = (certificate: Uint8Array): boolean => Buffer.compare(publicKeyOf(certificate), publicKey) === 0;
  const signatures = new Set<Promise<unknown>>();
  let closing: Promise<void> | undefined;

  async function sign(message: Uint8Array, hashName: HashName = 'SHA-256'): Promise<Uint8Array> {
    if (closing) throw new HoldfastError('ERR_KEY_CLOSED', `the ${name} was closed`, { hint: 'open it again' });
    checkMessage(message);
    const { algorithm, hash } = signingHash(area, hashName, name);
    // Now: the message is the caller's, who may change it afterwards.
    const hashed = digest(hash, message);
    const signing = within(limits, `a signature with the ${name}`, (signal) =>
      found.use((loaded, tpm) => signOn(found, tpm, loaded, hashed, algorithm), signal),
    );
    signatures.add(signing);
    try {
      return await signing;
    } finally {
      signatures.delete(signing);
    }
  }

  async function end(): Promise<void> {
    await Promise.allSettled(signatures);
    await hold.close();
    secret.wipe();
  }

  return {
    publicKey,
    certificates: [...certificates.filter(isOwn), ...certificates.filter((one) => !isOwn(one))],
    attended: false,
    description: name,
    sign,
    close() {
      closing ??= end();
      return closing;
    },
  };
}

async function signOn(
  found: Found,
  tpm: Tpm,
  loaded: Loaded,
  hashed: Uint8Array,
  algorithm: number,
): Promise<Uint8Array> {
  const { area, deviceName, name, secret } = found;
  try {
    const authorization = await authorizationFor(tpm, loaded, secret.bytes, true);
    const bytes = await signDigest(tpm, loaded.key, hashed, schemeFor(area, algorithm), authorization);
    return signatureOf(bytes, area, algorithm);
  } catch (error) {
    if (isResponse(error, RC.LOCKOUT)) throw lockedError(deviceName, await readLockout(tpm), error);
    if (isResponse(error, RC.POLICY_FAIL, RC.POLICY_CC, RC.PCR_CHANGED)) {
      throw policyError(
        `the policy of the ${name} does not hold any more`,
        'bring the TPM back into the state that the key was made for',
        error,
      );
    }
    if (isResponse(error, RC.HASH, RC.SCHEME)) {
      throw new HoldfastError('ERR_KEY_UNSUPPORTED', `the ${deviceName} does not sign with this hash`, {
        hint: 'sign with SHA-256, which every TPM has',
        cause: error,
      });
    }
    throw error;
  }
}
