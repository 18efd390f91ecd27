import { test } from '@jest/globals';
import { holds, readEntries, tagOf } from '../not-exercised.mjs';

type Test = (name: string, run: () => void | Promise<void>, timeout?: number) => void;

/**
 * A `test` that is skipped, by name, where the condition of an entry in test/not-exercised.json holds:
 * `const dockerTest = await testUnless('docker')` at the top of a test file.
 */
export async function testUnless(id: string): Promise<Test> {
  const entry = readEntries().find((one) => one.id === id);
  if (entry === undefined) throw new Error(`test/not-exercised.json has no entry "${id}"`);
  const isSkipped = await holds(entry.condition);
  return (name, run, timeout) => (isSkipped ? test.skip(`${name} ${tagOf(id)}`, run) : test(name, run, timeout));
}
