import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { originInWords, type Refusals, type RefusedOrigin } from '../../src/pin-record.ts';
import { Secret, secretFromFile } from '../../src/secret.ts';
import { CK, CKF } from '../../src/stores/pkcs11/cryptoki.ts';
import { pinSource, readyPin } from '../../src/stores/pkcs11/login.ts';
import type { Notice } from '../../src/stores/store.ts';
import { parseKeyUri, textOf } from '../../src/uri.ts';
import { describeUnless } from '../helpers/exercised.ts';
import { returnValue } from '../helpers/fake-pkcs11.ts';
import { another, dirOf, enter, logins, person, RIGHT, recordOf, refusal, WRONG } from '../helpers/guarded-pin.ts';
import { everythingOf } from '../helpers/thrown.ts';
import { failure, tellsOf } from '../stores/conformance.ts';

const describeLinux = await describeUnless('linux');

describeLinux('a stored PIN that one process was refused', () => {
  test('is sent by no other', async () => {
    const [first, second] = [another(), another()];
    const told = await refusal(first, { secret: WRONG });
    expect(told.message).toContain('(CKR_PIN_INCORRECT)');
    expect(told.hint).toContain("holdfast pin retry 'pkcs11:token=prod;serial=42?module-path=/x.so'");
    const error = await refusal(second, { secret: WRONG });
    expect(error).toMatchObject({ code: 'ERR_SECRET_WRONG', message: expect.stringContaining('was not sent again') });
    expect([logins(first), logins(second)]).toEqual([1, 0]);
    expect(error.hint).toContain("holdfast pin retry 'pkcs11:token=prod;serial=42?module-path=/x.so'");
  });

  test('the command that is named reaches the same token, without its PIN', async () => {
    const query = "&x-init-reserved=configdir%3D'sql:/db'&pin-value=wrong-one&module-name=nss";
    const fake = another(query, 'slot-id=7;model=m;object=web;id=%01');
    const { hint = '' } = await refusal(fake, {});
    const [, named = ''] = /holdfast pin retry '([^']+)'/.exec(hint) ?? [];
    expect(named).toBe(
      'pkcs11:token=prod;serial=42;slot-id=7;model=m?module-path=/x.so' +
        '&x-init-reserved=configdir%3D%27sql:/db%27&module-name=nss',
    );
    expect(textOf(parseKeyUri(named).query, 'x-init-reserved')).toBe("configdir='sql:/db'");
  });

  test('is named without what would move the cursor', async () => {
    const source = join(dirOf(), 'w\u001b[31m\u202e');
    writeFileSync(source, WRONG);
    await refusal(another(), { secret: secretFromFile(source) });
    const { message } = await refusal(another(), { secret: WRONG });
    expect(message).toContain('w?[31m?');
    const [from] = (recordOf(another()).read() as Refusals).refused;
    expect(originInWords(from?.from as RefusedOrigin)).toBe(`the file ${dirOf()}/w?[31m?`);
    rmSync(source);
  });

  test('is not in what is written down, nor in errors', async () => {
    const source = join(dirOf(), 'pin.txt');
    writeFileSync(source, WRONG);
    const { dev, ino, mtimeNs } = statSync(source, { bigint: true });
    const fake = another(`&pin-source=${source}`);
    const errors = [await refusal(fake, {}), await refusal(another(), { secret: secretFromFile(source) })];
    for (const error of errors) expect(tellsOf(error, WRONG)).toBe(false);
    rmSync(source);
    expect(readdirSync(dirOf()).map((name) => statSync(join(dirOf(), name)).mode & 0o777)).toEqual([0o600]);
    const text = readFileSync(recordOf(fake).path, 'utf8');
    expect(text).not.toContain(WRONG);
    const { key, refused } = JSON.parse(text) as { key: string; refused: object[] };
    expect(key).toMatch(/^[0-9a-f]{64}$/);
    const from = { kind: 'file', name: source, file: `${dev}:${ino}:${mtimeNs}` };
    expect(refused).toEqual([expect.objectContaining({ from, hash: expect.stringMatching(/^[0-9a-f]{64}$/) })]);
    expect(everythingOf(errors[1] as never)).toContain(`the file ${source}`);
  });

  test('does not keep another one back, nor the same one from another token', async () => {
    await refusal(another(), { secret: WRONG });
    await enter(another(), { secret: RIGHT });
    const other = another();
    Object.assign(other.connection.token, { serial: '43' });
    await refusal(other, { secret: WRONG });
    expect(logins(other)).toBe(1);
  });

  test('is still refused after a good login with another: that says nothing of it', async () => {
    await refusal(another(), { secret: WRONG });
    await enter(another(), { secret: RIGHT });
    const fake = another();
    await refusal(fake, { secret: WRONG });
    expect(logins(fake)).toBe(0);
  });

  test('is sent when a person types it; when that is right, the record ends', async () => {
    await refusal(another(), { secret: WRONG });
    const fake = another();
    fake.pin = WRONG;
    await enter(fake, person(WRONG));
    expect(readdirSync(dirOf())).toEqual([]);
    await enter(fake, { secret: WRONG });
  });

  test('of a signature is none of a login', async () => {
    const fake = another();
    const secret = new Secret(WRONG);
    const pin = pinSource(fake.connection, { secret: WRONG });
    const send = async (user: number): Promise<void> =>
      (await readyPin(pin, user, secret, new AbortController().signal)).send(fake.connection.session);
    await failure(send(CK.CKU_CONTEXT_SPECIFIC));
    expect((await failure(send(CK.CKU_CONTEXT_SPECIFIC))).message).toContain('not sent again');
    expect((await failure(send(CK.CKU_USER))).message).toContain('(CKR_PIN_INCORRECT)');
    expect(logins(fake)).toBe(2);
  });

  test('found the token locked, which it does not show: ERR_SECRET_LOCKED for the others as well', async () => {
    const first = another();
    first.onCall = (call) => {
      if (call === 'C_Login') throw returnValue(0xa4);
    };
    const { hint } = await refusal(first, { secret: RIGHT });
    expect(hint).toMatch(/^unblock it .*; once it is unblocked: holdfast pin retry 'pkcs11:/);
    const second = another();
    expect(await refusal(second, { secret: RIGHT })).toMatchObject({ code: 'ERR_SECRET_LOCKED', triesLeft: 0 });
    expect(logins(second)).toBe(0);
    await enter(second, person(RIGHT));
    await enter(another(), { secret: RIGHT });
  });

  test('trouble of another kind is not written down', async () => {
    const fake = another();
    fake.onCall = (call) => {
      if (call === 'C_Login') throw returnValue(0x30);
    };
    for (let i = 0; i < 2; i += 1) await refusal(fake, { secret: RIGHT });
    expect(logins(fake)).toBe(2);
    expect(readdirSync(dirOf())).toEqual([]);
  });
});

