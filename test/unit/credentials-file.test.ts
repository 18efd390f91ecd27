import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from '@jest/globals';
import { checkProfileName, setProfile } from '../../src/serve/credentials-file.ts';
import { filled, NEW, set } from '../helpers/filled-profile.ts';
import { checkOthers, newCredentials, oddFile, PROFILE } from '../helpers/odd-credentials.mjs';
import { thrownBy } from '../helpers/thrown.ts';

const ALL = '{C}\n{A}\n{S}\n{T}\n';
const long = `x = ${'y'.repeat(200_000)}\n`;

describe('a profile is filled, and nothing else changes', () => {
  test.each<[what: string, before: string, after: string]>([
    ['an empty file', '', `[build]\n${ALL}`],
    [
      'the example of the contract',
      '[build]\nregion = eu-west-1\n[other]\nregion = us-east-1\n',
      `[build]\nregion = eu-west-1\n${ALL}[other]\nregion = us-east-1\n`,
    ],
    ['a header in the last line', '[build]\nregion = a\n[other]', `[build]\nregion = a\n${ALL}[other]`],
    ['our header in the last line', '[other]\nx = 1\n[build]', `[other]\nx = 1\n[build]\n${ALL}`],
    ['no such section', '[other]\nx = 1\n', `[other]\nx = 1\n\n[build]\n${ALL}`],
    ['no such section, a blank line at the end', '[other]\nx = 1\n\n', `[other]\nx = 1\n\n[build]\n${ALL}`],
    ['no such section, and no end of the last line', '[other]\nx = 1', `[other]\nx = 1\n\n[build]\n${ALL}`],
    [
      'keys in place',
      '[build]\naws_session_token = t\nx = 1\naws_access_key_id = a\naws_secret_access_key = s\n',
      '[build]\n{C}\n{T}\nx = 1\n{A}\n{S}\n',
    ],
    [
      'a last line of ours without an end',
      '[build]\naws_access_key_id = a\naws_secret_access_key = s\naws_session_token = t',
      '[build]\n{C}\n{A}\n{S}\n{T}',
    ],
    [
      'a last line without an end, and a key is missing',
      '[build]\naws_access_key_id = a\naws_secret_access_key = s',
      '[build]\n{C}\n{A}\n{S}\n{T}\n',
    ],
    [
      'no blanks around the sign',
      '[build]\naws_access_key_id=a\naws_secret_access_key:s\naws_session_token\t=\tt\n',
      '[build]\n{C}\n{A}\n{S}\n{T}\n',
    ],
    ['keys in capitals', '[build]\nAWS_ACCESS_KEY_ID = a\n', '[build]\n{C}\n{A}\n{S}\n{T}\n'],
    [
      'keys twice',
      '[build]\naws_access_key_id = a\nx = 1\naws_access_key_id = b\nAWS_ACCESS_KEY_ID = c\n',
      '[build]\n{C}\n{A}\nx = 1\n{S}\n{T}\n',
    ],
    [
      'our comment, where it is',
      '[build]\naws_access_key_id = a\n# holdfast: expires 2020-02-02T20:20:20Z\nx = 1\n',
      '[build]\n{A}\n{C}\nx = 1\n{S}\n{T}\n',
    ],
    [
      'our comment twice',
      '[build]\n# holdfast: expires 2020-02-02T20:20:20Z\n# holdfast: expires 2020-02-02T20:20:20Z\n',
      '[build]\n{A}\n{S}\n{T}\n{C}\n',
    ],
    [
      'comments of others',
      '[build]\n# holdfast: expires soon\n#aws_access_key_id = a\n; aws_session_token = t\n',
      `[build]\n${ALL}# holdfast: expires soon\n#aws_access_key_id = a\n; aws_session_token = t\n`,
    ],
    [
      'a comment above the next header stays there',
      '[build]\nx = 1\n\n# the other\n[other]\n',
      `[build]\nx = 1\n${ALL}\n# the other\n[other]\n`,
    ],
    [
      'CR LF',
      '[build]\r\nx = 1\r\naws_access_key_id = a\r\n\r\n[other]\r\n',
      '[build]\r\nx = 1\r\n{C}\r\n{A}\r\n{S}\r\n{T}\r\n\r\n[other]\r\n',
    ],
    [
      'CR, which is a line end for Python',
      '[build]\rx = 1\raws_access_key_id = a\r',
      '[build]\rx = 1\r{C}\r{A}\r{S}\r{T}\r',
    ],
    [
      'keys below a header that is one to some only',
      '[build]\nx = 1\n  [other]\n  aws_access_key_id = a\n',
      `[build]\n${ALL}x = 1\n  [other]\n  aws_access_key_id = a\n`,
    ],
    ['CR LF, no such section', '[other]\r\n', '[other]\r\n\r\n[build]\r\n{C}\r\n{A}\r\n{S}\r\n{T}\r\n'],
    [
      'line ends of both kinds',
      '[other]\r\n[build]\naws_access_key_id = a\r\naws_secret_access_key = s\n',
      '[other]\r\n[build]\n{C}\n{A}\r\n{S}\n{T}\n',
    ],
    [
      'a mark of UTF-8',
      '\u00ef\u00bb\u00bf[build]\naws_access_key_id = a\n',
      '\u00ef\u00bb\u00bf[build]\n{C}\n{A}\n{S}\n{T}\n',
    ],
    [
      'octets that are no UTF-8, and NUL',
      '[build]\nx = \u00ff\u00fe\0\u0080\n[\u00ff]\ny\n',
      `[build]\nx = \u00ff\u00fe\0\u0080\n${ALL}[\u00ff]\ny\n`,
    ],
    ['lines of 200,000 characters', `[build]\n${long}[other]\n${long}`, `[build]\n${long}${ALL}[other]\n${long}`],
    ['a comment behind the header', '[build] # mine\nx = 1\n', `[build] # mine\nx = 1\n${ALL}`],
    [
      'a comment with brackets behind the header',
      '[build] # [x]\nx = 1\naws_access_key_id = a\n',
      `[build] # [x]\nx = 1\n{A}\n\n[build]\n${ALL}`,
    ],
    [
      'blanks in the header, which is another one for the AWS CLI',
      '[ build ]\naws_access_key_id = a\n',
      `[ build ]\n{A}\n\n[build]\n${ALL}`,
    ],
    [
      'headers that only look like it',
      '[Build]\naws_access_key_id = a\n[profile build]\naws_access_key_id = a\n[build2]\n',
      `[Build]\naws_access_key_id = a\n[profile build]\naws_access_key_id = a\n[build2]\n\n[build]\n${ALL}`,
    ],
    [
      'the section twice',
      '[build]\naws_access_key_id = a\n[x]\n[build]\naws_access_key_id = b\ny = 1\n',
      '[build]\n{C}\n{A}\n{S}\n{T}\n[x]\n[build]\n{A}\ny = 1\n',
    ],
    [
      'keys of other sections',
      '[a]\naws_access_key_id = a\n[build]\naws_access_key_id = b\n[c]\naws_access_key_id = c\n',
      '[a]\naws_access_key_id = a\n[build]\n{C}\n{A}\n{S}\n{T}\n[c]\naws_access_key_id = c\n',
    ],
    [
      'keys that begin like ours',
      '[build]\naws_access_key_id_old = 1\nx_aws_session_token = 2\n',
      `[build]\naws_access_key_id_old = 1\nx_aws_session_token = 2\n${ALL}`,
    ],
    ['keys before any section', 'aws_access_key_id = a\n', `aws_access_key_id = a\n\n[build]\n${ALL}`],
  ])('%s', (_, before, after) => {
    expect(set(before)).toBe(filled(after));
    // Once more changes nothing.
    expect(set(filled(after))).toBe(filled(after));
  });

  test('a name in UTF-8', () => {
    const data = setProfile(Buffer.from('[größe]\nx = 1\n'), 'größe', NEW).data;
    expect(data.toString()).toBe(filled(`[größe]\nx = 1\n${ALL}`));
    expect(setProfile(Buffer.alloc(0), 'größe', NEW).data.toString()).toBe(filled(`[größe]\n${ALL}`));
  });
});

