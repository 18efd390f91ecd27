import { describe, test } from '@jest/globals';
import { holds, readEntries, tagOf } from '../not-exercised.mjs';

type Test = (name: string, run: () => void | Promise<void>, timeout?: number) => void;

/**
 * A `test` that is skipped, by name, where the condition of an entry in test/not-exercised.json holds:
 * `const dockerTest = await testUnless('docker')` at the top of a test file.
 */
export async function testUnless(id: string): Promise<Test> {
  const skips = await isSkipped(id);
  return (name, run, timeout) => (skips ? test.skip(`${name} ${tagOf(id)}`, run) : test(name, run, timeout));
}

/** A `describe` of the same kind: all of it is one skip. */
export async function describeUnless(id: string): Promise<(name: string, tests: () => void) => void> {
  const skips = await isSkipped(id);
  return (name, tests) => (skips ? test.skip(`${name} ${tagOf(id)}`, () => {}) : describe(name, tests));
}

function isSkipped(id: string): Promise<boolean> {
  const entry = readEntries().find((one) => one.id === id);
  if (entry === undefined) throw new Error(`test/not-exercised.json has no entry "${id}"`);
  return holds(entry.condition);
}
