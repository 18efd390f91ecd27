// Writers of a credentials file are killed at random moments: the file is always wholly the old or the new one.
import { killWriters } from '../helpers/killed-writers.mjs';

export const asked = 500;

export async function slice(cases, seed) {
  const { written, left } = await killWriters(cases, seed);
  console.log(`credentials-file: ${cases} killed, ${written} after a write, ${left} in the middle of one`);
}
