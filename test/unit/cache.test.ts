import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import type { BoughtSession } from '../../src/serve/index.ts';
import { entry, keyOf, MINUTE, makeWorld, NOW, names, pass, runtime, session, world } from '../helpers/cache-world.ts';
import { ARNS } from '../helpers/create-session.ts';
import { describeUnless, testUnless } from '../helpers/exercised.ts';

const rootTest = await testUnless('chown');

makeWorld();

const describeLinux = await describeUnless('linux');

describeLinux('a session in the cache', () => {
  test('is bought once, and left for this user alone', async () => {
    const first = await session();
    expect(await session()).toEqual(first);
    expect(world.bought).toBe(1);
    expect(statSync(entry()).mode & 0o7777).toBe(0o600);
    expect(statSync(runtime()).mode & 0o7777).toBe(0o700);
    expect(world.told).toEqual([
      expect.stringContaining('debug: cache: miss'),
      expect.stringContaining('debug: cache: hit'),
    ]);
  });

  test.each([
    ['of another role', { roleArn: `${ARNS.roleArn}2` }],
    ['of another endpoint', { endpoint: 'https://vpce.example' }],
  ])('%s is another', async (_, changes) => {
    await session();
    await session({ key: keyOf(changes) });
    expect(world.bought).toBe(2);
    await session();
    expect(world.bought).toBe(2);
  });

  test('is good for the content of its certificate, not for its place', async () => {
    await session();
    utimesSync(world.certificate, 1, 1);
    await session();
    expect(world.bought).toBe(1);
    writeFileSync(world.certificate, 'B'.repeat(200));
    await session();
    expect(world.bought).toBe(2);
    rmSync(world.certificate);
    writeFileSync(world.certificate, 'B'.repeat(200));
    await session();
    expect(world.bought).toBe(2);
  });

  test('whose certificate is replaced while it is bought is not one of the new certificate', async () => {
    const slow = async (): Promise<BoughtSession> => {
      writeFileSync(world.certificate, 'B'.repeat(200));
      return { credentials: await session() };
    };
    await session({ buy: slow, key: keyOf({ roleSessionName: 'me' }) });
    await session({ key: keyOf({ roleSessionName: 'me' }) });
    expect(world.bought).toBe(2);
  });

  test.each([
    [16 * MINUTE, 1],
    [15 * MINUTE, 2],
    [0, 2],
    [-MINUTE, 2],
  ])('with %d ms left: bought %d times', async (left, times) => {
    await session();
    pass(60 * MINUTE - left);
    await session();
    expect(world.bought).toBe(times);
  });

  test.each([
    ['behind', 90],
    ['behind', 20],
    ['ahead', -90],
    ['ahead', -20],
  ])('is good for as long as the service says, where our clock is %s (%d minutes)', async (_, minutes) => {
    const skew = minutes * MINUTE;
    const { expiration } = await session({ skew });
    pass(44 * MINUTE);
    expect((await session({ skew })).expiration).toEqual(expiration); // as the service has it
    expect([expiration, world.bought]).toEqual([new Date(NOW + skew + 60 * MINUTE), 1]);
    pass(MINUTE);
    await session({ skew });
    expect(world.bought).toBe(2);
  });

  test('is good for no longer than was asked for, where nobody has said how wrong our clock is', async () => {
    await session({ life: 150 * MINUTE });
    pass(45 * MINUTE);
    await session();
    expect(world.bought).toBe(2);
  });

  test.each([
    ['back by more than has passed', 10, -30, 2],
    ['back by less than has passed, with 14 minutes left', 46, -30, 2],
    ['back by less than has passed, with 20 minutes left', 40, -30, 1],
    ['on, as after a suspension', 10, 40, 2],
    ['right by a second, at once', 0, -1 / 60, 1],
  ])('after a clock was set %s', async (_, passed, set, times) => {
    await session();
    pass(passed * MINUTE);
    world.now += set * MINUTE;
    await session();
    expect(world.bought).toBe(times);
  });

  test('of before the system was started is none of now', async () => {
    await session();
    world.steady -= MINUTE;
    await session();
    expect(world.bought).toBe(2);
  });

  test('holds what it was bought with, and of secrets the credentials only', async () => {
    const uri = 'pkcs11:token=prod;object=web?pin-value=424242';
    await session({ key: keyOf({ key: uri, certificate: uri, secret: '434343', proxy: 'http://u:454545@p.example' }) });
    const text = readFileSync(entry(), 'utf8');
    expect(text).toContain(ARNS.roleArn);
    expect(text).not.toMatch(/4[245]4[245]4[245]|434343|pin-value/);
  });
});

