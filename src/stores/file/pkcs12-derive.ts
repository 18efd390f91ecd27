import { hash } from 'node:crypto';

/** How PKCS#12 makes keys out of a passphrase (RFC 7292 §B). */
export interface Pkcs12Derivation {
  readonly salt: Uint8Array;
  readonly rounds: number;
  /** The hash by node:crypto's name. */
  readonly hash: string;
}

/** What is derived: a key, an initialization vector, or the key of a MAC (RFC 7292 §B.3). */
export const PURPOSE = { key: 1, iv: 2, mac: 3 } as const;

/** Octets in a block of the hash, which a MAC cannot tell (FIPS 180-4 §1); of the others it is 64. */
const LONG_BLOCKS = /^sha(384|512)/;

/** Rounds until others get a turn: some milliseconds. */
const ROUNDS_AT_ONCE = 10_000;

/**
 * Derive octets from a passphrase (RFC 7292 §B.2). The packages that do this take the passphrase as a string, which
 * cannot be wiped, and block the process for all rounds.
 *
 * @param passphrase UTF-8; undefined for none at all, which PKCS#12 tells from an empty one
 */
export async function derivePkcs12(
  passphrase: Uint8Array | undefined,
  { salt, rounds, hash: name }: Pkcs12Derivation,
  purpose: (typeof PURPOSE)[keyof typeof PURPOSE],
  length: number,
): Promise<Buffer> {
  const blockLength = LONG_BLOCKS.test(name) ? 128 : 64;
  const secret = bmpOf(passphrase);
  const blocks = [salt, secret].map((octets) => repeated(octets, Math.ceil(octets.length / blockLength) * blockLength));
  secret.fill(0);
  const input = Buffer.concat([Buffer.alloc(blockLength, purpose), ...blocks]);
  for (const block of blocks) block.fill(0);
  const output: Buffer[] = [];
  try {
    for (let made = 0; made < length; made = output.length * (output[0] as Buffer).length) {
      let digest = hash(name, input, 'buffer');
      for (let round = 1; round < rounds; round += 1) {
        if (round % ROUNDS_AT_ONCE === 0) await new Promise((resolve) => setImmediate(resolve));
        digest = hash(name, digest, 'buffer');
      }
      output.push(digest);
      // Each block of the input takes the digest and 1 on, as one large number.
      const step = repeated(digest, blockLength);
      for (let at = blockLength; at < input.length; at += blockLength) add(input.subarray(at, at + blockLength), step);
    }
    return Buffer.concat(output).subarray(0, length);
  } finally {
    input.fill(0);
  }
}

/**
 * A passphrase as a BMPString, big-endian with two zero octets behind it (RFC 7292 §B.1); beyond the BMP in UTF-16, as
 * everybody does. What is no UTF-8 counts as Latin-1, as OpenSSL has it.
 */
function bmpOf(passphrase: Uint8Array | undefined): Buffer {
  if (!passphrase) return Buffer.alloc(0);
  // Importing the module would load more of it than a plain key needs.
  const { isUtf8, transcode } = process.getBuiltinModule('node:buffer');
  const zeroEnded = Buffer.concat([passphrase, Buffer.alloc(1)]);
  const text = transcode(zeroEnded, isUtf8(passphrase) ? 'utf8' : 'latin1', 'utf16le').swap16();
  zeroEnded.fill(0);
  return text;
}

const repeated = (octets: Uint8Array, length: number): Buffer =>
  length === 0 ? Buffer.alloc(0) : Buffer.alloc(length, octets);

/** `number += step + 1`, both big-endian and of one length; what does not fit is dropped. */
function add(number: Buffer, step: Buffer): void {
  let carry = 1;
  for (let i = number.length - 1; i >= 0; i -= 1) {
    carry += (number[i] as number) + (step[i] as number);
    number[i] = carry & 0xff;
    carry >>= 8;
  }
}
