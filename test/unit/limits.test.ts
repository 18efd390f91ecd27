import { getEventListeners } from 'node:events';
import { describe, expect, test } from '@jest/globals';
import { onAbort, orAborted, sleep, within } from '../../src/limits.ts';
import { failure } from '../stores/conformance.ts';

describe('who waits for a signal', () => {
  const listeners = (signal: AbortSignal): number => getEventListeners(signal, 'abort').length;

  test('all are told, once, behind one listener; who left is not', () => {
    const controller = new AbortController();
    const told: number[] = [];
    const leave = [0, 1, 2, 3].map((at) => onAbort(controller.signal, () => void told.push(at)));
    expect(listeners(controller.signal)).toBe(1);
    leave[1]?.();
    controller.abort();
    expect(told).toEqual([0, 2, 3]);
    for (const one of leave) one();
    controller.abort();
    expect([told, listeners(controller.signal)]).toEqual([[0, 2, 3], 0]);
  });

  test('who leaves while the others are told is not told', () => {
    const controller = new AbortController();
    const told: string[] = [];
    onAbort(controller.signal, () => {
      told.push('first');
      leave();
    });
    const leave = onAbort(controller.signal, () => void told.push('second'));
    controller.abort();
    expect(told).toEqual(['first']);
  });

  test('the last who leaves takes the listener along, and another may come', () => {
    const controller = new AbortController();
    const told: string[] = [];
    const leave = onAbort(controller.signal, () => void told.push('first'));
    leave();
    leave();
    expect(listeners(controller.signal)).toBe(0);
    const again = onAbort(controller.signal, () => void told.push('second'));
    leave();
    expect(listeners(controller.signal)).toBe(1);
    controller.abort();
    again();
    expect(told).toEqual(['second']);
  });

  test('any number of calls under one signal: one listener, none in the end, and all are interrupted', async () => {
    const controller = new AbortController();
    const { signal } = controller;
    const never = new Promise<never>(() => {});
    const calls = Array.from({ length: 40 }, () =>
      failure(within({ signal, deadline: 60_000 }, 'a call', (both) => orAborted(never, both))),
    );
    const sleeps = Array.from({ length: 40 }, () => sleep(60_000, signal));
    expect(listeners(signal)).toBe(1);
    controller.abort();
    expect(new Set((await Promise.all(calls)).map(({ code }) => code))).toEqual(new Set(['ERR_INTERRUPTED']));
    await Promise.all(sleeps);
    expect(listeners(signal)).toBe(0);
  });

  test('nobody listens for those who gave no signal', async () => {
    let given: AbortSignal | undefined;
    const done = within({}, 'a call', (signal) => {
      given = signal;
      return sleep(1, signal);
    });
    expect(listeners(given as AbortSignal)).toBe(0);
    await done;
  });
});
