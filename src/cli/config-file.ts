import type { Stats } from 'node:fs';
import { HoldfastError } from '../errors.ts';
import { nearest } from '../nearest.ts';
import { printable } from '../read-file.ts';
import { type FlagName, flagOf, SETTINGS } from './flags.ts';
import type { Written } from './values.ts';

/**
 * The config file's lines, `key = value` with the names of flags as keys. Values stand as they are, to the end of the
 * line; a comment stands on a line of its own. What is not understood is an error, because a setting that is ignored
 * would be missed later and elsewhere.
 *
 * @throws {HoldfastError} `ERR_CONFIG_INVALID` naming file and line, without the value
 */
export function parseConfig(text: string, path: string): ReadonlyMap<FlagName, Written> {
  const said = new Map<FlagName, Written & { readonly line: number }>();
  for (const [index, raw] of text.split(/\r\n|\r|\n/).entries()) {
    const content = raw.trim(); // a byte order mark goes too
    if (content === '' || content.startsWith('#')) continue;
    const line = index + 1;
    const refuse: Refuse = (problem, hint) => {
      throw new HoldfastError('ERR_CONFIG_INVALID', `line ${line} of ${printable(path)} ${problem}`, { hint });
    };
    const { key, value } = split(content, refuse);
    const before = said.get(key);
    if (before) refuse(`repeats "${key}" of line ${before.line}`, 'keep one of the two');
    said.set(key, { text: value, origin: `${key} in line ${line} of ${printable(path)}`, line });
  }
  return said;
}

type Refuse = (problem: string, hint: string) => never;

function split(content: string, refuse: Refuse): { key: FlagName; value: string } {
  // Sections are for named profiles, which are to come: until then nothing in one would be read.
  if (content.startsWith('[')) return refuse('begins a section: not supported yet', 'write "key = value" alone');
  const equals = content.startsWith(';') ? -1 : content.indexOf('=');
  if (equals < 0) return refuse('is no "key = value"', 'a comment begins with "#"');
  const key = keyFrom(content.slice(0, equals).trim(), refuse);
  const value = content.slice(equals + 1).trim();
  if (value === '') return refuse(`has no value for "${key}"`, 'give one, or take the line out');
  if (/^["']/.test(value)) return refuse(`has the value of "${key}" in quotes`, 'write it without them');
  if (/\s#/.test(value)) return refuse(`has a comment behind the value of "${key}"`, 'put it on a line of its own');
  return { key, value };
}

function keyFrom(written: string, refuse: Refuse): FlagName {
  if (SETTINGS.includes(written as FlagName)) return written as FlagName;
  const bare = written.replace(/^--/, '').replaceAll('_', '-').toLowerCase();
  const flag = flagOf(bare);
  if (flag?.secret) return refuse(`holds a secret ("${bare}")`, 'name its file in the key URI: pin-source=file:/path');
  if (flag && !SETTINGS.includes(bare as FlagName)) {
    return refuse(`has the key "${bare}", which is for the command line only`, `write --${bare}`);
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
