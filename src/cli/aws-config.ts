import { printable } from '../read-file.ts';
import type { Written } from './values.ts';

type Section = Map<string, string>;

/**
 * What a profile of the AWS config file says, and the `services` section that it names: that section's keys have the name
 * of their service before them, as in `rolesanywhere.endpoint_url`. The file is not ours: what is not understood is left
 * to the SDKs.
 */
export function parseProfile(text: string, profile: string, path: string): ReadonlyMap<string, Written> {
  const sections = sectionsOf(text);
  const name = profile === 'default' && !sections.has('profile default') ? 'default' : `profile ${profile}`;
  const said = new Map<string, Written>();
  const add = (section: string, isOurs: (key: string) => boolean): void => {
    for (const [key, value] of sections.get(section) ?? []) {
      if (value !== '' && isOurs(key))
        said.set(key, { text: value, origin: `${key} of [${section}] in ${printable(path)}` });
    }
  };
  add(name, (key) => !key.includes('.'));
  const services = said.get('services');
  if (services) add(`services ${services.text}`, (key) => key.includes('.'));
  return said;
}

/** An indented line belongs to the line above it that has a key and no value. A comment behind a value follows a space. */
function sectionsOf(text: string): Map<string, Section> {
  const sections = new Map<string, Section>();
  let section: Section | undefined;
  let parent: string | undefined;
  for (const line of text.replace(/^\uFEFF/, '').split(/\r\n|\r|\n/)) {
    if (/^\s*([#;]|$)/.test(line)) continue;
    const header = /^\[([^\]]*)\]/.exec(line)?.[1]?.trim().replace(/\s+/g, ' ');
    if (header !== undefined) {
      section = sections.get(header) ?? new Map();
      sections.set(header, section);
      parent = undefined;
      continue;
    }
    const equals = line.indexOf('=');
    if (equals < 0) continue;
    const key = line.slice(0, equals).trim().toLowerCase();
    const value = (line.slice(equals + 1).split(/\s[#;]/)[0] as string).trim();
    const isNested = /^\s/.test(line);
    if (!isNested) parent = value === '' ? key : undefined;
    if (!isNested) section?.set(key, value);
    else if (parent !== undefined) section?.set(`${parent}.${key}`, value);
  }
  return sections;
}
