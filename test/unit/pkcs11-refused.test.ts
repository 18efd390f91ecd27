import { createHmac } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import type { SecretError } from '../../src/errors.ts';
import { CKF } from '../../src/stores/pkcs11/cryptoki.ts';
import { canaries } from '../helpers/canaries.ts';
import { type Fake, fakeToken, openFake, returnValue } from '../helpers/fake-pkcs11.ts';
import { failure, tellsOf } from '../stores/conformance.ts';

const PIN = canaries.pin;

const logins = (fake: Fake, user = 1): number => fake.calls.filter((call) => call === `login ${user}`).length;

describe('a refused PIN', () => {
  test.each([
    ['CKR_PIN_INCORRECT', 0xa0],
    ['CKR_PIN_INVALID', 0xa1],
    ['CKR_PIN_LEN_RANGE', 0xa2],
  ])('is not sent again: %s', async (name, code) => {
    const fake = fakeToken();
    fake.onCall = (call) => {
      if (call === 'C_Login') throw returnValue(code);
    };
    const first = await failure(openFake(fake, { secret: 'wrong-one' }));
    expect(first.code).toBe('ERR_SECRET_WRONG');
    expect(first.message).toContain(name);
    const sent = fake.calls.filter((call) => call === 'C_Login').length;
    const second = await failure(openFake(fake, { secret: 'wrong-one' }));
    expect(second.code).toBe('ERR_SECRET_WRONG');
    expect(fake.calls.filter((call) => call === 'C_Login')).toHaveLength(sent);
    for (const error of [first, second]) expect(tellsOf(error, 'wrong-one')).toBe(false);
  });

  test.each<[string, string[], number]>([
    ['a second one in between', ['first', 'second', 'first', 'second'], 2],
    ['the right one in between', ['first', PIN, 'first', PIN, 'first'], 3],
  ])('is not sent again with %s', async (_, pins, sent) => {
    const fake = fakeToken();
    for (const secret of pins) {
      const opening = openFake(fake, { secret });
      if (secret === PIN) await (await opening).close();
      else expect((await failure(opening)).code).toBe('ERR_SECRET_WRONG');
      fake.logOut();
    }
    expect(logins(fake)).toBe(sent);
  });

  test('as the user may still be the right one for a signature, and the other way round', async () => {
    const fake = fakeToken();
    fake.alwaysAuthenticate = true;
    const key = await openFake(fake, { secret: PIN });
    fake.pin = 'changed elsewhere';
    await failure(key.sign(Buffer.from('message')));
    fake.pin = PIN;
    fake.logOut();
    await (await openFake(fake, { secret: PIN })).close();
    expect(logins(fake)).toBe(2);
  });

  test('is not kept as a hash that is quickly guessed from', async () => {
    const fake = fakeToken();
    await failure(openFake(fake, { secret: '1234' }));
    const kept = fake.connection.memory.refused[0]?.hash ?? '';
    expect(kept).toHaveLength(64);
    const quick = createHmac('sha256', fake.connection.module.salt).update('1234').digest('hex');
    expect(kept).not.toContain(quick);
  });

  test('is sent once when two opens have it at the same time', async () => {
    const fake = fakeToken();
    const opening = [openFake(fake, { secret: 'wrong-one' }), openFake(fake, { secret: 'wrong-one' })];
    for (const promise of opening) expect((await failure(promise)).code).toBe('ERR_SECRET_WRONG');
    expect(logins(fake)).toBe(1);
  });

  test.each([
    ['the login was lost', (fake: Fake) => fake.dropLogin()],
    ['the token says so whoever is in', () => {}],
  ])('after it was the right one, while a key is open: %s', async (_, lose) => {
    const fake = fakeToken();
    await openFake(fake, { secret: PIN });
    lose(fake);
    fake.onCall = (call) => {
      if (call === 'C_Login') throw returnValue(0xa0);
    };
    const before = fake.calls.filter((call) => call === 'C_Login').length;
    const errors = [];
    for (let i = 0; i < 10; i += 1) errors.push(await failure(openFake(fake, { secret: PIN })));
    expect(new Set(errors.map(({ code }) => code))).toEqual(new Set(['ERR_SECRET_WRONG']));
    expect(fake.calls.filter((call) => call === 'C_Login')).toHaveLength(before + 1);
    expect(fake.connection.memory.accepted).toBeUndefined();
  });

  test('leaves its mark on the tries left', async () => {
    const fake = fakeToken();
    fake.onCall = (call) => {
      if (call === 'C_Login') fake.flags |= CKF.USER_PIN_FINAL_TRY;
    };
    const error = await failure(openFake(fake, { secret: 'wrong-one' }));
    expect((error as SecretError).triesLeft).toBe(1);
    expect(error.message).toContain('one try left');
  });

  test('a login that finds the token locked: ERR_SECRET_LOCKED', async () => {
    const fake = fakeToken();
    fake.onCall = (call) => {
      if (call === 'C_Login') throw returnValue(0xa4);
    };
    expect((await failure(openFake(fake, { secret: 'x1' }))).code).toBe('ERR_SECRET_LOCKED');
  });

  describe('on a token that is locked and does not show it', () => {
    const locked = (): Fake => {
      const fake = fakeToken();
      fake.onCall = (call) => {
        if (call === 'C_Login') throw returnValue(0xa4);
      };
      return fake;
    };
    const sent = (fake: Fake): number => fake.calls.filter((call) => call === 'C_Login').length;

    test('no PIN is sent twice', async () => {
      const fake = locked();
      for (let attempt = 0; attempt < 3; attempt += 1) {
        const error = await failure(openFake(fake, { secret: PIN }));
        expect(error).toMatchObject({ code: 'ERR_SECRET_LOCKED', triesLeft: 0 });
      }
      expect(sent(fake)).toBe(1);
    });

    test('another PIN finds out that it was unblocked, and then the first one works too', async () => {
      const fake = locked();
      await failure(openFake(fake, { secret: 'old' }));
      fake.onCall = () => {};
      await (await openFake(fake, { secret: PIN })).close();
      fake.logOut();
      fake.pin = 'old';
      await (await openFake(fake, { secret: 'old' })).close();
    });

    test('a token whose flags have changed gets the PIN again', async () => {
      const fake = locked();
      fake.onCall = (call) => {
        if (call !== 'C_Login') return;
        fake.flags |= CKF.USER_PIN_LOCKED;
        throw returnValue(0xa4);
      };
      await failure(openFake(fake, { secret: PIN }));
      fake.flags &= ~CKF.USER_PIN_LOCKED;
      fake.onCall = () => {};
      await (await openFake(fake, { secret: PIN })).close();
    });
  });

  test('another trouble with the login is not blamed on the PIN', async () => {
    const fake = fakeToken();
    fake.onCall = (call) => {
      if (call === 'C_Login') throw returnValue(0x102);
    };
    const error = await failure(openFake(fake, { secret: PIN }));
    expect(error.code).toBe('ERR_TOKEN_FAILED');
    expect(error.message).toContain('(CKR_USER_PIN_NOT_INITIALIZED)');
  });
});
