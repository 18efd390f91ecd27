import { describe, expect, test } from '@jest/globals';
import { FEW, findObjects, MOST, readAttributes } from '../../src/stores/pkcs11/objects.ts';
import type { Connection } from '../../src/stores/pkcs11/token.ts';
import { fakeToken, returnValue } from '../helpers/fake-pkcs11.ts';
import { thrownBy } from '../helpers/thrown.ts';

/** A token whose module answers these calls, and nothing else. */
const answering = (calls: Record<string, (...args: never[]) => unknown>): Connection => {
  const { connection } = fakeToken();
  return { ...connection, module: { ...connection.module, pkcs11: calls as never } };
};

describe('searching', () => {
  /** A module that hands out at most so many at once, of so many. */
  const search = (total: number, atOnce: number, limit?: number): { found: number; asked: number[] } => {
    const asked: number[] = [];
    let left = total;
    let ended = 0;
    const connection = answering({
      C_FindObjectsInit: () => undefined,
      C_FindObjects: (_: Buffer, most: number) => {
        asked.push(most);
        const count = Math.min(most, atOnce, left);
        left -= count;
        return Array.from({ length: count }, () => Buffer.alloc(8));
      },
      C_FindObjectsFinal: () => {
        ended += 1;
      },
    });
    const found = findObjects(connection, [], limit).length;
    expect(ended).toBe(1);
    return { found, asked };
  };

  test.each([
    ['one', 1, 1000, undefined, 1, [MOST, MOST - 1]],
    ['none', 0, 1000, undefined, 0, [MOST]],
    ['no more than are asked for', 5000, 5000, FEW, FEW, [FEW]],
    ['no more than most', 5000, 5000, undefined, MOST, [MOST]],
    ['all', 250, 100, Number.POSITIVE_INFINITY, 250, [MOST, MOST, MOST, MOST]],
    // Legal, and taking the first for the only one would choose a key that nobody named.
    ['two, from a module that hands them out singly', 2, 1, FEW, 2, [FEW, FEW - 1, FEW - 2]],
  ])('finds %s', (_, total, atOnce, limit, found, asked) => {
    expect(search(total, atOnce, limit)).toEqual({ found, asked });
  });

  test('ends the search when it fails', () => {
    const calls: string[] = [];
    const connection = answering({
      C_FindObjectsInit: () => undefined,
      C_FindObjects: () => {
        throw new Error('CKR_DEVICE_REMOVED:50');
      },
      C_FindObjectsFinal: () => void calls.push('C_FindObjectsFinal'),
    });
    expect(thrownBy(() => findObjects(connection, []))).toMatchObject({ code: 'ERR_TOKEN_FAILED' });
    expect(calls).toEqual(['C_FindObjectsFinal']);
  });
});

describe('reading attributes', () => {
  const read = (told: readonly number[], refusal: number): { values: Map<number, Buffer>; calls: number } => {
    let calls = 0;
    const connection = answering({
      C_GetAttributeValue: (_: Buffer, __: Buffer, template: { type: number }[]) => {
        calls += 1;
        if (template.some(({ type }) => !told.includes(type))) throw returnValue(refusal);
        return template.map(({ type }) => ({ type, value: Buffer.of(type) }));
      },
    });
    return { values: new Map(readAttributes(connection, Buffer.alloc(8), [1, 2, 3])), calls };
  };

  test('together', () => {
    expect(read([1, 2, 3], 0)).toEqual({ values: new Map([1, 2, 3].map((type) => [type, Buffer.of(type)])), calls: 1 });
  });

  test.each([0x11, 0x12])('one by one where one is not told (0x%s)', (refusal) => {
    expect(read([1, 3], refusal)).toEqual({ values: new Map([1, 3].map((type) => [type, Buffer.of(type)])), calls: 4 });
    expect(read([], refusal)).toEqual({ values: new Map(), calls: 4 });
  });

  test('any other refusal is a failure of the token', () => {
    expect(thrownBy(() => read([], 0x82))).toMatchObject({ code: 'ERR_TOKEN_FAILED' });
  });
});
