import { describe, expect, test } from '@jest/globals';
import { SecretError } from '../../src/errors.ts';
import { askPerson, secretFromFile } from '../../src/secret.ts';
import { readAddress } from '../../src/stores/pkcs11/address.ts';
import { CKF } from '../../src/stores/pkcs11/cryptoki.ts';
import type { Notice, OpenOptions } from '../../src/stores/store.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { canaries } from '../helpers/canaries.ts';
import { type Fake, fakeToken, openFake } from '../helpers/fake-pkcs11.ts';
import { failure, tellsOf } from '../stores/conformance.ts';

const PIN = canaries.pin;

const logins = (fake: Fake, user = 1): number => fake.calls.filter((call) => call === `login ${user}`).length;

describe('before a PIN is sent', () => {
  test('what is no secret is refused, and not repeated', async () => {
    const fake = fakeToken();
    const error = await failure(openFake(fake, { secret: 837465 as unknown as string }));
    expect(error.code).toBe('ERR_OPTION_INVALID');
    expect(tellsOf(error, '837465')).toBe(false);
    expect(fake.calls).not.toContain('C_Login');
  });

  test.each([
    ['a stored PIN', { secret: PIN }],
    ['a PIN of a person', { secret: askPerson(() => PIN) }],
  ])('%s is not tried on a locked token', async (_, options) => {
    const fake = fakeToken();
    fake.flags |= CKF.USER_PIN_LOCKED;
    const error = await failure(openFake(fake, options));
    expect(error.code).toBe('ERR_SECRET_LOCKED');
    expect((error as SecretError).triesLeft).toBe(0);
    expect(logins(fake)).toBe(0);
  });

  test.each([
    ['a string', '', { secret: PIN }],
    ['bytes', '', { secret: Buffer.from(PIN) }],
    ['a pin-value', `&pin-value=${PIN}`, {}],
    ['a pin-source', '&pin-source=/nowhere', {}],
    ['a function that asks nobody', '', { secret: () => PIN }],
    ['a file', '', { secret: secretFromFile('/nowhere') }],
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
    const secret = askPerson(({ triesLeft }) => {
      told.push(triesLeft);
      return PIN;
    });
    await (await openFake(fake, { secret })).close();
    expect(told).toEqual([1]);
    expect(logins(fake)).toBe(1);
  });

  test('a low count is a warning', async () => {
    const fake = fakeToken();
    fake.flags |= CKF.USER_PIN_COUNT_LOW;
    const notices: Notice[] = [];
    await openFake(fake, { secret: PIN, notify: (notice) => notices.push(notice) });
    expect(notices).toEqual([expect.objectContaining({ kind: 'warning' })]);
  });

  test('an empty PIN is not tried', async () => {
    const fake = fakeToken();
    expect((await failure(openFake(fake, { secret: '' }))).code).toBe('ERR_SECRET_REQUIRED');
    expect(logins(fake)).toBe(0);
  });

  const bytes = (hex: string): { secret: Uint8Array } => ({ secret: Buffer.from(hex, 'hex') });
  test.each<[string, string, OpenOptions, RegExp]>([
    ['Latin-1', '&pin-value=%FF%FE12', {}, /is not UTF-8/],
    ['Latin-1, in bytes', '', bytes('31e434'), /is not UTF-8/],
    ['half a character', '', bytes('3132c3'), /is not UTF-8/],
    ['half a surrogate pair', '', { secret: 'a\ud800' }, /is not UTF-8/],
    ['what a variable makes of Latin-1', '', { secret: 'a\ufffdb' }, /is not UTF-8/],
    ['a byte order mark', '', bytes('efbbbf31323334'), /begins with a byte order mark/],
    ['UTF-16', '', bytes('3100320033003400'), /has a NUL/],
    ['UTF-16 with its mark', '', bytes('fffe31003200'), /is not UTF-8/],
    ['a NUL', '&pin-value=1234%00', {}, /has a NUL/],
    ['two lines', '', { secret: '1234\n5678' }, /more than one line/],
    ['a line end', '', { secret: '1234\r' }, /more than one line/],
    ['a line end of a person', '', { secret: askPerson(() => '12\n') }, /more than one line/],
  ])('%s is not tried', async (_, query, options, message) => {
    const fake = fakeToken(query);
    const error = await failure(openFake(fake, options));
    expect(error).toMatchObject({ code: 'ERR_SECRET_UNREADABLE', hint: expect.stringContaining('nothing was tried') });
    expect(error.message).toMatch(message);
    expect(logins(fake)).toBe(0);
  });

  test.each(['pässwörd', ' 12 34 ', '12\t34', '1'.repeat(4096)])('%j is a PIN', async (pin) => {
    const fake = fakeToken();
    fake.pin = pin;
    await (await openFake(fake, { secret: pin })).close();
  });

  test.each([
    [' 1234', true],
    ['1234 ', true],
    ['12 34', false],
  ])('%j, refused: whether blanks may be the reason', async (secret, said) => {
    const error = await failure(openFake(fakeToken(), { secret }));
    expect(error.hint?.includes('begins or ends with a blank')).toBe(said);
  });

  test('a token with a keypad of its own is refused clearly', async () => {
    const fake = fakeToken();
    Object.assign(fake.connection.token, { flags: 0x40d | CKF.PROTECTED_AUTHENTICATION_PATH });
    const error = await failure(openFake(fake, { secret: PIN }));
    expect(error.code).toBe('ERR_TOKEN_FAILED');
    expect(error.message).toContain('keypad');
    expect(logins(fake)).toBe(0);
  });

  test('options come before the URI', async () => {
    const fake = fakeToken('&pin-value=a-wrong-one');
    await openFake(fake, { secret: PIN });
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
    const opening = openFake(
      fake,
      { secret: () => new Promise<string>((resolve) => (type = resolve)) },
      controller.signal,
    );
    await Promise.resolve();
    controller.abort(new SecretError('ERR_INTERRUPTED', 'interrupted'));
    expect((await failure(opening)).code).toBe('ERR_INTERRUPTED');
    type?.(PIN);
    await new Promise((resolve) => setImmediate(resolve));
    expect(logins(fake)).toBe(0);
  });
});

