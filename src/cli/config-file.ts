import type { Stats } from 'node:fs';
import { HoldfastError } from '../errors.ts';
import { nearest } from '../nearest.ts';
import { printable } from '../read-file.ts';
import { type FlagName, flagOf, SETTINGS } from './flags.ts';
import type { Written } from './values.ts';

type Line = Written & { readonly line: number };
type Section = Map<FlagName, Line>;

/**
 * What the config file says: lines `key = value` with the names of flags as keys. Those above the first section hold
 * for all; those of the section `[profile NAME]` that is asked for are stronger. Values stand as they are, to the end of
 * the line; a comment stands on a line of its own. What is not understood, in other sections too, is an error, because a
 * setting that is ignored would be missed later and elsewhere.
 *
 * @param profile the name of the profile, and where it was asked for; undefined for none
 * @throws {HoldfastError} `ERR_CONFIG_INVALID` naming file and line, without the value; `ERR_OPTION_INVALID` for a profile
 * that is not there
 */
export function parseConfig(text: string, path: string, profile?: Written): ReadonlyMap<FlagName, Written> {
  const common: Section = new Map();
  const profiles = new Map<string, { readonly line: number; readonly section: Section }>();
  let section = common;
  for (const [index, raw] of text.split(/\r\n|\r|\n/).entries()) {
    const content = raw.trim(); // a byte order mark goes too
    if (content === '' || content.startsWith('#')) continue;
    const line = index + 1;
    const refuse: Refuse = (problem, hint) => {
      throw new HoldfastError('ERR_CONFIG_INVALID', `line ${line} of ${printable(path)} ${problem}`, { hint });
    };
    if (content.endsWith('\\')) refuse('ends in a "\\": no line goes on in the next', 'write it all on one line');
    if (content.startsWith('[')) {
      const name = profileIn(content, refuse);
      const before = profiles.get(name);
      if (before) refuse(`repeats the profile of line ${before.line}`, 'make one section of the two');
      section = new Map();
      profiles.set(name, { line, section });
      continue;
    }
    const { key, value } = split(content, refuse);
    const before = section.get(key);
    if (before) refuse(`repeats "${key}" of line ${before.line}`, 'keep one of the two');
    section.set(key, { text: value, origin: `${key} in line ${line} of ${printable(path)}`, line });
  }
  if (profile === undefined) return common;
  const chosen = profiles.get(profile.text);
  if (chosen === undefined) throw noProfile(profile, [...profiles.keys()], path);
  return new Map([...common, ...chosen.section]);
}

type Refuse = (problem: string, hint: string) => never;

/** The name in `[profile NAME]`. None is used unasked, so one that is called default would be a trap. */
function profileIn(header: string, refuse: Refuse): string {
  const name = /^\[\s*profile\s+([^\s[\]"']{1,64})\s*\]$/.exec(header)?.[1];
  if (name === 'default' || /^\[\s*default\s*\]$/.test(header)) {
    return refuse('begins a default section', 'write what holds for all above the first section');
  }
  if (name === undefined || printable(name) !== name) {
    return refuse('begins a section that is no "[profile NAME]"', 'names have no blanks, and nothing follows the "]"');
  }
  return name;
}

function noProfile({ text, origin }: Written, names: readonly string[], path: string): HoldfastError {
  // Whatever else was written in its place is not repeated.
  const named = /^[\w.@+-]{1,40}$/.test(text) ? `[profile ${text}]` : 'profile of this name';
  const near = nearest(text, names);
  const hint = near === undefined ? '' : `did you mean ${near}? `;
  return new HoldfastError('ERR_OPTION_INVALID', `${origin}: there is no ${named} in ${printable(path)}`, {
    hint: names.length === 0 ? 'the file has no profiles' : `${hint}the profiles are: ${names.join(', ')}`,
  });
}

function split(content: string, refuse: Refuse): { key: FlagName; value: string } {
  const equals = content.startsWith(';') ? -1 : content.indexOf('=');
  if (equals < 0) return refuse('is no "key = value"', 'a comment begins with "#"');
  const key = keyFrom(content.slice(0, equals).trim(), refuse);
  const value = content.slice(equals + 1).trim();
  if (value === '') return refuse(`has no value for "${key}"`, 'give one, or take the line out');
  if (/^["']/.test(value)) return refuse(`has the value of "${key}" in quotes`, 'write it without them');
  if (/\s#/.test(value)) return refuse(`has a comment behind the value of "${key}"`, 'put it on a line of its own');
  return { key, value };
}

/** What to write instead of flags that stand on the command line only, other than the flag. */
const INSTEAD: Readonly<Record<string, string>> = {
  'no-cache': 'write cache = off',
  json: 'write output = json',
  profile: 'write --profile; a profile of this file begins with [profile NAME]',
};

function keyFrom(written: string, refuse: Refuse): FlagName {
  if (SETTINGS.includes(written as FlagName)) return written as FlagName;
  const bare = written.replace(/^--/, '').replaceAll('_', '-').toLowerCase();
  const flag = flagOf(bare);
  if (flag?.secret) return refuse(`holds a secret ("${bare}")`, 'name its file in the key URI: pin-source=file:/path');
  if (flag && !SETTINGS.includes(bare as FlagName)) {
    return refuse(`has the key "${bare}", which is for the command line only`, INSTEAD[bare] ?? `write --${bare}`);
  }
  const near = nearest(bare, SETTINGS);
  if (near !== undefined) return refuse(`has the unknown key "${written}"`, `did you mean "${near}"?`);
  // What does not look like a key may be anything, the last line of a private key too.
  const name = /^[a-z]+([-_.][a-z]+)*$/.test(written) ? `the unknown key "${written}"` : 'an unknown key';
  return refuse(`has ${name}`, 'docs/cli.md lists the keys: the names of flags');
}

const GROUP_OR_OTHERS_WRITE = 0o022;

/**
 * Whoever writes the config file says which PKCS#11 module is loaded, that is, which code runs. So only root and the
 * user who runs this may. A character device, such as `/dev/null`, is left alone; Windows has no such bits.
 *
 * @param user our own user id; undefined on Windows
 * @throws {HoldfastError} `ERR_CONFIG_INVALID`
 */
export function checkWriters(
  stat: Pick<Stats, 'mode' | 'uid' | 'isCharacterDevice'>,
  path: string,
  user: number | undefined,
): void {
  if (user === undefined || stat.isCharacterDevice()) return;
  const refuse = (who: string, hint: string): never => {
    throw new HoldfastError('ERR_CONFIG_INVALID', `${who} can write the config file ${printable(path)}`, { hint });
  };
  const mode = (stat.mode & 0o7777).toString(8).padStart(4, '0');
  const isForeign = stat.uid !== user && stat.uid !== 0;
  if (stat.mode & GROUP_OR_OTHERS_WRITE) refuse(`others (mode ${mode})`, 'read it through, then: chmod go-w FILE');
  if (isForeign) refuse(`another user (uid ${stat.uid})`, 'read it through, then: chown USER FILE');
}
