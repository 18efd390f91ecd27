// Shared credentials files as people and programs leave them, each line of which is known to be ours to change or not.
import { randomFrom } from './random.mjs';

export const PROFILE = 'build';
const KEYS = ['aws_access_key_id', 'aws_secret_access_key', 'aws_session_token'];
const OTHERS = ['default', 'other', 'BUILD', 'build2', 'bui', 'profile build', 'a.b-c/d%e@f:g+h', 'größe', 'build '];

/**
 * @param {number} seed
 * @returns {import('./odd-credentials.d.mts').OddFile}
 */
export function oddFile(seed) {
  const random = randomFrom(seed);
  const once = (list) => list[random.below(list.length)];
  const oneIn = (number) => random.below(number) === 0;
  let count = 0;
  const unique = (what = 'v') => {
    count += 1;
    return `${what}${count}`;
  };
  const eol = once(['\n', '\n', '\r\n']);
  const isMixed = oneIn(8);
  const lines = [];
  const facts = { hasHome: false, isTwice: false, isUtf8: true, hasBom: false, hasKeysInValues: false };
  const add = (text, isOurs = false) => lines.push({ text, end: isMixed ? once(['\n', '\r\n']) : eol, isOurs });

  const comment = () =>
    once([
      () => `# ${unique()}`,
      () => `; ${unique()}`,
      () => `#${once(KEYS)} = ${unique('old')}`,
      () => `  ; ${once(KEYS)}=${unique('old')}`,
      () => `# holdfast: ${unique('note')}`,
      () => `# holdfast: expires ${unique('soon')}`,
      () => `# [${PROFILE}] ${unique()}`,
      () => `# ${'long '.repeat(oneIn(10) ? 20_000 : 10)}${unique()}`,
      () => `# \0${unique()}`,
      () => `# ${unique('ä€\u{1F512}\u2028')}`,
    ])();
  const setting = () =>
    `${once(['region', 'output', 'x_principal_arn', 'aws_access_key_id_old', 'my_aws_session_token', 'ünder'])}${unique('_')}${once([' = ', '=', ' =', '= ', '\t=\t'])}${once([unique(), `${unique()} ; not a comment to all`, `a = ${unique()}`, `"${unique()}"`])}`;
  const blank = () => once(['', '', '  ', '\t']);

  /** Whether some SDKs are in another section by now. */
  let isElsewhere = false;

  function section(name, isOwn) {
    isElsewhere = false;
    const indent = once(['', '', '', '', '  ', '\t', '    ', '\u00a0', '\u3000 ']);
    const header = indent === '' || oneIn(2) ? '' : indent;
    const ours = isOwn ? ourLines() : [];
    // A header may be indented no deeper than what is above it, or it is none to Python.
    add(`${lines.length === 0 ? header : ''}[${name}]${once(['', '', ' ', '\t', ' # c', ' ; c'])}`);
    for (let left = random.below(6); left > 0; left -= 1) {
      once([
        () => add(comment()),
        () => add(blank()),
        () => nested(indent, isOwn),
        () => add(indent + setting()),
        () => add(indent + setting()),
      ])();
      if (oneIn(2) && ours.length > 0) ours.shift()(indent);
    }
    for (const our of ours) our(indent);
    if (oneIn(3)) add(blank());
    if (oneIn(4)) add(comment());
  }

  /** In any order, with some missing, some twice. */
  function ourLines() {
    const names = KEYS.filter(() => !oneIn(3));
    if (oneIn(6)) names.push(once(KEYS));
    if (oneIn(2)) names.reverse();
    const found = names.map((name) => (indent) => {
      const key = once([name, name, name, name.toUpperCase()]);
      const sign = once([' = ', ' = ', '=', '\t= ', ': ']);
      add(`${indent}${key}${sign}${once([unique('old'), `${unique('old')} # c`, ''])}`, true);
      const isFilled = !lines.at(-1).text.endsWith(sign);
      if (isFilled && oneIn(10)) add(`${indent}   ${unique('rest')}==`, true);
    });
    if (oneIn(3)) found.unshift((indent) => add(`${indent}# holdfast: expires 2020-01-01T00:00:00Z`, true));
    return found;
  }

  function nested(indent, isOwn) {
    if (oneIn(8)) {
      add(`${indent}${unique('region')} = ${unique()}`);
      // A header to some SDKs, the rest of the value above to Python.
      add(`${indent}  [${unique('q')}]`);
      isElsewhere = true;
      add(`${indent}  ${once(KEYS)} = ${unique()}`);
      return;
    }
    if (oneIn(3)) {
      add(`${indent}${unique('region')} = ${unique()}`);
      // A key to some SDKs, the rest of the value above to Python.
      if (isOwn && oneIn(2)) {
        add(`${indent}  ${once(KEYS)} = ${unique('old')}`, !isElsewhere);
        facts.hasKeysInValues = true;
      }
      return;
    }
    add(`${indent}${unique('s3_')} =`);
    for (let left = 1 + random.below(2); left > 0; left -= 1) {
      add(`${indent}  ${oneIn(3) ? once(KEYS) : unique('k')} = ${unique()}`);
    }
  }

  const names = OTHERS.filter(() => oneIn(4));
  if (!oneIn(4)) {
    names.splice(random.below(names.length + 1), 0, PROFILE);
    facts.hasHome = true;
    if (oneIn(12)) {
      names.push(PROFILE);
      facts.isTwice = true;
    }
  }
  if (oneIn(10)) names.push(` ${PROFILE} `);
  for (let left = random.below(3); left > 0; left -= 1) add(oneIn(2) ? comment() : blank());
  for (const name of names) section(name, name.trim() === PROFILE);

  const raw = lines.map(({ text }) => Buffer.from(text));
  if (oneIn(15) && lines.length > 0) {
    const at = lines.findIndex(({ text }) => text.startsWith('#') && text.length < 1000);
    if (at >= 0 && !lines[at].isOurs) {
      raw[at] = Buffer.concat([raw[at], Buffer.from([0xff, 0xfe, 0x80])]);
      facts.isUtf8 = false;
    }
  }
  if (oneIn(20) && lines.length > 0 && !lines[0].isOurs) {
    raw[0] = Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), raw[0]]);
    facts.hasBom = true;
  }
  if (oneIn(4) && lines.length > 0 && lines.at(-1).text !== '') lines.at(-1).end = '';
  const octets = (wanted) =>
    Buffer.concat(lines.flatMap((line, at) => (wanted(line) ? [raw[at], Buffer.from(line.end)] : [])));
  return { data: octets(() => true), others: octets(({ isOurs }) => !isOurs), ...facts };
}