describe('2,000 generated files', () => {
  const dir = mkdtempSync(join(tmpdir(), 'holdfast-odd-'));
  afterAll(() => rmSync(dir, { recursive: true }));
  const smithy = createRequire(import.meta.url)('@smithy/core/config') as {
    loadSharedConfigFiles(init: object): Promise<{ credentialsFile: Record<string, Record<string, string>> }>;
  };
  const seeds = Array.from({ length: 2000 }, (_, at) => at + 1);

  test('keep every octet that is not ours', () => {
    for (const seed of seeds) {
      const file = oddFile(seed);
      const credentials = newCredentials(seed);
      const { data } = setProfile(file.data, PROFILE, credentials);
      try {
        checkOthers(file, data, credentials);
        expect(setProfile(data, PROFILE, credentials).data.equals(data)).toBe(true);
      } catch (cause) {
        throw new Error(`seed ${seed}: ${JSON.stringify(file.data.toString('latin1').slice(0, 2000))}`, { cause });
      }
    }
  });

  test("are read by the JavaScript SDK's own reader", async () => {
    for (const seed of seeds.filter((one) => one % 10 === 0)) {
      const credentials = newCredentials(seed);
      const filepath = join(dir, String(seed));
      writeFileSync(filepath, setProfile(oddFile(seed).data, PROFILE, credentials).data);
      const { credentialsFile } = await smithy.loadSharedConfigFiles({ filepath, configFilepath: join(dir, 'none') });
      expect(credentialsFile[PROFILE]).toMatchObject({
        aws_access_key_id: credentials.accessKeyId,
        aws_secret_access_key: credentials.secretAccessKey,
        aws_session_token: credentials.sessionToken,
      });
    }
  });
});

