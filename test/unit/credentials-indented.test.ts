import { describe, expect, test } from '@jest/globals';
import { filled, set } from '../helpers/filled-profile.ts';

const ALL = '{C}\n{A}\n{S}\n{T}\n';

describe('a section with indented lines is filled, and nothing else changes', () => {
  test.each<[what: string, before: string, after: string]>([
    ['indented keys', '[build]\n  aws_access_key_id = a\n  x = 1\n', '[build]\n  {C}\n  {A}\n  {S}\n  {T}\n  x = 1\n'],
    [
      'keys indented with a no-break space, which is no blank to some',
      '[build]\n\u00c2\u00a0region = eu-west-1\n',
      '[build]\n {C}\n {A}\n {S}\n {T}\n\u00c2\u00a0region = eu-west-1\n',
    ],
    [
      'a key of ours indented with a control character that Python takes for a blank',
      '[build]\n\u001caws_access_key_id = a\n',
      '[build]\n{C}\n{A}\n{S}\n{T}\n',
    ],
    [
      'a header that is part of our value to configparser',
      '[ci]\nx = 1\n[build]\naws_access_key_id = a\naws_secret_access_key = s\n [build]\n y = 1\n',
      `[ci]\nx = 1\n[build]\n${ALL}former_aws_secret_access_key = -\n [build]\n y = 1\n`,
    ],
    [
      'the same, with keys of ours below it',
      '[build]\naws_access_key_id = a\n [build]\n aws_access_key_id = old\n [x]\n aws_session_token = t\n',
      `[build]\n${ALL}former_aws_access_key_id = -\n [build]\n [x]\n aws_session_token = t\n`,
    ],
    [
      'half a header that is part of our value to configparser',
      '[build]\naws_session_token = t\n  [x\n  rest==\n',
      `[build]\n${ALL}former_aws_session_token = -\n  [x\n`,
    ],
    [
      'a key of others in a value of ours',
      '[build]\nregion = y\naws_session_token = t\n  region = x\n',
      `[build]\n${ALL}region = y\nformer_aws_session_token = -\n  region = x\n`,
    ],
    [
      'a subsection of ours',
      '[build]\nk = 1\naws_session_token =\n  k = v\n',
      `[build]\n${ALL}k = 1\nformer_aws_session_token =\n  k = v\n`,
    ],
    [
      'an indented section that is ours to some only',
      '[build ]\naws_access_key_id = # c\n  x =\n[y]\n',
      `[build ]\nformer_aws_access_key_id = #\n  x =\n[y]\n\n[build]\n${ALL}`,
    ],
    [
      'a subsection',
      '[build]\ns3 =\n  aws_access_key_id = nested\n  a = 1\nx = 1\naws_access_key_id = a\n',
      `[build]\n${ALL}s3 =\n  aws_access_key_id = nested\n  a = 1\nx = 1\n`,
    ],
    [
      'an indented header after it',
      '[build]\n  x = 1\n  [other]\n  y = 1\n',
      '[build]\n  {C}\n  {A}\n  {S}\n  {T}\n  x = 1\n  [other]\n  y = 1\n',
    ],
    [
      'what is a key to some and the rest of a value to others',
      '[build]\nx = 1\n  aws_access_key_id = a\n  y = 2\n',
      `[build]\n${ALL}x = 1\n  y = 2\n`,
    ],
    ['a value of ours that goes on', '[build]\naws_session_token = abc\n  def==\nx = 1\n', `[build]\n${ALL}x = 1\n`],
    [
      'a header that is one to some only',
      '[a]\nx = 1\n  [build]\n  aws_access_key_id = a\n',
      `[a]\nx = 1\n  [build]\n  aws_access_key_id = a\n\n[build]\n${ALL}`,
    ],
  ])('%s', (_, before, after) => {
    expect(set(before)).toBe(filled(after));
    // Once more changes nothing.
    expect(set(filled(after))).toBe(filled(after));
  });
});