describe('a URI that does not name the token', () => {
  const at = (path: string, shown: boolean): Fake => {
    const fake = fakeToken();
    fake.showsPublicKey = shown;
    const address = readAddress(parseKeyUri(`pkcs11:${path}?module-path=/x.so`), {});
    return { ...fake, connection: { ...fake.connection, address } };
  };
  const opening = (path: string, shown: boolean) => {
    const fake = at(path, shown);
    return { fake, key: openFake(fake, { secret: PIN }) };
  };

  test.each<[string, string, boolean]>([
    ['a label that nobody shows', 'object=web', false],
    ['an identifier, which every card has', 'id=%01', true],
    ['an empty label', 'object=', true],
  ])('sends no PIN: %s', async (_, path, shown) => {
    const { fake, key } = opening(path, shown);
    const error = await failure(key);
    expect(error.code).toBe('ERR_TOKEN_AMBIGUOUS');
    const [uri = ''] = error.hint?.match(/pkcs11:\S+/g) ?? [];
    expect(uri).toBe(`pkcs11:token=prod;serial=42;${path}?module-path=/x.so`);
    expect(logins(fake)).toBe(0);
  });

  test.each(['token=prod', 'serial=42', 'model=m', 'manufacturer=f', 'slot-id=0'])('named by %s', async (name) => {
    await (await opening(`${name};object=web`, false).key).close();
  });

  test('a token that shows an object of that label without a login is the one', async () => {
    await (await opening('object=web', true).key).close();
  });
});

describe('a process that is logged in already', () => {
  test('shares the login', async () => {
    const fake = fakeToken();
    await openFake(fake, { secret: PIN });
    await openFake(fake, { secret: PIN });
    expect(logins(fake)).toBe(2);
  });

  test('lets nobody in who has another PIN', async () => {
    const fake = fakeToken();
    await openFake(fake, { secret: PIN });
    const error = await failure(openFake(fake, { secret: 'wrong-one' }));
    expect(error.code).toBe('ERR_SECRET_WRONG');
    expect(tellsOf(error, 'wrong-one')).toBe(false);
  });
});