describe('refused before anything is written', () => {
  test.each([
    '',
    ' build',
    'build ',
    'a]b',
    '[a',
    'a\nb',
    'a\0b',
    'a#b',
    'a;b',
    'DEFAULT',
    '__proto__',
    'profile build',
    'a\u2028b',
    'a\u202eb',
  ])('the name %j', (name) => {
    expect(thrownBy(() => checkProfileName(name)).code).toBe('ERR_OPTION_INVALID');
  });

  test.each(['default', 'a.b-c/d%e@f:g+h_i', 'größe', 'two words', 'profile'])('not the name %j', (name) => {
    expect(() => checkProfileName(name)).not.toThrow();
  });

  test.each(['', 'a b', 'a\nb = c', '#a', ';a', 'ä', 'a\r'])('a value %j, wherever it stands', (value) => {
    for (const name of ['accessKeyId', 'secretAccessKey', 'sessionToken']) {
      const write = (): unknown => setProfile(Buffer.alloc(0), 'build', { ...NEW, [name]: value });
      expect(thrownBy(write).code).toBe('ERR_SERVICE_ANSWER_INVALID');
    }
  });
});

describe('what keeps programs from reading the profile is told', () => {
  const doubts = (text: string): string[] =>
    setProfile(Buffer.from(text), 'build', NEW).doubts.map(([message]) => message);

  test('a section that is there twice', () => {
    expect(doubts('[build]\n[build]\n')).toEqual(['the credentials file has the section [build] twice']);
  });

  test('a token under the name that botocore prefers', () => {
    const message = 'the section [build] of the credentials file has an aws_security_token';
    expect(doubts('[build]\naws_security_token = old\n')).toEqual([message]);
  });

  test('and nothing of other sections', () => {
    expect(doubts('[build]\n[a]\naws_security_token = old\n[a]\n')).toEqual([]);
  });
});
