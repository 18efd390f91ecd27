import { fileURLToPath } from 'node:url';
import { expect, test } from '@jest/globals';

const suite = fileURLToPath(new URL('../long/tpm-answers.mjs', import.meta.url));

interface Suite {
  slice(cases: number, seed: number): Promise<{ readonly right: number; readonly refused: number }>;
}

test('2,000 of the million damaged answers and key files that test/long has', async () => {
  const long = (await import(suite)) as Suite;
  const { right, refused } = await long.slice(2000, 1);
  expect(right + refused).toBe(2000);
  expect(refused).toBeGreaterThan(500);
});
