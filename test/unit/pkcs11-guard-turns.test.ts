import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { CKF } from '../../src/stores/pkcs11/cryptoki.ts';
import { describeUnless, testUnless } from '../helpers/exercised.ts';
import { type Fake, returnValue } from '../helpers/fake-pkcs11.ts';
import { another, dirOf, enter, logins, person, RIGHT, recordOf, refusal, WRONG } from '../helpers/guarded-pin.ts';

const rootTest = await testUnless('chown');

const describeLinux = await describeUnless('linux');

describeLinux('while another process is in the middle of a login', () => {
  const space = (): string => readFileSync(`/proc/${process.ppid}/stat`, 'latin1').replace(/^.*\) /s, '');
  const occupy = (fake: Fake): string => {
    const path = `${recordOf(fake).path}.turn`;
    symlinkSync(`${process.ppid} ${space().split(' ')[19]} pid:[1]`, path); // of another container: nobody can tell
    return path;
  };
  const settled = (promise: Promise<unknown>): Promise<string> =>
    Promise.race([
      promise.then(
        () => 'done',
        () => 'failed',
      ),
      new Promise<string>((resolve) => setTimeout(resolve, 100, 'waits')),
    ]);

  test.each([
    ['a stored PIN', { secret: RIGHT }],
    ['a PIN of a person', person(RIGHT)],
  ])('%s waits, and is sent afterwards', async (_, options) => {
    const fake = another();
    const path = occupy(fake);
    const entering = enter(fake, options);
    expect([await settled(entering), logins(fake)]).toEqual(['waits', 0]);
    rmSync(path);
    await entering;
    expect(logins(fake)).toBe(1);
    expect(readdirSync(dirOf())).toEqual([]);
  });

  test('whose PIN is refused, the same one is not sent', async () => {
    const [first, second] = [another(), another()];
    await refusal(first, { secret: WRONG });
    const record = readFileSync(recordOf(first).path);
    rmSync(recordOf(first).path);
    const path = occupy(second);
    const entering = refusal(second, { secret: WRONG });
    expect(await settled(entering)).toBe('waits');
    writeFileSync(recordOf(first).path, record);
    rmSync(path);
    expect((await entering).message).toContain('not sent again');
    expect(logins(second)).toBe(0);
  });

  test('the wait ends with the signal', async () => {
    const fake = another();
    occupy(fake);
    const stop = new AbortController();
    const entering = enter(fake, { secret: RIGHT }, stop.signal);
    stop.abort(returnValue(1));
    await expect(entering).rejects.toThrow();
    expect(logins(fake)).toBe(0);
  });

  test('a PIN that is known to be refused does not wait', async () => {
    const [first, second] = [another(), another()];
    await refusal(first, { secret: WRONG });
    occupy(second);
    expect((await refusal(second, { secret: WRONG })).message).toContain('not sent again');
  });
  test.each([
    ['the last try', CKF.USER_PIN_FINAL_TRY, 'ERR_SECRET_LAST_TRY'],
    ['none', CKF.USER_PIN_LOCKED, 'ERR_SECRET_LOCKED'],
  ])('that leaves %s to us, ours is not spent', async (_, flag, code) => {
    const fake = another();
    const path = occupy(fake);
    const entering = refusal(fake, { secret: RIGHT });
    expect(await settled(entering)).toBe('waits');
    fake.flags |= flag;
    rmSync(path);
    expect([(await entering).code, logins(fake)]).toEqual([code, 0]);
    expect(readdirSync(dirOf())).toEqual([]);
  });
});

describe('another user', () => {
  const NOBODY = 65_534;

  rootTest("does not meet root, with and without a variable that is root's", async () => {
    const own = `/dev/shm/holdfast-${NOBODY}`;
    const wasThere = existsSync(own);
    const { XDG_RUNTIME_DIR: ours } = process.env;
    const first = another();
    await refusal(first, { secret: WRONG });
    const ofRoot = recordOf(first).path;
    process.seteuid?.(NOBODY);
    try {
      const second = another();
      await refusal(second, { secret: WRONG });
      expect(logins(second)).toBe(1);
      expect(recordOf(second).path.startsWith(`${own}/pin-`)).toBe(true);
      expect((await refusal(another(), { secret: WRONG })).message).toContain('not sent again');
      delete process.env.XDG_RUNTIME_DIR;
      const third = another();
      expect((await refusal(third, { secret: WRONG })).message).toContain('not sent again');
      recordOf(third).forget();
    } finally {
      process.seteuid?.(0);
      process.env.XDG_RUNTIME_DIR = ours;
      if (!wasThere) rmSync(own, { recursive: true, force: true });
    }
    expect(existsSync(ofRoot)).toBe(true);
  });
});

describeLinux('a record that nobody can read', () => {
  const key = '0'.repeat(64);
  test.each([
    ['nothing', ''],
    ['no JSON', '{"key":'],
    ['another JSON', 'null'],
    ['no key', '{"refused":[]}'],
    ['a short key', '{"key":"00","refused":[]}'],
    ['no list', `{"key":"${key}","refused":{}}`],
    ['a refusal of nothing', `{"key":"${key}","refused":[null]}`],
    ['a refusal without a hash', `{"key":"${key}","refused":[{"flags":0,"locked":false,"time":"","from":{}}]}`],
  ])('%s: no stored PIN is sent, and the way out is named', async (_, text) => {
    const fake = another();
    writeFileSync(recordOf(fake).path, text);
    const error = await refusal(fake, { secret: RIGHT });
    expect(error).toMatchObject({ code: 'ERR_SECRET_WRONG', hint: expect.stringContaining('holdfast pin retry') });
    expect(error.message).toContain('damaged');
    expect(logins(fake)).toBe(0);
    await enter(fake, person(RIGHT));
  });

  test('a directory in its place', async () => {
    const fake = another();
    mkdirSync(recordOf(fake).path);
    expect((await refusal(fake, { secret: RIGHT })).message).toContain('damaged');
    recordOf(fake).forget();
    await enter(fake, { secret: RIGHT });
  });
});

describeLinux('a directory where something else belongs', () => {
  const inside = (path: string): string => {
    mkdirSync(`${path}/x`, { recursive: true });
    return path;
  };

  test.each(['.turn', '.turn.over'])('%s: no stored PIN is sent, and the way out is named', async (ending) => {
    const fake = another();
    const record = recordOf(fake);
    inside(`${record.path}${ending}`);
    if (ending === '.turn.over') symlinkSync('999999999', `${record.path}.turn`); // of a process that is no more
    const error = await refusal(fake, { secret: RIGHT });
    expect(error).toMatchObject({ code: 'ERR_SECRET_WRONG', hint: expect.stringContaining('holdfast pin retry') });
    expect(error.message).toMatch(/is damaged \(E\w+\)$/);
    expect(logins(fake)).toBe(0);
    await enter(fake, person(RIGHT));
    record.clear();
    await enter(fake, { secret: RIGHT });
    expect(readdirSync(dirOf())).toEqual([]);
  });

  test('.new: the refusal is written down all the same', async () => {
    const fake = another();
    inside(`${recordOf(fake).path}.new`);
    await refusal(fake, { secret: WRONG });
    const second = another();
    expect((await refusal(second, { secret: WRONG })).message).toContain('not sent again');
    expect([logins(second), readdirSync(dirOf()).length]).toEqual([0, 1]);
  });

  test('the turn of somebody who is at it is not cleared away', async () => {
    const record = recordOf(another());
    const leave = record.takeTurn();
    record.clear();
    expect(record.takeTurn()).toBeUndefined();
    leave?.();
  });
});