describeLinux('a PIN of a person that was refused', () => {
  test('is not sent again by this process, and no other learns of it', async () => {
    const [first, second] = [another(), another()];
    expect((await refusal(first, person(WRONG))).hint).toBe('give the right PIN');
    await refusal(first, person(WRONG));
    await refusal(first, { secret: WRONG });
    expect(readdirSync(dirOf())).toEqual([]);
    await refusal(second, person(WRONG));
    expect([logins(first), logins(second)]).toEqual([1, 1]);
  });
});

describeLinux('the record ends', () => {
  /** @returns the calls of C_Login of a further process */
  const triesOf = async (fake: ReturnType<typeof another>, pin = WRONG): Promise<number> => {
    const before = logins(fake);
    await enter(fake, { secret: pin }).catch(() => undefined);
    return logins(fake) - before;
  };

  test('by command, for processes that run as well', async () => {
    const [daemon, other] = [another(), another()];
    await refusal(daemon, { secret: WRONG });
    expect([await triesOf(daemon), await triesOf(other)]).toEqual([0, 0]);
    recordOf(daemon).forget();
    daemon.pin = WRONG;
    await enter(daemon, { secret: WRONG });
    expect(logins(daemon)).toBe(2);
  });

  test('when the token showed that tries were lost, and shows none any more', async () => {
    const fake = another();
    fake.onCall = (call) => {
      if (call === 'C_Login') fake.flags |= CKF.USER_PIN_COUNT_LOW;
    };
    await refusal(fake, { secret: WRONG });
    const later = another();
    later.flags |= CKF.USER_PIN_COUNT_LOW;
    expect(await triesOf(later)).toBe(0);
    later.flags = fake.flags & ~CKF.USER_PIN_COUNT_LOW;
    expect(await triesOf(later)).toBe(1);
    fake.flags = later.flags;
    expect(await triesOf(fake)).toBe(0); // refused once more, without a flag now: it stays
  });

  test('not while tries are missing otherwise', async () => {
    const fake = another();
    fake.onCall = (call) => {
      if (call === 'C_Login') fake.flags |= CKF.USER_PIN_COUNT_LOW;
    };
    await refusal(fake, { secret: WRONG });
    const later = another();
    later.flags |= CKF.USER_PIN_FINAL_TRY;
    expect((await refusal(later, { secret: WRONG })).code).toBe('ERR_SECRET_LAST_TRY');
    expect(logins(later)).toBe(0);
  });

  test('not for a token that never shows any', async () => {
    await refusal(another(), { secret: WRONG });
    expect(await triesOf(another())).toBe(0);
  });

  test('not when the directory goes away, for the process that was refused', async () => {
    const fake = another();
    await refusal(fake, { secret: WRONG });
    rmSync(dirOf(), { recursive: true });
    mkdirSync(join(process.env.XDG_RUNTIME_DIR as string, 'between'), { recursive: true }); // takes the old number
    const error = await refusal(fake, { secret: WRONG });
    expect(error.hint).toContain('start the program again');
    expect(logins(fake)).toBe(1);
    rmSync(join(process.env.XDG_RUNTIME_DIR as string, 'between'), { recursive: true });
  });
});

