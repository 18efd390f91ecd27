import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { devNull, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { readConfig, readProfile } from '../../src/cli/find-config.ts';
import { HoldfastError } from '../../src/errors.ts';
import { testUnless } from '../helpers/exercised.ts';
import { rejectionOf } from '../helpers/thrown.ts';

const permissionTest = await testUnless('permissions');

const { signal } = new AbortController();

describe('where the files are', () => {
  let home: string;
  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), 'holdfast-home-'));
  });
  afterEach(() => rmSync(home, { recursive: true, force: true }));

  const put = (path: string, text: string): string => {
    const whole = join(home, path);
    mkdirSync(dirname(whole), { recursive: true, mode: 0o700 });
    writeFileSync(whole, text, { mode: 0o600 });
    return whole;
  };
  const region = async (named: string | undefined, env: NodeJS.ProcessEnv) =>
    (await readConfig(named, env, signal)).get('region')?.text;

  test('ours: named, in $XDG_CONFIG_HOME, in ~/.config', async () => {
    const named = put('mine', 'region = named');
    put('xdg/holdfast/config', 'region = xdg');
    put('.config/holdfast/config', 'region = home');
    const xdg = join(home, 'xdg');
    expect(await region(named, { HOME: home, XDG_CONFIG_HOME: xdg })).toBe('named');
    expect(await region(undefined, { HOME: home, XDG_CONFIG_HOME: xdg })).toBe('xdg');
    expect(await region('', { HOME: home })).toBe('home');
    expect(await region(undefined, { HOME: home, XDG_CONFIG_HOME: '' })).toBe('home');
    expect(await region(undefined, { HOME: home, XDG_CONFIG_HOME: 'xdg' })).toBe('home'); // relative: not to be used
  });

  test('ours may be missing where nobody named it', async () => {
    expect(await region(undefined, { HOME: home })).toBeUndefined();
    expect(await region(undefined, { HOME: devNull })).toBeUndefined();
    expect(await region(devNull, { HOME: home })).toBeUndefined();
    const error = await rejectionOf(readConfig(join(home, 'none'), { HOME: home }, signal));
    expect(error).toMatchObject({ code: 'ERR_FILE_NOT_FOUND', hint: expect.any(String) });
    expect(error.message).toContain(`config file ${home}/none`);
  });

  test('a profile wants a file', async () => {
    const profile = { text: 'web', origin: 'HOLDFAST_CONFIG_PROFILE' };
    expect(await rejectionOf(readConfig(undefined, { HOME: home }, signal, profile))).toMatchObject({
      code: 'ERR_OPTION_INVALID',
      message: 'HOLDFAST_CONFIG_PROFILE names a profile, and there is no config file',
      hint: `name it with --config, or write ${home}/.config/holdfast/config`,
    });
    put('.config/holdfast/config', '[profile web]\nregion = web');
    expect((await readConfig(undefined, { HOME: home }, signal, profile)).get('region')?.text).toBe('web');
  });

  test('ours is checked wherever it is', async () => {
    const path = put('.config/holdfast/config', 'region = x');
    chmodSync(path, 0o620);
    expect(await rejectionOf(readConfig(undefined, { HOME: home }, signal))).toMatchObject({
      code: 'ERR_CONFIG_INVALID',
    });
    expect(await rejectionOf(readConfig(path, {}, signal))).toMatchObject({ code: 'ERR_CONFIG_INVALID' });
  });

  test('a directory in its place is an error', async () => {
    put('.config/holdfast/config/x', '');
    expect(await rejectionOf(readConfig(undefined, { HOME: home }, signal))).toMatchObject({
      code: 'ERR_FILE_UNREADABLE',
    });
  });

  permissionTest('a home that we may not enter has no files; one that is there must be read', async () => {
    const path = put('.config/holdfast/config', 'region = x');
    chmodSync(path, 0o000);
    expect(await rejectionOf(readConfig(undefined, { HOME: home }, signal))).toMatchObject({
      code: 'ERR_FILE_UNREADABLE',
    });
    chmodSync(join(home, '.config'), 0o000);
    try {
      expect(await region(undefined, { HOME: home })).toBeUndefined();
      expect(await rejectionOf(readConfig(path, {}, signal))).toBeInstanceOf(HoldfastError);
    } finally {
      chmodSync(join(home, '.config'), 0o700);
    }
  });

  test('that of AWS: named, or in ~/.aws; both may be missing', async () => {
    const named = put('other', '[profile web]\nca_bundle = /named\n[default]\nca_bundle = /default');
    put('.aws/config', '[default]\nca_bundle = /home');
    const bundle = async (env: NodeJS.ProcessEnv) => (await readProfile(env, signal)).get('ca_bundle')?.text;
    expect(await bundle({ HOME: home })).toBe('/home');
    expect(await bundle({ HOME: home, AWS_CONFIG_FILE: named })).toBe('/default');
    expect(await bundle({ HOME: home, AWS_CONFIG_FILE: named, AWS_PROFILE: 'web' })).toBe('/named');
    expect(await bundle({ HOME: home, AWS_CONFIG_FILE: named, AWS_PROFILE: 'none' })).toBeUndefined();
    expect(await bundle({ HOME: home, AWS_CONFIG_FILE: join(home, 'none') })).toBeUndefined();
    expect(await bundle({ HOME: join(home, 'nobody') })).toBeUndefined();
  });
});
