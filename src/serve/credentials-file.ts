import { HoldfastError, ServiceError } from '../errors.ts';
import { formatDate } from '../format-date.ts';
import { type Entry, type Line, linesOf, type Section, sectionsOf } from './credentials-lines.ts';

/** What a profile of the shared credentials file gets. */
export interface ProfileCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken: string;
  readonly expiration: Date;
}

/** The new content, and what of the old keeps programs from reading the profile. */
export interface ProfileText {
  readonly data: Buffer;
  readonly doubts: readonly (readonly [message: string, hint: string])[];
}

/**
 * The content of the shared credentials file with these credentials in one profile. Every octet besides the lines of
 * `aws_access_key_id`, `aws_secret_access_key` and `aws_session_token` in that profile, and of our comment above them, is
 * as it was. Whoever could read the file reads these credentials.
 *
 * @throws {HoldfastError} `ERR_OPTION_INVALID` for a name that cannot stand in a header
 * @throws {ServiceError} `ERR_SERVICE_ANSWER_INVALID` for credentials that would be read as something else
 */
export function setProfile(file: Uint8Array, profile: string, credentials: ProfileCredentials): ProfileText {
  checkProfileName(profile);
  const values = valuesOf(credentials);
  const lines = linesOf(file);
  const own = sectionsOf(lines).filter(({ name, plainName }) => plainName === profile || name === profile);
  const home = own.find(({ name }) => name === profile);
  const eol = [home?.header, ...lines].find((line) => line?.end)?.end ?? '\n';
  for (const section of own) {
    const isHome = section === home;
    if (isFlat(section)) {
      if (isHome) replaceAndAdd(section, values, eol);
      else replace(section, values);
    } else {
      clear(section, values);
      if (isHome) putOnTop(section, values, eol);
    }
  }
  const added = home === undefined ? newSection(lines, profile, values, eol) : '';
  const data = Buffer.from(lines.map(({ text }) => text).join('') + added, 'latin1');
  return { data, doubts: doubtsAbout(own, profile) };
}

