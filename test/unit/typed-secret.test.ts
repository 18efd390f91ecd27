import { expect, test } from '@jest/globals';
import { askOnce } from '../../src/cli/typed-secret.ts';
import { askPerson, askSecret, asksPerson, Secret, type SecretFunction, type SecretRequest } from '../../src/secret.ts';

const PIN: SecretRequest = { kind: 'PIN', of: 'token "prod"' };

test('what a person typed is asked for once, and counts as stored afterwards', async () => {
  const asked: SecretRequest[] = [];
  const source = askOnce(
    askPerson((request) => {
      asked.push(request);
      return new Secret(`typed ${asked.length}`);
    }),
  );
  expect(asksPerson(source)).toBe(true);
  const first = await askSecret(source, PIN);
  expect(first.reveal()).toBe('typed 1');
  expect(asksPerson(source)).toBe(false);
  first.wipe(); // as everybody does
  expect((await askSecret(source, { ...PIN, triesLeft: 2 })).reveal()).toBe('typed 1');
  expect((await askSecret(source, { kind: 'passphrase', of: 'key file x' })).reveal()).toBe('typed 2');
  expect(asked).toHaveLength(2);
});

test('nobody there is no answer to keep', async () => {
  const answers = [undefined, 'now'];
  const source = askOnce(askPerson(() => answers.shift())) as SecretFunction;
  expect(await source(PIN)).toBeUndefined();
  expect(asksPerson(source)).toBe(true);
  expect((await askSecret(source, PIN)).reveal()).toBe('now');
});

test('other sources stay what they are', () => {
  const stored = (): string => 'stored';
  for (const source of [undefined, 'text', stored]) expect(askOnce(source)).toBe(source);
});
