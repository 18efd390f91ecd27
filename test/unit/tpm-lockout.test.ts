import { expect, test } from '@jest/globals';
import { lockedError } from '../../src/stores/tpm/lockout.ts';

const hintFor = (interval: number): string | undefined =>
  lockedError('TPM at x', { locked: true, triesLeft: 0, tried: true, interval }).hint;

test.each([
  [1, 'one more try every second'],
  [90, 'one more try every 90 seconds'],
  [600, 'one more try every 10 minutes'],
  [1000, 'one more try every 1000 seconds'],
  [7200, 'one more try every 2 hours'],
  [86_400, 'one more try every day'],
  [0, 'does not recover by itself'],
])('when a TPM recovers that gives a try back after %d s', (interval, words) => {
  expect(hintFor(interval)).toContain(words);
});
