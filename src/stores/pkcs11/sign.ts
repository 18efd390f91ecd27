import { createHash } from 'node:crypto';
import type { PKCS11 } from 'pkcs11js';
import { ecdsaSignatureToDer } from '../../der.ts';
import { HoldfastError } from '../../errors.ts';
import type { HashName } from '../../signer.ts';
import { CK } from './cryptoki.ts';
import { returnValueOf } from './faults.ts';
import type { PrivateKey } from './keys.ts';
import { type Mechanisms, nameOfMechanism } from './mechanisms.ts';

interface Hash {
  readonly node: string;
  /** DER of a DigestInfo up to the digest itself (RFC 8017 §9.2, note 1). */
  readonly digestInfo: string;
  /** The mechanisms that hash by themselves. */
  readonly RSA: number;
  readonly EC: number;
}

const HASHES: ReadonlyMap<unknown, Hash> = new Map([
  [
    'SHA-256',
    {
      node: 'sha256',
      digestInfo: '3031300d060960864801650304020105000420',
      RSA: CK.CKM_SHA256_RSA_PKCS,
      EC: CK.CKM_ECDSA_SHA256,
    },
  ],
  [
    'SHA-384',
    {
      node: 'sha384',
      digestInfo: '3041300d060960864801650304020205000430',
      RSA: CK.CKM_SHA384_RSA_PKCS,
      EC: CK.CKM_ECDSA_SHA384,
    },
  ],
  [
    'SHA-512',
    {
      node: 'sha512',
      digestInfo: '3051300d060960864801650304020305000440',
      RSA: CK.CKM_SHA512_RSA_PKCS,
      EC: CK.CKM_ECDSA_SHA512,
    },
  ],
]);

/** Room for the signature of an 8192-bit RSA key, and for two numbers of a 521-bit curve. */
const LONGEST_SIGNATURE = { RSA: 1024, EC: 132 } as const;

/** One way to a signature: the mechanism, and what the token is given for it. */
export interface Way {
  readonly mechanism: number;
  readonly input: Buffer;
}

/**
 * The ways to this signature that the token offers, the best first. RSA: the token hashes where it can, as some forbid to
 * sign what they did not hash. ECDSA: the hash is made here, because every token signs a digest and few hash.
 *
 * @param message the caller's, who may change it afterwards
 * @throws {HoldfastError} `ERR_OPTION_INVALID`, `ERR_KEY_UNSUPPORTED`
 */
export function waysToSign(key: PrivateKey, mechanisms: Mechanisms, message: Uint8Array, hash: HashName): Way[] {
  const known = HASHES.get(hash);
  if (!known) {
    throw new HoldfastError('ERR_OPTION_INVALID', `there is no hash "${String(hash)}"`, {
      hint: `use one of ${[...HASHES.keys()].join(', ')}`,
    });
  }
  const [plain, hashing] = [key.type === 'RSA' ? CK.CKM_RSA_PKCS : CK.CKM_ECDSA, known[key.type]];
  // An empty buffer has no address, which modules refuse: the digest of an empty message is none.
  const offered = (key.type === 'RSA' ? [hashing, plain] : [plain, hashing]).filter(
    (one) => mechanisms.offers(one) && (one === plain || message.length > 0),
  );
  if (offered.length === 0) {
    const missing = `${nameOfMechanism(plain)} nor ${nameOfMechanism(hashing)}`;
    throw new HoldfastError(
      'ERR_KEY_UNSUPPORTED',
      `${key.description} cannot sign with ${hash}: the token offers neither ${missing}`,
      { hint: 'use a key of another type, or another token (holdfast list shows what each offers)' },
    );
  }
  if (!offered.includes(plain)) offered.push(plain);
  return offered.map((mechanism) => ({
    mechanism,
    input: mechanism === plain ? digestFor(key, known, message) : Buffer.from(message),
  }));
}

/** What is signed by a token that does not hash. */
function digestFor(key: PrivateKey, { node, digestInfo }: Hash, message: Uint8Array): Buffer {
  const digest = createHash(node).update(message).digest();
  if (key.type === 'RSA') return Buffer.concat([Buffer.from(digestInfo, 'hex'), digest]);
  // ECDSA takes the leftmost bits of a longer digest (FIPS 186-5 §6.4.1); not every token cuts it by itself.
  return digest.subarray(0, key.orderSize);
}

/**
 * One signature on a PKCS#11 session that is busy with nothing else.
 *
 * @param ways what `waysToSign` found
 * @param authenticate called between C_SignInit and C_Sign, where a key that always authenticates wants its login
 */
export async function signOn(
  pkcs11: PKCS11,
  session: Buffer,
  key: PrivateKey,
  ways: readonly Way[],
  mechanisms: Mechanisms,
  authenticate: () => void,
): Promise<Buffer> {
  // Out of Node's pool, which Buffer.alloc does without, and blank: a module may say that it wrote more than it did.
  const output = Buffer.allocUnsafe(LONGEST_SIGNATURE[key.type]).fill(0);
  const { input } = begin(pkcs11, session, key, ways, mechanisms);
  authenticate();
  const raw = await pkcs11.C_SignAsync(session, input, output);
  const signature = key.type === 'RSA' ? Buffer.from(raw) : ecdsaSignatureToDer(raw);
  // The native worker holds bare pointers into both buffers: they are used here so that they live until it is done.
  input[0] = 0;
  output[0] = 0;
  return signature;
}

const MECHANISM_INVALID = 0x70;

/** C_SignInit with the first mechanism that the token knows after all: lists of mechanisms promise more than is there. */
function begin(pkcs11: PKCS11, session: Buffer, key: PrivateKey, ways: readonly Way[], mechanisms: Mechanisms): Way {
  for (const way of ways) {
    try {
      pkcs11.C_SignInit(session, { mechanism: way.mechanism }, key.handle);
      return way;
    } catch (thrown) {
      if (returnValueOf(thrown) !== MECHANISM_INVALID || way === ways.at(-1)) throw thrown;
      mechanisms.forget(way.mechanism);
    }
  }
  throw new HoldfastError('ERR_INTERNAL', 'there was no way to sign');
}
