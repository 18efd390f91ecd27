import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { devNull, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { parseProfile } from '../../src/cli/aws-config.ts';
import { checkWriters, parseConfig } from '../../src/cli/config-file.ts';
import { readConfig, readProfile } from '../../src/cli/find-config.ts';
import { HoldfastError } from '../../src/errors.ts';
import { testUnless } from '../helpers/exercised.ts';
import { everythingOf, rejectionOf, thrownBy } from '../helpers/thrown.ts';

const permissionTest = await testUnless('permissions');

const { signal } = new AbortController();
const FILE = '/etc/holdfast';
const textsOf = (said: ReadonlyMap<string, { text: string }>) =>
  Object.fromEntries([...said].map(([name, { text }]) => [name, text]));
const parse = (text: string) => textsOf(parseConfig(text, FILE));

describe('the config file', () => {
  test.each<[name: string, text: string, said: Record<string, string>]>([
    ['nothing', '', {}],
    ['comments and empty lines', '# region = x\n\n   \n\t# y\n', {}],
    ['a value', 'region = eu-west-1', { region: 'eu-west-1' }],
    ['no space', 'region=eu-west-1\n', { region: 'eu-west-1' }],
    ['much space', '  region \t =\t eu-west-1  \n', { region: 'eu-west-1' }],
    ['lines of Windows, and a byte order mark', '\uFEFFregion = a\r\nendpoint = b\r\n', { region: 'a', endpoint: 'b' }],
    ['lines of old', 'region = a\rendpoint = b', { region: 'a', endpoint: 'b' }],
    ['only the first "=" divides', 'private-key = pkcs11:token=a', { 'private-key': 'pkcs11:token=a' }],
    ['"#" and ";" in a value', 'private-key = pkcs11:token=a;id=%01#b', { 'private-key': 'pkcs11:token=a;id=%01#b' }],
    ['spaces in a value', 'certificate = /a b/c d.pem', { certificate: '/a b/c d.pem' }],
    ['a backslash at the end', 'certificate = C:\\keys\\', { certificate: 'C:\\keys\\' }],
  ])('%s', (_, text, said) => {
    expect(parse(text)).toEqual(said);
  });

  test('says where each value stands', () => {
    expect(parseConfig('# a\nregion = x\r\n\nendpoint = y', FILE).get('endpoint')).toMatchObject({
      text: 'y',
      origin: `endpoint in line 4 of ${FILE}`,
    });
  });

  test.each<[line: string, message: string, hint: string | RegExp]>([
    ['role-arn', 'is no "key = value"', /#/],
    ['hunter2', 'is no "key = value"', /#/],
    ['; region = x', 'is no "key = value"', /#/],
    ['role_arn = hunter2', 'has the unknown key "role_arn"', 'did you mean "role-arn"?'],
    ['ROLE-ARN = hunter2', 'has the unknown key "ROLE-ARN"', 'did you mean "role-arn"?'],
    ['--role-arn = hunter2', 'has the unknown key "--role-arn"', 'did you mean "role-arn"?'],
    ['roll-arn = hunter2', 'has the unknown key "roll-arn"', 'did you mean "role-arn"?'],
    ['frobnicate = hunter2', 'has the unknown key "frobnicate"', /cli\.md/],
    ['constructor = hunter2', 'has the unknown key "constructor"', /cli\.md/],
    ['hunter2= = x', 'has an unknown key', /cli\.md/],
    ['hunter2 hunter2 = x', 'has an unknown key', /cli\.md/],
    ['= hunter2', 'has an unknown key', /cli\.md/],
    ['pkcs8-password = hunter2', 'holds a secret ("pkcs8-password")', /pin-source=file/],
    ['tpm_key_password = hunter2', 'holds a secret ("tpm-key-password")', /pin-source=file/],
    ['directory = hunter2', 'has the key "directory", which is for the command line only', 'write --directory'],
    ['config = hunter2', 'has the key "config", which is for the command line only', 'write --config'],
    ['region =', 'has no value for "region"', /take the line out/],
    ['region = "hunter2"', 'has the value of "region" in quotes', /without them/],
    ["region = 'hunter2'", 'has the value of "region" in quotes', /without them/],
    ['region = hunter2 # Frankfurt', 'has a comment behind the value of "region"', /line of its own/],
    ['[profile web]', 'begins a section: not supported yet', /alone/],
    ['endpoint = hunter2', 'repeats "endpoint" of line 1', /one of the two/],
  ])('%s', (line, message, hint) => {
    const error = thrownBy(() => parse(`endpoint = hunter2\n${line}\nregion = hunter2`));
    expect(error).toMatchObject({ code: 'ERR_CONFIG_INVALID', message: `line 2 of ${FILE} ${message}` });
    expect(error.hint).toMatch(hint);
    expect(everythingOf(error)).not.toContain('hunter2 ');
    expect(error.message + error.hint).not.toContain('hunter2');
  });

  test('a path that moves the cursor does not', () => {
    expect(thrownBy(() => parseConfig('x', '/a\u001b[2Jb')).message).toBe('line 1 of /a?[2Jb is no "key = value"');
  });
});

describe('who can write the config file', () => {
  const stat = (mode: number, uid: number, isDevice = false) => ({ mode, uid, isCharacterDevice: () => isDevice });

  test.each<[name: string, mode: number, uid: number, user: number | undefined]>([
    ['only we', 0o100600, 1000, 1000],
    ['only we, and all may read', 0o100644, 1000, 1000],
    ['only root', 0o100644, 0, 1000],
    ['nobody', 0o100400, 1000, 1000],
    ['Windows knows no such bits', 0o100666, 0, undefined],
  ])('%s: taken', (_, mode, uid, user) => {
    expect(checkWriters(stat(mode, uid), FILE, user)).toBeUndefined();
  });

  test.each<[name: string, mode: number, uid: number, user: number, message: string]>([
    ['others', 0o100602, 1000, 1000, `others (mode 0602) can write the config file ${FILE}`],
    ['the group', 0o100664, 1000, 1000, `others (mode 0664) can write the config file ${FILE}`],
    ['others, though it is of root', 0o100666, 0, 1000, `others (mode 0666) can write the config file ${FILE}`],
    ['another user', 0o100600, 1001, 1000, `another user (uid 1001) can write the config file ${FILE}`],
    ['a user, and we are root', 0o100600, 1001, 0, `another user (uid 1001) can write the config file ${FILE}`],
    ['others, into a pipe', 0o010666, 1000, 1000, `others (mode 0666) can write the config file ${FILE}`],
  ])('%s: refused', (_, mode, uid, user, message) => {
    const error = thrownBy(() => checkWriters(stat(mode, uid), FILE, user));
    expect(error).toMatchObject({ code: 'ERR_CONFIG_INVALID', message, hint: expect.stringMatching(/ch(mod|own)/) });
  });

  test('a device is nobody', () => {
    expect(checkWriters(stat(0o020666, 0, true), devNull, 1000)).toBeUndefined();
  });
});

describe('the profile of the AWS config file', () => {
  const profile = (text: string, name = 'default') => textsOf(parseProfile(text, name, FILE));

  test.each<[name: string, text: string, said: Record<string, string>]>([
    ['nothing', '', {}],
    ['the default', '[default]\nca_bundle = /x\n', { ca_bundle: '/x' }],
    ['the default as a profile, which wins', '[default]\na = 1\n[profile default]\na = 2', { a: '2' }],
    ['the same section twice', '[default]\na = 1\n[other]\na = 2\n[default]\nb = 3', { a: '1', b: '3' }],
    ['comments', '# x\n[default] # y\n; z\na = 1 # c\nb = 2 ; d\nc = 3#4;5', { a: '1', b: '2', c: '3#4;5' }],
    ['keys in capitals, lines of Windows, a byte order mark', '\uFEFF[default]\r\nA=1\r\n', { a: '1' }],
    ['spaces in a header', '[ default ]\na = 1', { a: '1' }],
    ['what comes before every section', 'a = 1\n[default]\nb = 2', { b: '2' }],
    ['lines that are none', '[default]\nnonsense\na = 1', { a: '1' }],
    ['indented lines below a value', '[default]\na = 1\n  b = 2', { a: '1' }],
    ['nested keys, which belong to a service', '[default]\ns3 =\n  endpoint_url = x\na = 1', { a: '1' }],
    ['the keys of an empty section', '[default]\n[profile web]\na = 1', {}],
    [
      'indented lines below a header',
      '[default]\nservices = x\ns3 =\n[services x]\n  endpoint_url = y',
      { services: 'x' },
    ],
    ['names of the prototype', '[default]\nservices = constructor', { services: 'constructor' }],
  ])('%s', (_, text, said) => {
    expect(profile(text)).toEqual(said);
  });

  test('one that is named', () => {
    const text = '[default]\na = 1\n[profile web]\na = 2\n[profile  api  two]\na = 3\n[bare]\na = 4';
    expect(profile(text, 'web')).toEqual({ a: '2' });
    expect(profile(text, 'api two')).toEqual({ a: '3' });
    expect(profile(text, 'bare')).toEqual({});
    expect(profile(text, 'missing')).toEqual({});
  });

  test('the services section that it names, and no other', () => {
    const text = [
      '[services theirs]',
      'rolesanywhere =',
      '  endpoint_url = https://theirs',
      '[profile web]',
      'services = ours',
      'endpoint_url = https://all',
      '[services ours]',
      'endpoint_url = https://nothing',
      's3 =',
      '  endpoint_url = https://s3',
      'rolesanywhere = ',
      '\tendpoint_url = https://ours # a comment',
    ];
    const said = parseProfile(text.join('\n'), 'web', FILE);
    expect(textsOf(said)).toEqual({
      services: 'ours',
      endpoint_url: 'https://all',
      's3.endpoint_url': 'https://s3',
      'rolesanywhere.endpoint_url': 'https://ours',
    });
    expect(said.get('rolesanywhere.endpoint_url')?.origin).toBe(
      `rolesanywhere.endpoint_url of [services ours] in ${FILE}`,
    );
  });
});

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
