import { expect, test } from '@jest/globals';
import { gathering } from '../../src/stores/pkcs11/messages.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('what is said in one turn of the event loop goes together, in its order', async () => {
  const written: (readonly number[])[] = [];
  const { send } = gathering<number>((messages) => written.push(messages));
  send(1);
  await Promise.resolve();
  send(2);
  expect(written).toEqual([]);
  await turn();
  send(3);
  await turn();
  await turn();
  expect(written).toEqual([[1, 2], [3]]);
});

test('what must not wait goes at once, behind what was said before', async () => {
  const written: (readonly number[])[] = [];
  const { send, flush } = gathering<number>((messages) => written.push(messages));
  send(1);
  send(2);
  flush();
  expect(written).toEqual([[1, 2]]);
  send(3);
  await turn();
  flush();
  await turn();
  expect(written).toEqual([[1, 2], [3]]);
});