describeLinux('an entry that is not as we leave it is replaced', () => {
  test.each<[string, (path: string) => void]>([
    ['truncated', (path) => truncateSync(path, 100)],
    ['empty', (path) => truncateSync(path, 0)],
    ['open to the group', (path) => chmodSync(path, 0o640)],
    ['open to others', (path) => chmodSync(path, 0o604)],
    ['of another key', (path) => writeFileSync(path, readFileSync(path, 'utf8').replace('prod', 'test'))],
    ['without its token', (path) => writeFileSync(path, readFileSync(path, 'utf8').replace('"token"', '""'))],
    ['without an end', (path) => writeFileSync(path, readFileSync(path, 'utf8').replace('"expiration"', '"x"'))],
    ['larger than any', (path) => writeFileSync(path, readFileSync(path, 'utf8').padEnd(100_000))],
    ['JSON of another kind', (path) => writeFileSync(path, '[null]')],
    ['without how long it is good', (path) => writeFileSync(path, readFileSync(path, 'utf8').replace('"left"', '"x"'))],
    ['an empty directory', (path) => rmSync(path) ?? mkdirSync(path)],
  ])('%s', async (_, spoil) => {
    await session();
    spoil(entry());
    await session();
    await session();
    expect(world.bought).toBe(2);
    expect(statSync(entry()).mode & 0o777).toBe(0o600);
  });

  test('a symbolic link: what it leads to is neither taken nor changed', async () => {
    await session();
    const [path, target] = [entry(), join(world.dir, 'target')];
    const text = readFileSync(path, 'utf8');
    writeFileSync(target, text, { mode: 0o600 });
    rmSync(path);
    symlinkSync(target, path);
    await session();
    expect(world.bought).toBe(2);
    expect(lstatSync(path).isFile()).toBe(true);
    expect(readFileSync(target, 'utf8')).toBe(text);
  });

  rootTest('of another user', async () => {
    await session();
    chownSync(entry(), 65_534, 65_534);
    await session();
    expect(world.bought).toBe(2);
    expect(statSync(entry()).uid).toBe(process.geteuid?.());
  });

  test('a directory in which something is cannot be: the session is bought each time', async () => {
    await session();
    const path = entry();
    rmSync(path);
    mkdirSync(join(path, 'a'), { recursive: true });
    await session();
    await session();
    expect(world.bought).toBe(3);
    expect(names()).toHaveLength(1);
    expect(world.told).toContainEqual(expect.stringContaining('nothing was left for others'));
  });

  test('what nobody can want any more goes with the next that is bought', async () => {
    await session({ key: keyOf({ roleSessionName: 'me' }) });
    const old = entry();
    const hours = (count: number): number => NOW / 1000 - count * 3600;
    utimesSync(old, hours(14), hours(14));
    await session();
    expect(existsSync(old)).toBe(false);
    utimesSync(entry(), hours(12), hours(12));
    await session({ key: keyOf({ roleSessionName: 'me' }) });
    expect(names()).toHaveLength(2);
  });

  test('a directory with such a name stops nothing', async () => {
    await session({ key: keyOf({ roleSessionName: 'me' }) });
    const [strange, old] = ['session-a', 'session-b'].map((name) => join(runtime(), name)) as [string, string];
    mkdirSync(join(strange, 'a'), { recursive: true });
    writeFileSync(old, '');
    for (const path of [strange, old]) utimesSync(path, 1, 1);
    await session();
    expect([existsSync(strange), existsSync(old)]).toEqual([true, false]);
    await session();
    expect(world.bought).toBe(2);
    expect(world.told.join()).not.toContain('nothing was left');
  });
});

describeLinux('without a directory that is ours alone', () => {
  const others = (): string => process.env.XDG_RUNTIME_DIR as string;
  /** So that it is not found in the usual places instead. */
  const unusable = async (): Promise<void> => {
    const { geteuid } = process;
    try {
      Object.assign(process, { geteuid: undefined });
      await session();
    } finally {
      Object.assign(process, { geteuid });
    }
  };

  test('each session is bought, and the reason is there for who asks', async () => {
    await unusable();
    await unusable();
    expect(world.bought).toBe(2);
    expect(world.told).toEqual(
      Array.from({ length: 2 }, () => expect.stringMatching(/^debug: cache: off, this system has/)),
    );
  });

  test.each<[string, (path: string) => void]>([
    ['a symbolic link', (path) => symlinkSync(world.dir, path)],
    ['a directory that others may enter', (path) => mkdirSync(path) ?? chmodSync(path, 0o755)],
  ])('%s gets nothing', async (_, prepare) => {
    const path = join(others(), 'holdfast');
    rmSync(path, { recursive: true, force: true });
    prepare(path);
    const before = readdirSync(world.dir);
    // The next of the usual places may take it: this one does not.
    await session({ key: keyOf({ roleSessionName: `me-${process.pid}-${Date.now()}` }), life: 0 });
    expect(readdirSync(world.dir)).toEqual(before);
    expect(names()).toEqual(readdirSync(path));
    expect(world.told.join()).not.toContain(path);
    rmSync(path, { recursive: true, force: true });
    for (const line of world.told) {
      const left = / in (\S+session-\w+)/.exec(line)?.[1];
      if (left !== undefined) rmSync(left, { force: true });
    }
  });
});
