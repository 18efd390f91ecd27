import { describe, expect, test } from '@jest/globals';
import { SecretError } from '../../src/errors.ts';
import { CKF } from '../../src/stores/pkcs11/cryptoki.ts';
import { openOn } from '../../src/stores/pkcs11/open.ts';
import type { Notice, OpenKey, OpenOptions } from '../../src/stores/store.ts';
import { type Fake, fakeToken, returnValue } from '../helpers/fake-pkcs11.ts';
import { failure, tellsOf } from '../stores/conformance.ts';

const never = new AbortController().signal;
const openFake = (fake: Fake, options: OpenOptions = {}): Promise<OpenKey> => openOn(fake.connection, options, never);
const logins = (fake: Fake, user = 1): number => fake.calls.filter((call) => call === `login ${user}`).length;

describe('before a PIN is sent', () => {
  test.each([
    ['a stored PIN', { secret: 'the-right-pin' }],
    ['a PIN of a person', { secret: () => 'the-right-pin' }],
  ])('%s is not tried on a locked token', async (_, options) => {
    const fake = fakeToken();
    fake.flags |= CKF.USER_PIN_LOCKED;
    const error = await failure(openFake(fake, options));
    expect(error.code).toBe('ERR_SECRET_LOCKED');
    expect((error as SecretError).triesLeft).toBe(0);
    expect(logins(fake)).toBe(0);
  });

  test.each([
    ['a string', '', { secret: 'the-right-pin' }],
    ['bytes', '', { secret: Buffer.from('the-right-pin') }],
    ['a pin-value', '&pin-value=the-right-pin', {}],
    ['a pin-source', '&pin-source=/nowhere', {}],
  ])('%s is not spent on the last try', async (_, query, options) => {
    const fake = fakeToken(query);
    fake.flags |= CKF.USER_PIN_FINAL_TRY;
    const error = await failure(openFake(fake, options));
    expect(error.code).toBe('ERR_SECRET_LAST_TRY');
    expect(logins(fake)).toBe(0);
  });

  test('a person may spend the last try, and is told that it is the last', async () => {
    const fake = fakeToken();
    fake.flags |= CKF.USER_PIN_FINAL_TRY;
    const told: unknown[] = [];
    const secret: OpenOptions['secret'] = ({ triesLeft }) => {
      told.push(triesLeft);
      return 'the-right-pin';
    };
    await (await openFake(fake, { secret })).close();
    expect(told).toEqual([1]);
    expect(logins(fake)).toBe(1);
  });

  test('a low count is a warning', async () => {
    const fake = fakeToken();
    fake.flags |= CKF.USER_PIN_COUNT_LOW;
    const notices: Notice[] = [];
    await openFake(fake, { secret: 'the-right-pin', notify: (notice) => notices.push(notice) });
    expect(notices).toEqual([expect.objectContaining({ kind: 'warning' })]);
  });

  test('an empty PIN is not tried', async () => {
    const fake = fakeToken();
    expect((await failure(openFake(fake, { secret: '' }))).code).toBe('ERR_SECRET_REQUIRED');
    expect(logins(fake)).toBe(0);
  });

  test('a token with a keypad of its own is refused clearly', async () => {
    const fake = fakeToken();
    Object.assign(fake.connection.token, { flags: 0x40d | CKF.PROTECTED_AUTHENTICATION_PATH });
    const error = await failure(openFake(fake, { secret: 'the-right-pin' }));
    expect(error.code).toBe('ERR_TOKEN_FAILED');
    expect(error.message).toContain('keypad');
    expect(logins(fake)).toBe(0);
  });

  test('options come before the URI', async () => {
    const fake = fakeToken('&pin-value=a-wrong-one');
    await openFake(fake, { secret: 'the-right-pin' });
    expect(logins(fake)).toBe(1);
  });

  test('a token that needs no login gets none', async () => {
    const fake = fakeToken();
    Object.assign(fake.connection.token, { flags: 0x409 });
    expect((await failure(openFake(fake))).code).toBe('ERR_KEY_NOT_FOUND');
    expect(logins(fake)).toBe(0);
  });

  test('a signal ends the wait for a person, and what they type then goes nowhere', async () => {
    const fake = fakeToken();
    const controller = new AbortController();
    let type: ((pin: string) => void) | undefined;
    const opening = openOn(
      fake.connection,
      { secret: () => new Promise<string>((resolve) => (type = resolve)) },
      controller.signal,
    );
    await Promise.resolve();
    controller.abort(new SecretError('ERR_INTERRUPTED', 'interrupted'));
    expect((await failure(opening)).code).toBe('ERR_INTERRUPTED');
    type?.('the-right-pin');
    await new Promise((resolve) => setImmediate(resolve));
    expect(logins(fake)).toBe(0);
  });
});

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

  test('does not keep the right one out, and is forgotten then', async () => {
    const fake = fakeToken();
    await failure(openFake(fake, { secret: 'wrong-one' }));
    await openFake(fake, { secret: 'the-right-pin' });
    expect(logins(fake)).toBe(2);
    // Somebody changed the PIN to the one that was refused, and logged everybody out.
    const changed = fakeToken();
    Object.assign(changed.connection.module, { pins: fake.connection.module.pins });
    changed.pin = 'wrong-one';
    await openFake(changed, { secret: 'wrong-one' });
    expect(logins(changed)).toBe(1);
  });

  test('is sent once when two opens have it at the same time', async () => {
    const fake = fakeToken();
    const opening = [openFake(fake, { secret: 'wrong-one' }), openFake(fake, { secret: 'wrong-one' })];
    for (const promise of opening) expect((await failure(promise)).code).toBe('ERR_SECRET_WRONG');
    expect(logins(fake)).toBe(1);
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

  test('another trouble with the login is not blamed on the PIN', async () => {
    const fake = fakeToken();
    fake.onCall = (call) => {
      if (call === 'C_Login') throw returnValue(0x102);
    };
    const error = await failure(openFake(fake, { secret: 'the-right-pin' }));
    expect(error.code).toBe('ERR_TOKEN_FAILED');
    expect(error.message).toContain('(CKR_USER_PIN_NOT_INITIALIZED)');
  });
});

describe('a process that is logged in already', () => {
  test('shares the login', async () => {
    const fake = fakeToken();
    await openFake(fake, { secret: 'the-right-pin' });
    await openFake(fake, { secret: 'the-right-pin' });
    expect(logins(fake)).toBe(2);
  });

  test('lets nobody in who has another PIN', async () => {
    const fake = fakeToken();
    await openFake(fake, { secret: 'the-right-pin' });
    const error = await failure(openFake(fake, { secret: 'wrong-one' }));
    expect(error.code).toBe('ERR_SECRET_WRONG');
    expect(tellsOf(error, 'wrong-one')).toBe(false);
  });
});
