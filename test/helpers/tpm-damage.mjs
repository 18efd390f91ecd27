// Damage to what a TPM says.
import { mutate } from './mutations.mjs';

const HEADER = 10;

/** Response codes that are understood: retries, what is gone, full, refused, locked, and of no meaning at all. */
const CODES = [
  0x100, 0x101, 0x128, 0x12f, 0x14c, 0x184, 0x18b, 0x1c4, 0x1df, 0x2a6, 0x3e0, 0x901, 0x902, 0x903, 0x904, 0x908, 0x90a,
  0x910, 0x918, 0x920, 0x921, 0x922, 0x98e, 0x99d, 0x9a2, 0x9a4, 0x80280400,
];

/** Sizes and counts that hurt. */
const NUMBERS = [0, 1, 2, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0xffffffff];

/** Parameters, or anything else that has no header. */
export function damagedBytes(random, bytes) {
  if (bytes.length === 0) return Buffer.from(random.bytes(random.below(8)));
  const way = random.below(8);
  if (way < 3) return flipped(random, bytes);
  if (way < 5) return renumbered(random, bytes);
  return Buffer.from(mutate(random, bytes));
}

/**
 * A whole response.
 *
 * @param earlier answers to other commands
 */
export function damagedResponse(random, response, earlier) {
  const way = random.below(16);
  if (way < 6) return flipped(random, response);
  if (way < 8) return renumbered(random, response);
  if (way < 9) return refusalOf(random);
  if (way < 11) return earlier.length > 0 ? random.of(earlier) : Buffer.alloc(0);
  if (way < 12) return Buffer.from(random.bytes(random.below(300)));
  const changed =
    way < 14
      ? Buffer.from(mutate(random, response))
      : way < 15
        ? Buffer.from(response.subarray(0, random.below(response.length)))
        : Buffer.concat([response, random.bytes(1 + random.below(40))]);
  // With a size that fits, what is behind the header is read.
  if (changed.length >= HEADER && random.below(4) > 0) changed.writeUInt32BE(changed.length, 2);
  return changed;
}

function flipped(random, bytes) {
  const changed = Buffer.from(bytes);
  changed[random.below(changed.length)] ^= 1 << random.below(8);
  return changed;
}

function renumbered(random, bytes) {
  const changed = Buffer.from(bytes);
  const width = random.of([1, 2, 2, 2, 4]);
  if (changed.length < width) return changed;
  const number = random.below(2) === 0 ? random.of(NUMBERS) : random.below(changed.length + 3);
  changed.writeUIntBE(number % 2 ** (8 * width), random.below(changed.length - width + 1), width);
  return changed;
}

function refusalOf(random) {
  const refusal = Buffer.from('80010000000a00000000', 'hex');
  refusal.writeUInt32BE(random.below(4) === 0 ? random.below(2 ** 12) : random.of(CODES), 6);
  return refusal;
}