describe('without a private directory', () => {
  const { geteuid } = process;
  beforeEach(() => void Object.assign(process, { geteuid: undefined }));
  afterEach(() => void Object.assign(process, { geteuid }));

  test('a process guards by itself, and says that the others do not know', async () => {
    const fake = another();
    const notices: Notice[] = [];
    const first = await refusal(fake, { secret: WRONG, notify: (notice) => notices.push(notice) });
    expect(first.hint).toContain('start the program again');
    expect(notices).toEqual([
      expect.objectContaining({ kind: 'warning', message: expect.stringContaining('other processes do not learn') }),
    ]);
    const error = await refusal(fake, { secret: WRONG });
    expect(error.hint).toContain('start the program again');
    expect(error.hint).not.toContain('pin retry');
    expect(logins(fake)).toBe(1);
  });

  test('opens at the same moment send it once, and a right one each for itself', async () => {
    const fake = another();
    const errors = await Promise.all(Array.from({ length: 20 }, () => refusal(fake, { secret: WRONG })));
    expect(new Set(errors.map(({ code }) => code))).toEqual(new Set(['ERR_SECRET_WRONG']));
    expect(logins(fake)).toBe(1);
    await Promise.all(Array.from({ length: 5 }, () => enter(fake, { secret: RIGHT })));
    expect(logins(fake)).toBe(6);
  });

  test('two PINs at the same moment do not lock a token with two tries left', async () => {
    const fake = another();
    fake.onCall = (call) => {
      if (call === 'C_Login') fake.flags |= CKF.USER_PIN_FINAL_TRY;
    };
    const errors = await Promise.all(['one', 'two'].map((secret) => refusal(fake, { secret })));
    expect(errors.map(({ code }) => code)).toEqual(['ERR_SECRET_WRONG', 'ERR_SECRET_LAST_TRY']);
    expect(logins(fake)).toBe(1);
  });

  test('who waits for a turn in this process is let go by the signal', async () => {
    const fake = another();
    const secret = new Secret(RIGHT);
    const never = new AbortController().signal;
    const ready = await readyPin(pinSource(fake.connection, { secret: RIGHT }), CK.CKU_USER, secret, never);
    const stop = new AbortController();
    const waiting = enter(fake, { secret: RIGHT }, stop.signal);
    stop.abort(returnValue(1));
    await expect(waiting).rejects.toThrow();
    ready.leave();
    const next = await readyPin(pinSource(fake.connection, { secret: RIGHT }), CK.CKU_USER, secret, never);
    ready.leave(); // a second time: the turn is another one's by now
    expect(fake.connection.memory.busy).toBe(true);
    next.send(fake.connection.session);
    expect(fake.connection.memory.busy).toBe(false);
  });
});
