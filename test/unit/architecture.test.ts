import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';
import { checkLaws, print, readHouse } from '../helpers/architecture.ts';
import { FAULTS, plant } from '../helpers/faults.ts';
import { SMALL_HOUSE } from '../helpers/small-house.ts';

const house = readHouse(fileURLToPath(new URL('../..', import.meta.url)));

test('the laws hold in this house', () => {
  expect(checkLaws(house).map(print)).toEqual([]);
});

test('a house without a fault is not blamed', () => {
  expect(checkLaws(SMALL_HOUSE).map(print)).toEqual([]);
});

test.each([
  ['small', SMALL_HOUSE],
  ['real', house],
])('the %s house has what the faults are planted in', (_, ground) => {
  for (const file of ['src/provider.ts', 'src/signer.ts', 'src/errors.ts', 'src/index.ts', 'docs/errors.md']) {
    expect(ground.has(file)).toBe(true);
  }
  expect(ground.size).toBeGreaterThan(10);
});

describe.each([
  ['the small house', SMALL_HOUSE],
  ['the real house', house],
])('planted in %s', (_, ground) => {
  const before = new Set(checkLaws(ground).map(print));

  test.each(FAULTS)('law $law: $what', (fault) => {
    const found = checkLaws(plant(ground, fault)).filter((finding) => !before.has(print(finding)));
    expect(found).toContainEqual(expect.objectContaining({ law: fault.law, file: fault.blamed }));
  });
});

test('every law has a planted fault', () => {
  const planted = new Set(FAULTS.map(({ law }) => law));
  expect([...planted].sort()).toEqual(['1', '2', '3', '4', '5', '6', '7', '8', '9', 'local', 'style']);
});
