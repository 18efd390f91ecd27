import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { RolesAnywhereProvider } from '../../src/provider.ts';
import { DOWN, MINUTE, makeWorld, SECOND, START, type World } from '../helpers/provider-world.ts';

let world: World;
let provider: RolesAnywhereProvider;
beforeEach(async () => {
  world = await makeWorld();
  provider = world.provider();
});
afterEach(async () => {
  await provider.close();
  jest.useRealTimers();
  jest.restoreAllMocks();
});

/** Minutes of the test until the credentials expire that a call gets. */
const expiry = async (): Promise<number> => ((await provider()).expiration.getTime() - START) / MINUTE;

describe('in the background', () => {
  test.each<[life: string, milliseconds: number, at: number]>([
    ['an hour', 60 * MINUTE, 50],
    ['twelve hours', 720 * MINUTE, 710],
    ['20 minutes', 20 * MINUTE, 10],
    ['15 minutes', 15 * MINUTE, 7.5],
    ['4 seconds', 4 * SECOND, 2 / 60],
    ['a second', SECOND, 0.5 / 60],
  ])('a life of %s is refreshed in time', async (_life, milliseconds, at) => {
    world.life = milliseconds;
    await provider();
    await world.pass(at * MINUTE - 1);
    expect(world.requests).toBe(1);
    await world.pass(1);
    expect(world.times).toEqual([0, at]);
  });

  test('nobody waits: until it is done, the old credentials are given', async () => {
    const first = await provider();
    await world.pass(50 * MINUTE - 1);
    expect(await provider()).toBe(first);
    let finish = (): void => undefined;
    world.failure = () =>
      new Promise((resolve) => {
        finish = () => void DOWN().then(resolve);
      });
    await world.pass(1);
    expect(world.requests).toBe(2);
    expect(await provider()).toBe(first);
    finish();
    world.failure = undefined;
    await world.pass(30 * SECOND);
    expect(await expiry()).toBe(110.5);
    expect(world.times).toEqual([0, 50, 50.5]);
  });

  test('only while somebody has asked within the last life', async () => {
    await provider();
    await world.pass(5 * 60 * MINUTE);
    expect(world.times).toEqual([0, 50]);
    expect(jest.getTimerCount()).toBe(0);
    await provider();
    expect(world.times).toEqual([0, 50, 300]);
    await world.pass(60 * MINUTE);
    expect(world.times).toEqual([0, 50, 300, 350]);
  });

  test('for as long as somebody asks, once per life', async () => {
    for (let minute = 0; minute <= 200; minute += 1) {
      await provider();
      await world.pass(MINUTE);
    }
    expect(world.times).toEqual([0, 50, 100, 150, 200]);
    expect(world.signer.calls).toBe(5);
  });
});

describe('a refresh that fails', () => {
  test('keeps valid credentials, and pauses ever longer', async () => {
    const first = await provider();
    world.failure = DOWN;
    for (let second = 0; second < 60 * 60; second += 10) {
      expect(await provider()).toBe(first);
      await world.pass(10 * SECOND);
    }
    // Pauses of 30 s, 1 min, 2 min, 4 min.
    expect(world.times).toEqual([0, 50, 50.5, 51.5, 53.5, 57.5]);
    await expect(provider()).rejects.toMatchObject({ code: 'ERR_SERVICE_FAILED' });
  });

  test('ends with the next that succeeds', async () => {
    await provider();
    world.failure = DOWN;
    await world.pass(52 * MINUTE);
    world.failure = undefined;
    await world.pass(2 * MINUTE);
    expect(world.times).toEqual([0, 50, 50.5, 51.5, 53.5]);
    expect(await expiry()).toBe(113.5);
    world.failure = DOWN;
    await world.pass(50.5 * MINUTE);
    expect(world.times.slice(5)).toEqual([103.5, 104]);
  });

  test('is tried again by whoever calls once the credentials have expired, but not by a crowd at once', async () => {
    await provider();
    world.failure = DOWN;
    await world.pass(61 * MINUTE);
    const before = world.requests;
    for (let call = 0; call < 20; call += 1) {
      await expect(provider()).rejects.toMatchObject({ code: 'ERR_SERVICE_FAILED' });
    }
    expect(world.requests).toBe(before + 1);
    await world.pass(2 * SECOND);
    await expect(provider()).rejects.toMatchObject({ code: 'ERR_SERVICE_FAILED' });
    expect(world.requests).toBe(before + 2);
  });
});

describe('an attended key', () => {
  beforeEach(() => {
    world.signer.attended = true;
  });

  test('signs only while a caller waits', async () => {
    const first = await provider();
    await world.pass(55 * MINUTE);
    expect(world.signer.calls).toBe(1);
    expect(jest.getTimerCount()).toBe(0);
    const [second, third] = await Promise.all([provider(), provider()]);
    expect(second).not.toBe(first);
    expect(third).toBe(second);
    expect(world.times).toEqual([0, 55]);
  });

  test('that nobody touches leaves valid credentials in use, and is not asked at every call', async () => {
    const first = await provider();
    world.signer.failure = new Error('nobody touched it');
    await world.pass(50 * MINUTE);
    for (let second = 0; second < 60; second += 1) {
      expect(await provider()).toBe(first);
      await world.pass(SECOND);
    }
    expect(world.signer.calls).toBe(3);
    world.signer.failure = undefined;
    await world.pass(30 * SECOND);
    expect(await expiry()).toBeGreaterThan(110);
  });

  test('that was none before does not sign in the background', async () => {
    world.signer.attended = false;
    const first = await provider();
    world.signer.attended = true;
    await world.pass(55 * MINUTE);
    expect([world.requests, world.signer.calls]).toEqual([1, 1]);
    expect(jest.getTimerCount()).toBe(0);
    expect(await provider()).not.toBe(first);
    expect([world.requests, world.signer.calls]).toEqual([2, 2]);
  });

  test('that is one no longer is refreshed in the background again', async () => {
    await provider();
    world.signer.attended = false;
    await provider({ forceRefresh: true });
    await world.pass(50 * MINUTE);
    expect(world.times).toEqual([0, 0, 50]);
  });
});

describe('a clock that jumps', () => {
  test('past the expiry, as after a suspend: the next call waits for new credentials', async () => {
    await provider();
    world.setClock(61 * MINUTE);
    expect(await expiry()).toBe(121);
    expect(world.requests).toBe(2);
  });

  test('to shortly before it: the next call refreshes, without waiting', async () => {
    const first = await provider();
    world.setClock(55 * MINUTE);
    expect(await provider()).toBe(first);
    await world.pass(0);
    expect(await expiry()).toBe(115);
  });

  test('back: the refresh waits for the clock', async () => {
    await provider();
    world.setClock(-30 * MINUTE);
    await world.pass(79 * MINUTE);
    expect(world.requests).toBe(1);
    await world.pass(MINUTE);
    expect(world.times).toEqual([0, 50]);
  });

  test('and credentials that outlive every timer are not refreshed at once', async () => {
    world.life = 100 * 24 * 60 * MINUTE;
    await provider();
    await world.pass(99 * 24 * 60 * MINUTE);
    expect(world.requests).toBe(1);
    await world.pass(24 * 60 * MINUTE);
    expect(world.requests).toBe(2);
  });
});

test('credentials that have expired already are refused, not fetched again and again', async () => {
  world.life = -SECOND;
  await expect(provider()).rejects.toMatchObject({ code: 'ERR_SERVICE_ANSWER_INVALID' });
  await world.pass(60 * MINUTE);
  expect(world.requests).toBe(1);
});
