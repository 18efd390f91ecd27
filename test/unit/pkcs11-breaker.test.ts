import { beforeEach, describe, expect, test } from '@jest/globals';
import { type ErrorCode, HoldfastError } from '../../src/errors.ts';
import { sparing } from '../../src/stores/pkcs11/breaker.ts';
import { type Failing, registry } from '../../src/stores/pkcs11/modules.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { failure } from '../stores/conformance.ts';

const uri = parseKeyUri('pkcs11:token=prod;object=web?module-path=/x.so&pin-value=1234');
type Use = Failing['use'];
const [READ, OPEN, SIGN] = ['read', 'open', 'sign'] as const;

let now = 0;
let random = 0;
let worked = 0;
const surroundings = { clock: () => now, random: () => random };
const use = (how: Use, code?: ErrorCode, of = uri): Promise<string> =>
  sparing(
    of,
    how,
    async () => {
      worked += 1;
      await Promise.resolve();
      if (code) throw new HoldfastError(code, 'the token does not answer', { hint: 'look after it' });
      return 'done';
    },
    surroundings,
  );
const codes = async (how: Use, code: ErrorCode, times: number): Promise<string[]> => {
  const all: string[] = [];
  for (let time = 0; time < times; time += 1) all.push((await failure(use(how, code))).code);
  return all;
};

beforeEach(() => {
  registry().failing.clear();
  now = 1e6;
  random = 0;
  worked = 0;
});