/** Credentials like nobody else's. */
export function newCredentials(seed) {
  const random = randomFrom(seed ^ 0x5bd1e995);
  const text = (length) => Buffer.from(random.bytes(length)).toString('base64');
  return {
    accessKeyId: `ASIA${seed}NEW`,
    secretAccessKey: `${text(30)}NEW${seed}`,
    sessionToken: `${text(300 + random.below(900))}NEW${seed}==`,
    expiration: new Date(1_900_000_000_000 + seed * 1000),
  };
}

/**
 * What is not ours in the new content, with the header that came with a new section.
 *
 * @throws {Error} when something else changed
 */
export function checkOthers(file, data, credentials) {
  const fresh = ['accessKeyId', 'secretAccessKey', 'sessionToken'].map((name) => credentials[name]);
  const comment = `# holdfast: expires ${credentials.expiration.toISOString().slice(0, 19)}Z`;
  const lines = data.toString('latin1').match(/[^\n]*\n|[^\n]+$/g) ?? [];
  const isOurs = (line) =>
    line.trimEnd().endsWith(comment) || fresh.some((value) => line.trimEnd().endsWith(` = ${value}`));
  const left = lines.filter((line) => !isOurs(line)).join('');
  const others = file.others.toString('latin1');
  if (!left.startsWith(others)) throw new Error('something else changed');
  const added = left.slice(others.length);
  const wanted = file.hasHome ? /^(\r?\n)?$/ : /^(\r?\n){0,2}\[build\]\r?\n$/;
  if (!wanted.test(added)) throw new Error(`this was added: ${JSON.stringify(added)}`);
  const ours = lines.filter(isOurs);
  for (const what of [comment, ...fresh]) {
    if (!ours.some((line) => line.includes(what))) throw new Error('a line of ours is missing');
  }
}