/** @throws {HoldfastError} `ERR_OPTION_INVALID` */
export function checkProfileName(name: string): void {
  const refuse = (message: string, hint: string): never => {
    throw new HoldfastError('ERR_OPTION_INVALID', `a profile of the credentials file ${message}`, { hint });
  };
  if (name.trim() !== name || !/^[^[\]#;\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]+$/u.test(name)) {
    refuse('cannot have this name', 'use letters, digits and any of _ - . / % @ : +');
  }
  // configparser takes the first for the defaults of all sections; the JavaScript SDK refuses a whole file for the other.
  if (name === 'DEFAULT' || name === '__proto__') {
    refuse(`cannot be called ${name}, which means something else to the SDKs`, 'the usual one is called default');
  }
  if (/^(profile|sso-session|services)\s/.test(name)) {
    refuse('is called by its name alone', 'write --profile build, not --profile "profile build"');
  }
}

const KEYS = ['aws_access_key_id', 'aws_secret_access_key', 'aws_session_token'] as const;

/** What our lines say. The comment stands above the keys. */
type Values = ReadonlyMap<string, string>;

const COMMENT = /^# holdfast: expires \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/;
const OUR_COMMENT = '#';

function valuesOf({ accessKeyId, secretAccessKey, sessionToken, expiration }: ProfileCredentials): Values {
  const values = [accessKeyId, secretAccessKey, sessionToken];
  // A line end would begin another section, and some readers cut off what looks like a comment.
  if (!values.every((value) => /^[!-~]+$/.test(value) && !/^[#;]/.test(value))) {
    throw new ServiceError('ERR_SERVICE_ANSWER_INVALID', 'the credentials are such as no credentials file can hold', {
      hint: 'check the endpoint: those of AWS are letters, digits and signs without blanks',
    });
  }
  const comment = `# holdfast: expires ${formatDate(expiration)}`;
  return new Map([[OUR_COMMENT, comment], ...KEYS.map((key, at) => [key, `${key} = ${values[at]}`] as const)]);
}

const nameOf = ({ kind, key, line }: Entry): string =>
  kind === 'comment' && COMMENT.test(line.body) ? OUR_COMMENT : key;

/** Each of our lines where it stands; after the first of a name the others go. @returns what there is none of */
function replace({ entries }: Section, values: Values): Map<string, string> {
  const left = new Map(values);
  for (const entry of entries) {
    if (!isOurs(entry, values)) continue;
    const { line, kind } = entry;
    const name = nameOf(entry);
    const text = kind === 'key' || kind === 'comment' ? left.get(name) : undefined;
    line.text = text === undefined ? '' : line.indent + text + line.end;
    if (text !== undefined) left.delete(name);
  }
  return left;
}

/** Nothing in it is indented, nor what follows it. */
const isFlat = ({ entries, next }: Section): boolean =>
  entries.every(({ kind, line }) => kind === 'comment' || line.depth === 0) && !next?.depth;

function replaceAndAdd(section: Section, values: Values, eol: string): void {
  const left = replace(section, values);
  const { header, entries } = section;
  const first = entries.find((entry) => entry.kind === 'key' && values.has(entry.key))?.line;
  const comment = left.get(OUR_COMMENT);
  if (first && comment !== undefined) {
    first.text = comment + eol + first.text;
    left.delete(OUR_COMMENT);
  }
  const last = entries.findLast(({ kind, line }) => kind === 'key' && line.text !== '')?.line ?? header;
  insertAfter(last, [...left.values()], eol);
}

function clear(section: Section, values: Values): void {
  for (const entry of section.entries) if (isOurs(entry, values)) entry.line.text = remainder(entry, section, values);
}

/**
 * In an indented section a line more may make the next one part of a value. Directly below the header, indented as what
 * follows, ours are keys for everybody and leave the rest what it is.
 */
function putOnTop({ header, entries, next }: Section, values: Values, eol: string): void {
  const follower = entries.find(({ kind, line }) => kind !== 'comment' && line.text !== '')?.line ?? next;
  const indent = follower?.indent ?? '';
  insertAfter(
    header,
    [...values.values()].map((text) => indent + text),
    eol,
  );
}

/**
 * What stays of a line of ours. Nothing, unless lines below it go on with its value for configparser and are headers or
 * keys to others: they stay, and so does a key to which they belong, or they would become part of another value, or a
 * header that is there already.
 */
function remainder(entry: Entry, { entries }: Section, values: Values): string {
  const { kind, key, line, value } = entry;
  const isNeeded = entries.some((one) => one.parent === entry && !isOurs(one, values));
  if (kind !== 'key' || !isNeeded) return '';
  // Empty, it has a subsection; otherwise a value.
  const mark = value === '' ? '' : /^[#;]/.test(value) ? ` ${value.charAt(0)}` : ' -';
  return `${line.indent}former_${key} =${mark}${line.end}`;
}

/** Also what only some SDKs take for a key of ours, and what is the rest of a value of ours for all. */
function isOurs(entry: Entry, values: Values): boolean {
  const { kind, parent, line } = entry;
  if (kind === 'key' || kind === 'comment') return values.has(nameOf(entry));
  // Nothing but a comment behind the parent: a subsection, as `s3 =` has one.
  if (parent === undefined || /^([#;]|$)/.test(parent.value)) return false;
  const isMoreToSome = /^\[|^[^=]+=\s*[^=\s]/.test(line.body); // a header, or a key
  return isMoreToSome ? kind === 'nested' && values.has(entry.key) : values.has(parent.key);
}

function insertAfter(line: Line, texts: readonly string[], eol: string): void {
  if (texts.length === 0) return;
  line.text += (line.end === '' ? eol : '') + texts.map((text) => text + eol).join('');
}

function newSection(lines: readonly Line[], profile: string, values: Values, eol: string): string {
  const last = lines.at(-1);
  const start = last === undefined ? '' : (last.end === '' ? eol : '') + (last.body === '' ? '' : eol);
  const header = Buffer.from(`[${profile}]`).toString('latin1');
  return start + [header, ...values.values()].map((text) => text + eol).join('');
}

function doubtsAbout(own: readonly Section[], profile: string): ProfileText['doubts'] {
  const doubts: (readonly [string, string])[] = [];
  if (own.filter(({ name }) => name === profile).length > 1) {
    const message = `the credentials file has the section [${profile}] twice`;
    doubts.push([message, 'make them one: the AWS CLI and boto3 refuse the whole file']);
  }
  // botocore takes it, where it is there, instead of aws_session_token.
  if (own.some(({ entries }) => entries.some(({ kind, key }) => kind === 'key' && key === 'aws_security_token'))) {
    const message = `the section [${profile}] of the credentials file has an aws_security_token`;
    doubts.push([message, 'remove that line: the AWS CLI and boto3 would use it instead of the session token']);
  }
  return doubts;
}
