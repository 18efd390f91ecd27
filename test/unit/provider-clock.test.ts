import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { granted } from '../helpers/create-session.ts';
import { MINUTE, makeWorld, START, type World } from '../helpers/provider-world.ts';

let world: World;

beforeEach(async () => {
  world = await makeWorld();
});

afterEach(() => {
  jest.restoreAllMocks();
  jest.useRealTimers();
});

/** A service whose clock differs from ours: it grants for an hour of its own time, and dates its answers. */
function ahead(milliseconds: number): void {
  world.failure = async () => {
    const theirs = new Date(Date.now() + milliseconds);
    const answer = granted(new Date(theirs.getTime() + world.life));
    return { ...answer, headers: { ...answer.headers, date: theirs.toUTCString() } };
  };
}

test.each([-30, 0, 30])(
  'a service that is %p minutes ahead: nothing is served once it counts as expired there',
  async (minutes) => {
    ahead(minutes * MINUTE);
    const provider = world.provider();
    const { expiration } = await provider();
    expect(expiration).toEqual(new Date(START + minutes * MINUTE + world.life));
    world.failure = async () => ({ status: 503, headers: {}, body: '' });
    await world.pass(world.life - MINUTE);
    expect(await provider()).toMatchObject({ accessKeyId: 'ASIAEXAMPLE' });
    await world.pass(2 * MINUTE);
    await expect(provider()).rejects.toMatchObject({ code: 'ERR_SERVICE_FAILED' });
    await provider.close();
  },
);

test('what it has learned of the clock dates the next request: one signature for it', async () => {
  const dates: string[] = [];
  const theirs = (): number => Date.now() + 30 * MINUTE;
  const provider = world.provider({
    send: async ({ headers }) => {
      dates.push(headers['x-amz-date'] ?? '');
      const date = { date: new Date(theirs()).toUTCString() };
      if (dates.length === 1) return { status: 403, headers: date, body: '{"message":"Invalid signature"}' };
      const answer = granted(new Date(theirs() + world.life));
      return { ...answer, headers: { ...answer.headers, ...date } };
    },
  });
  await provider();
  expect(world.signer.calls).toBe(2);
  await world.pass(world.life - 5 * MINUTE); // ten minutes before expiry it refreshes
  expect(world.signer.calls).toBe(3);
  expect(dates.at(-1)).toBe('20260504T132000Z');
  await provider.close();
});
