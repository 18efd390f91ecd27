import { describe, expect, test } from '@jest/globals';
import { corrected, matches, parseTranscripts, readTranscripts } from '../helpers/transcripts.ts';

describe('a transcript', () => {
  test('is a title and steps', () => {
    const text = '# one\n# and a word\n$ a \\\n  b\n> x\n>\n>- y\n! z\n? 0\n$ c\n? SIGTERM\n\n\n# two\n$ d\n? 1\n';
    expect(parseTranscripts(text, 'f')).toEqual([
      {
        title: 'one',
        steps: [
          { line: 'a \\\n  b', stdout: 'x\n\ny', stderr: 'z\n', status: '0' },
          { line: 'c', stdout: '', stderr: '', status: 'SIGTERM' },
        ],
      },
      { title: 'two', steps: [{ line: 'd', stdout: '', stderr: '', status: '1' }] },
    ]);
  });

  test.each([
    ['no title', '$ a\n? 0\n', /begins without/],
    ['no status', '# t\n$ a\n> x\n', /has no "\? "/],
    ['output before a command', '# t\n> x\n', /before any/],
    ['output after the status', '# t\n$ a\n? 0\n> x\n', /comes after/],
    ['an unknown line', '# t\n$ a\nx\n? 0\n', /begins like nothing/],
    ['nothing', '# only words\n', /no transcript/],
  ])('with %s is refused', (_, text, says) => {
    expect(() => parseTranscripts(text, 'f')).toThrow(says);
  });
});

describe('what is expected', () => {
  test.each([
    ['a.b\n', 'a.b\n', true],
    ['a.b\n', 'axb\n', false],
    ['a\n', 'a', false],
    ['a', 'a\n', false],
    ['', '', true],
    ['', 'x', false],
    ['a ... c\n', 'a b c\n', true],
    ['a ... c\n', 'a b\n c\n', false],
    ['a\n...\nd\n', 'a\nb\nc\nd\n', true],
    ['a\n...\nd\n', 'a\nd\n', true],
    ['a\n...\nd\n', 'a\nb\n', false],
    ['[HEX]', '0af', true],
    ['[HEX]', 'xyz', false],
    ['[NAME] [pair set]', 'v.1 [pair set]', true],
    ['[NAME]', 'vx1', false],
  ])('%j and %j: %s', (expected, came, fits) => {
    expect(matches(expected, came, { NAME: 'v.1' })).toBe(fits);
  });

  test('and has no such value', () => {
    expect(() => matches('[OTHER]', 'x', {})).toThrow(/no placeholder \[OTHER\]/);
  });
});

test('what came instead is shown as it should stand, with names for values', () => {
  const step = { line: 'a', stdout: '', stderr: '', status: '0' };
  const finished = [{ stdout: 'in /tmp/some/x', stderr: 'no\n', status: 3, signal: null }];
  const outcome = { finished, values: { DIR: '/tmp/some' } };
  expect(corrected({ title: 't', steps: [step] }, outcome)).toBe('$ a\n>- in [DIR]/x\n! no\n? 3\n');
});

test('those of the repository can be read', () => {
  for (const folder of ['.', 'softhsm', 'ml-dsa']) expect(readTranscripts(folder).length).toBeGreaterThan(0);
});
