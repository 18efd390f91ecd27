import { randomBytes } from 'node:crypto';
import { type Canaries, canariesIn, makeCanaries, readCanaries, spellingsOf } from '../../scripts/canaries.mjs';

/**
 * The secrets of this run's tests: .ci/run makes them and looks for them afterwards, in all that was printed, left behind
 * and started. They come by file, since they are looked for in every environment, too. Without .ci/run: new ones.
 *
 * Never for a test whose point is that a secret stands in argv, in an environment or in a file that stays.
 */
export const canaries: Canaries = process.env.HOLDFAST_TEST_CANARIES
  ? readCanaries(process.env.HOLDFAST_TEST_CANARIES)
  : makeCanaries();

/** For those: looked for by the test alone. */
export const shown: string = randomBytes(8).toString('hex');

/** What a local service of the tests vends. */
export const vend: { readonly secretAccessKey: string; readonly sessionToken: string } = {
  secretAccessKey: canaries.secretKey,
  sessionToken: canaries.sessionToken,
};

const known = spellingsOf(canaries);

/** Throws when a text, such as what a program said on stderr, tells a secret. */
export function expectNoCanary(text: string, whose: string): void {
  const [found] = canariesIn(Buffer.from(text), known);
  if (found) throw new Error(`${whose} tells the ${found.canary} (${found.spelling})`);
}
