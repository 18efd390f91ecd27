// Damage for fuzzing: of data as it is, of DER inside its PEM, of the numbers that say how long things are.
import { randomFrom } from './random.mjs';

/** Octets that mean something in DER, BER or PEM. */
const TELLING = [
  '00',
  '80',
  '7f',
  'ff',
  '30',
  '3080',
  '0000',
  '24',
  'a0',
  '020100',
  '84ffffffff',
  '83ffffff',
  '0500',
  '0a',
  '2d2d2d2d2d',
  '3d',
].map((hex) => Buffer.from(hex, 'hex'));

/** One or two changes, half of them in the first tenth, where the structure is. */
export function mutate(random, data) {
  let changed = data;
  for (let left = 1 + random.below(2); left > 0; left -= 1) changed = change(random, changed);
  return changed;
}

function change(random, data) {
  const end = random.below(2) === 0 ? data.length : Math.ceil(data.length / 10);
  const at = random.below(end + 1);
  const [removed, added] = [
    () => [1, random.bytes(1)],
    () => [1, random.of(TELLING)],
    () => [0, random.of(TELLING)],
    () => [0, random.bytes(1 + random.below(20))],
    () => [1 + random.below(20), Buffer.alloc(0)],
    () => [data.length, Buffer.alloc(0)],
    () => [0, data.subarray(random.below(data.length + 1), random.below(data.length + 1))],
  ][Math.min(random.below(14), 6)]();
  // One octet for another, the most telling change, is most of them.
  return random.below(2) === 0 && data.length > 0
    ? Buffer.concat([data.subarray(0, at), random.bytes(1), data.subarray(at + 1)])
    : Buffer.concat([data.subarray(0, at), added, data.subarray(at + removed)]);
}

/** Any bytes as PEM. */
export const pemOf = (label, der) =>
  Buffer.from(
    `-----BEGIN ${label}-----\n${(der.toString('base64').match(/.{1,64}/g) ?? []).join('\n')}\n-----END ${label}-----\n`,
  );

/**
 * Mutate one of these, as DER, as PEM, or as DER within PEM.
 *
 * @param files `{ label, der }`, or `{ text }`
 */
export function damaged(random, files) {
  const { label, der, text } = random.of(files);
  if (text) return mutate(random, text);
  const way = random.below(label ? 4 : 1);
  if (way < 2) return mutate(random, der);
  return way === 2 ? pemOf(label, mutate(random, der)) : mutate(random, pemOf(label, der));
}

/** Run `check` on so many cases; an error tells how to see its case again. */
export async function fuzz(cases, seed, next, check) {
  const random = randomFrom(seed);
  for (let i = 0; i < cases; i += 1) {
    const data = next(random);
    try {
      await check(data);
    } catch (cause) {
      throw new Error(`case ${i} of seed ${seed}: ${Buffer.from(data).toString('base64')}`, { cause });
    }
  }
}
