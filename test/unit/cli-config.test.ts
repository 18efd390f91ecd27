import { devNull } from 'node:os';
import { describe, expect, test } from '@jest/globals';
import { parseProfile } from '../../src/cli/aws-config.ts';
import { checkWriters, parseConfig } from '../../src/cli/config-file.ts';
import { everythingOf, thrownBy } from '../helpers/thrown.ts';

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
    ['backslashes', 'certificate = C:\\keys\\a.pem', { certificate: 'C:\\keys\\a.pem' }],
    ['a profile that nobody asked for', 'region = a\n[profile web]\nregion = b', { region: 'a' }],
    ['a comment that ends in a backslash', '# a \\\nregion = a', { region: 'a' }],
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
    ['region = hunter2 \\', 'ends in a "\\": no line goes on in the next', 'write it all on one line'],
    ['region = hunter2\\', 'ends in a "\\": no line goes on in the next', 'write it all on one line'],
    ['\\', 'ends in a "\\": no line goes on in the next', 'write it all on one line'],
    ['no-cache = true', 'has the key "no-cache", which is for the command line only', 'write cache = off'],
    ['json = true', 'has the key "json", which is for the command line only', 'write output = json'],
    ['profile = hunter2', 'has the key "profile", which is for the command line only', /--profile.*\[profile NAME\]/],
    ['config-profile = x', 'has the key "config-profile", which is for the command line only', /--config-profile/],
    ['[default]', 'begins a default section', /above the first section/],
    ['[profile default]', 'begins a default section', /above the first section/],
    ...[
      ...[
        '[hunter2]',
        '[profile]',
        '[profile ]',
        '[]',
        '[profile hunter2',
        '[profile hunter2] # x',
        '[profile hunter 2]',
      ],
      ...[
        '[profile "hunter2"]',
        '[profile hunter2]]',
        '[Profile hunter2]',
        '[profile hunter\u200b2]',
        '[services hunter2]',
      ],
    ].map((header): [string, string, RegExp] => [header, 'begins a section that is no "[profile NAME]"', /blanks/]),
    ['endpoint = hunter2', 'repeats "endpoint" of line 1', /one of the two/],
  ])('%s', (line, message, hint) => {
    const error = thrownBy(() => parse(`endpoint = hunter2\n${line}\nregion = hunter2`));
    expect(error).toMatchObject({ code: 'ERR_CONFIG_INVALID', message: `line 2 of ${FILE} ${message}` });
    expect(error.hint).toMatch(hint);
    expect(everythingOf(error)).not.toContain('hunter2 ');
    expect(error.message + error.hint).not.toContain('hunter2');
  });

  describe('profiles', () => {
    const file = [
      'region = all',
      'endpoint = all',
      '[profile web]',
      'region = web',
      '',
      '[ profile  api-2.x ]',
      '  region = api',
      'deadline = 3',
    ].join('\n');
    const asked = (name: string) => ({ text: name, origin: '--config-profile' });

    test.each<[name: string, said: Record<string, string>]>([
      ['web', { region: 'web', endpoint: 'all' }],
      ['api-2.x', { region: 'api', endpoint: 'all', deadline: '3' }],
    ])('%s is stronger than what holds for all', (name, said) => {
      expect(textsOf(parseConfig(file, FILE, asked(name)))).toEqual(said);
    });

    test('each value has its own place', () => {
      const said = parseConfig(file, FILE, asked('web'));
      expect([said.get('region')?.origin, said.get('endpoint')?.origin]).toEqual([
        `region in line 4 of ${FILE}`,
        `endpoint in line 2 of ${FILE}`,
      ]);
    });

    test('one that is not there is an error that lists those that are', () => {
      const miss = (name: string, text = file) => thrownBy(() => parseConfig(text, FILE, asked(name)));
      expect(miss('wbe')).toMatchObject({
        code: 'ERR_OPTION_INVALID',
        message: `--config-profile: there is no [profile wbe] in ${FILE}`,
        hint: 'did you mean web? the profiles are: web, api-2.x',
      });
      expect(miss('production').hint).toBe('the profiles are: web, api-2.x');
      expect(miss('hunter2 hunter2').message).toBe(`--config-profile: there is no profile of this name in ${FILE}`);
      expect(miss('web', 'region = x')).toMatchObject({ hint: 'the file has no profiles' });
      expect(miss('default').code).toBe('ERR_OPTION_INVALID');
    });

    test.each<[name: string, more: string, message: string]>([
      ['a profile twice', '[profile web]', `line 9 of ${FILE} repeats the profile of line 3`],
      ['a key twice', 'region = x', `line 9 of ${FILE} repeats "region" of line 7`],
      ['an unknown key where nobody looks', '[profile c]\nregio = x', `line 10 of ${FILE} has the unknown key "regio"`],
    ])('%s', (_, more, message) => {
      const error = thrownBy(() => parseConfig(`${file}\n${more}`, FILE, asked('web')));
      expect(error).toMatchObject({ code: 'ERR_CONFIG_INVALID', message, hint: expect.any(String) });
    });
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