describe('the circuit breaker of a token', () => {
  test('three failures in a row: it is left alone, and the error says why and for how long', async () => {
    expect(await codes(SIGN, 'ERR_TOKEN_FAILED', 5)).toEqual([
      ...Array(3).fill('ERR_TOKEN_FAILED'),
      ...Array(2).fill('ERR_TOKEN_RESTING'),
    ]);
    expect(worked).toBe(3);
    const error = await failure(use(OPEN));
    expect(error.message).toBe(
      'pkcs11:token=prod;object=web?module-path=/x.so&pin-value=*** failed 3 times in a row and is left alone ' +
        'for 500 ms more: the token does not answer',
    );
    expect([error.hint, (error.cause as HoldfastError).code]).toEqual(['look after it', 'ERR_TOKEN_FAILED']);
  });

  test('then one tries while the others are sent away, and a signature ends it', async () => {
    await codes(SIGN, 'ERR_SIGNING_FAILED', 3);
    now += 500;
    const [probe, other] = [use(SIGN), failure(use(SIGN))];
    expect((await other).message).toContain('while one call tries whether it is back');
    expect(await probe).toBe('done');
    expect(registry().failing.size).toBe(0);
    expect(await codes(SIGN, 'ERR_TOKEN_FAILED', 3)).toEqual(Array(3).fill('ERR_TOKEN_FAILED'));
  });

  describe('one that tries and hangs', () => {
    const hang = (): { end: (error?: Error) => void; done: Promise<string> } => {
      let end: (error?: Error) => void = () => {};
      const work = new Promise<string>((resolve, reject) => {
        end = (error) => (error ? reject(error) : resolve('done'));
      });
      const done = sparing(uri, SIGN, () => work, surroundings);
      for (const one of [work, done]) one.catch(() => {});
      return { done, end };
    };
    const down = new HoldfastError('ERR_TOKEN_FAILED', 'the token does not answer');
    beforeEach(async () => {
      await codes(SIGN, 'ERR_TOKEN_FAILED', 3);
      now += 500;
    });

    test('keeps the others away for two seconds, then another one tries', async () => {
      hang();
      now += 1999;
      expect((await failure(use(SIGN))).code).toBe('ERR_TOKEN_RESTING');
      now += 1;
      hang();
      expect((await failure(use(SIGN))).code).toBe('ERR_TOKEN_RESTING');
      now += 2000;
      expect(await use(SIGN)).toBe('done');
      expect(registry().failing.size).toBe(0);
    });

    test('and comes back late: what it found counts as long as no other one found anything', async () => {
      const first = hang();
      now += 2000;
      const second = hang();
      first.end();
      await first.done;
      expect(registry().failing.size).toBe(0);
      second.end(down);
      await failure(second.done);
      expect([...registry().failing.values()]).toEqual([]);
    });

    test('and fails late: those who tried together count once', async () => {
      const first = hang();
      now += 2000;
      const second = hang();
      for (const { end } of [first, second]) end(down);
      await Promise.all([failure(first.done), failure(second.done)]);
      expect([...registry().failing.values()]).toMatchObject([{ failures: 4, probing: undefined }]);
    });
  });

  test('each failure more doubles the time, up to two seconds, less a quarter at most', async () => {
    await codes(SIGN, 'ERR_TOKEN_FAILED', 3);
    for (const pause of [500, 1000, 2000, 2000]) {
      now += pause - 1;
      expect((await failure(use(SIGN))).code).toBe('ERR_TOKEN_RESTING');
      now += 1;
      expect((await failure(use(SIGN, 'ERR_TOKEN_FAILED'))).code).toBe('ERR_TOKEN_FAILED');
    }
    now += 2000;
    random = 1;
    await failure(use(SIGN, 'ERR_TOKEN_FAILED'));
    now += 1500;
    expect(await use(SIGN)).toBe('done');
  });

  test('what fails together counts once', async () => {
    for (let times = 0; times < 2; times += 1) {
      await Promise.all(Array.from({ length: 8 }, () => failure(use(SIGN, 'ERR_TOKEN_FAILED'))));
    }
    expect(await use(SIGN)).toBe('done');
  });

  test('a key that opens and never signs is left alone all the same', async () => {
    for (let times = 0; times < 3; times += 1) {
      await use(OPEN);
      await failure(use(SIGN, 'ERR_SIGNING_FAILED'));
    }
    expect((await failure(use(OPEN))).code).toBe('ERR_TOKEN_RESTING');
    now += 500;
    await use(OPEN);
    await use(SIGN);
    expect(registry().failing.size).toBe(0);
  });

  test('one that did not open is well again when it opens', async () => {
    await codes(OPEN, 'ERR_STORE_CRASHED', 3);
    now += 500;
    await use(OPEN);
    expect(registry().failing.size).toBe(0);
  });

  test('one whose certificates can be read, and whose keys do not open, is left alone all the same', async () => {
    for (let times = 0; times < 3; times += 1) {
      await use(READ);
      await failure(use(OPEN, 'ERR_TOKEN_FAILED'));
    }
    expect((await failure(use(READ))).code).toBe('ERR_TOKEN_RESTING');
    now += 500;
    await use(READ);
    await use(OPEN);
    expect(registry().failing.size).toBe(0);
    await codes(READ, 'ERR_TOKEN_FAILED', 3);
    now += 500;
    await use(READ);
    expect(registry().failing.size).toBe(0);
  });

  test.each<[ErrorCode, Use]>([
    ['ERR_SECRET_WRONG', OPEN],
    ['ERR_SECRET_LOCKED', OPEN],
    ['ERR_INTERRUPTED', SIGN],
    ['ERR_OPTION_INVALID', SIGN],
    ['ERR_KEY_NOT_FOUND', OPEN],
    ['ERR_KEY_CLOSED', SIGN],
    ['ERR_TOKEN_NOT_FOUND', OPEN],
    ['ERR_SIGNING_TIMEOUT', SIGN],
    ['ERR_SIGNING_TIMEOUT', OPEN],
  ])('%s does not count', async (code, how) => {
    expect(await codes(how, code, 9)).toEqual(Array(9).fill(code));
    // Nor does it end anything, or keep the place of who tries.
    await codes(SIGN, 'ERR_TOKEN_FAILED', 3);
    now += 500;
    if (code !== 'ERR_TOKEN_NOT_FOUND') expect(await codes(how, code, 2)).toEqual([code, code]);
    else expect(await codes(how, code, 2)).toEqual([code, 'ERR_TOKEN_RESTING']);
  });

  test.each<[ErrorCode, Use]>([
    ['ERR_TOKEN_NOT_FOUND', SIGN],
    ['ERR_MODULE_FAILED', OPEN],
    ['ERR_MODULE_FAILED', READ],
    ['ERR_STORE_CRASHED', SIGN],
  ])('%s counts', async (code, how) => {
    expect((await codes(how, code, 4)).at(-1)).toBe('ERR_TOKEN_RESTING');
  });

  test('each token has its own; its keys share it, and a PIN makes no other', async () => {
    await codes(SIGN, 'ERR_TOKEN_FAILED', 3);
    const others = ['token=test;object=web?module-path=/x.so', 'token=prod;object=web?module-path=/y.so'];
    for (const other of others) expect(await use(SIGN, undefined, parseKeyUri(`pkcs11:${other}`))).toBe('done');
    const same = parseKeyUri('pkcs11:object=other;token=prod?pin-source=/pin&module-path=/x.so');
    expect((await failure(use(SIGN, undefined, same))).code).toBe('ERR_TOKEN_RESTING');
  });
});
