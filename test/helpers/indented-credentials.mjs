// Small credentials files in which indentation decides what is a header, a key or the rest of a value, and botocore's word
// on what became of them.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { newCredentials, PROFILE } from './odd-credentials.mjs';
import { randomFrom } from './random.mjs';

const PYTHON = '/usr/bin/python3'; // Debian's, not a version manager's
const SCRIPT = fileURLToPath(new URL('read-profiles.py', import.meta.url));

const INDENTS = [
  '',
  '',
  '',
  '',
  ' ',
  ' ',
  '  ',
  '\t',
  '    ',
  ' \t',
  '\u00a0',
  '\u3000',
  ' \u2003',
  '\u0085',
  '\u001c',
];
const KEYS = ['aws_access_key_id', 'aws_secret_access_key', 'aws_session_token', 'AWS_Session_Token'];

/** A readable one more often than not. */
function indentedFile(seed) {
  const random = randomFrom(seed);
  const below = (limit) => random.below(limit);
  const of = (list) => random.of(list);
  const name = () => `${of(['region', 'output', 'role_arn'])}${below(8)}`;
  const value = () => of(['', 'x', 'x', 'y = z', '# c', '[x]', '==']);
  const ours = [...KEYS.slice(0, 3)];
  const headers = ['ci', `${PROFILE} `, 'DEFAULT', 'other'];
  const body = {
    key: () => `${name()}${of([' = ', '=', ' : '])}${value()}`,
    // Most of them once: botocore refuses what is there twice.
    ours: () => `${below(8) ? (ours.splice(below(ours.length), 1)[0] ?? name()) : of(KEYS)} = ${value()}`,
    header: () => `[${headers.splice(below(headers.length), 1)[0] ?? 'ci'}]`,
    comment: () => of(['# c', '; [x]', '# aws_session_token = t', '# holdfast: expires 2020-01-01T00:00:00Z']),
    blank: () => '',
    more: () =>
      of(['rest==', '[x', '[x]', `[${PROFILE}]`, '[ci]', `${of(KEYS)} = more`, `${name()} = more`, 'a = b = c']),
  };
  const kinds = ['key', 'key', 'ours', 'ours', 'ours', 'header', 'comment', 'blank', 'more', 'more', 'more'];
  const lines = [of(['', ' ']) + (below(6) ? `[${PROFILE}]` : body.header())];
  if (below(3) === 0) lines.unshift('[first]', of(INDENTS) + body.key(), of(INDENTS) + body.more());
  for (let left = 1 + below(8); left > 0; left -= 1) {
    const kind = of(kinds);
    // What only goes on is mostly indented.
    lines.push((kind === 'more' && below(8) ? of(INDENTS.slice(4)) : of(INDENTS)) + body[kind]());
  }
  const eol = of(['\n', '\n', '\r\n', '\r']);
  return Buffer.from(lines.join(eol) + (below(3) ? eol : ''));
}

/** What botocore reads from each of these files. */
export function readWithBotocore(paths) {
  const text = execFileSync(PYTHON, [SCRIPT, PROFILE, ...paths], { encoding: 'utf8', maxBuffer: 2 ** 28 });
  return JSON.parse(text);
}

/**
 * What botocore could read before it reads after, with our credentials in the profile; the other profiles, and whatever of
 * this one is no key of ours, are as they were. A second write changes nothing.
 *
 * @param {typeof import('../../src/serve/credentials-file.ts').setProfile} setProfile
 * @returns {number} how many of the files botocore could read
 * @throws {Error} with the seed and the file
 */
export function checkIndented(setProfile, seed, count) {
  const dir = mkdtempSync(join(tmpdir(), 'holdfast-indented-'));
  try {
    const cases = Array.from({ length: count }, (_, at) => {
      const data = indentedFile(seed + at);
      const credentials = newCredentials(seed + at);
      const after = setProfile(data, PROFILE, credentials).data;
      const paths = [join(dir, `${at}.before`), join(dir, `${at}.after`)];
      writeFileSync(paths[0], data);
      writeFileSync(paths[1], after);
      return { data, after, credentials, paths };
    });
    const read = readWithBotocore(cases.flatMap(({ paths }) => paths));
    let readable = 0;
    for (const [at, { data, after, credentials }] of cases.entries()) {
      const [was, is] = [read[2 * at], read[2 * at + 1]];
      // [DEFAULT] alone is not looked at before a section takes it over.
      if (was.error || Object.keys(was.others).length === 0) continue;
      readable += 1;
      const { accessKeyId, secretAccessKey, sessionToken } = credentials;
      const keys = JSON.stringify([accessKeyId, secretAccessKey, sessionToken]);
      const same = {
        readable: is.error === undefined,
        keys: JSON.stringify(is.keys) === keys,
        others: is.error !== undefined || isSame(was, is),
        'second write': setProfile(after, PROFILE, credentials).data.equals(after),
      };
      const what = Object.keys(same).find((name) => !same[name]);
      if (what) throw failure(seed + at, data, after, what);
    }
    return readable;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

function isSame({ others: was }, { others: is }) {
  const sorted = (pairs) => Object.fromEntries(pairs.toSorted(([one], [other]) => (one < other ? -1 : 1)));
  const others = (sections) => sorted(Object.entries(sections).filter(([name]) => name.trim() !== PROFILE));
  // To some readers a key of ours may stand in the value of another.
  const rest = (value) =>
    typeof value === 'string' ? value.split('\n').filter((line) => !/^(aws_|$)/i.test(line)) : value;
  const own = (sections) =>
    sorted(
      Object.entries(sections[PROFILE] ?? {})
        .filter(([key]) => !key.startsWith('former_'))
        .map(([key, value]) => [key, rest(value)]),
    );
  // A section that is new inherits from [DEFAULT].
  const text = (sections) => JSON.stringify([others(sections), PROFILE in was && own(sections)]);
  return text(was) === text(is);
}

const failure = (seed, before, after, what) =>
  new Error(`seed ${seed}: ${what}: ${JSON.stringify(before.toString())} became ${JSON.stringify(after.toString())}`);
