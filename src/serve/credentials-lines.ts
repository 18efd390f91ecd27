/** The shared credentials file as its readers see it. */

/** A line of it; its text may be replaced. */
export interface Line {
  /** As latin1, which keeps every octet, and with its end. */
  text: string;
  /** As deep as the body stands, for lines of ours: in spaces and tabs, which are blanks to all readers. */
  readonly indent: string;
  /** How many characters they are: what a configparser compares. */
  readonly depth: number;
  /** Without blanks around it. */
  readonly body: string;
  /** Empty for a last line without one. */
  readonly end: string;
}

export interface Section {
  /** As configparser has it: up to the last bracket, blanks and all. */
  readonly name: string;
  /** As others have it: without blanks around, and up to the first bracket. */
  readonly plainName: string;
  readonly header: Line;
  /** What follows, but for blank lines. */
  readonly entries: Entry[];
  /** The next header. */
  next?: Line;
}

export interface Entry {
  readonly line: Line;
  /** `nested`: indented deeper than the key above. `foreign`: nested as well, and in another section for some. */
  readonly kind: 'comment' | 'key' | 'nested' | 'foreign';
  /** In lower case, as configparser takes it; empty where there is none. */
  readonly key: string;
  readonly value: string;
  /** The key to which a nested line belongs. */
  readonly parent: Entry | undefined;
}

/** The line ends are those of Python: LF, CR LF and CR. */
export function linesOf(file: Uint8Array): Line[] {
  const text = Buffer.from(file.buffer, file.byteOffset, file.byteLength).toString('latin1');
  return (text.match(/[^\r\n]*(?:\r\n|[\r\n])|[^\r\n]+$/g) ?? []).map(lineOf);
}

function lineOf(text: string): Line {
  const decoded = /[\x80-\xff]/.test(text) ? Buffer.from(text, 'latin1').toString('utf8') : text;
  // A byte order mark: some readers pass over it, for Python it is a character like any other.
  const start = decoded.startsWith('\ufeff') ? 1 : 0;
  const body = strip(decoded.slice(start));
  const blanks = body === '' ? '' : decoded.slice(start, decoded.indexOf(body, start));
  return {
    text,
    indent: blanks.replace(/[^\t ]/g, ' '),
    depth: start === 0 ? blanks.length : 0,
    body,
    end: /(?:\r\n|[\r\n])?$/.exec(text)?.[0] ?? '',
  };
}

/** What Python strips and JavaScript does not. */
const MORE_BLANKS = String.fromCharCode(0x1c, 0x1d, 0x1e, 0x1f, 0x85);

const isBlank = (character: string): boolean =>
  (/\s/.test(character) && character !== '\ufeff') || MORE_BLANKS.includes(character);

/** As Python does it. */
function strip(text: string): string {
  let [start, end] = [0, text.length];
  while (start < end && isBlank(text.charAt(start))) start += 1;
  while (end > start && isBlank(text.charAt(end - 1))) end -= 1;
  return text.slice(start, end);
}

const plain = (name: string): string => (name.split(']')[0] as string).trim();

/**
 * Understood as Python's configparser does it, on which the AWS CLI and boto3 stand. A line that is indented deeper than
 * the key above belongs to that key's value. Some SDKs take such a header for one, so what follows it is foreign.
 */
export function sectionsOf(lines: readonly Line[]): Section[] {
  const sections: Section[] = [];
  let section: Section | undefined;
  let parent: Entry | undefined;
  let level = 0;
  let isElsewhere = false;
  for (const line of lines) {
    const { body, depth } = line;
    if (body === '') continue;
    if (/^[#;]/.test(body)) {
      section?.entries.push({ line, kind: 'comment', key: '', value: '', parent: undefined });
      continue;
    }
    const isNested = parent !== undefined && depth > level;
    const name = /^\[(.+)\]/s.exec(body)?.[1];
    if (!isNested) level = depth;
    if (name !== undefined && !isNested) {
      if (section) section.next = line;
      section = { name, plainName: plain(name), header: line, entries: [] };
      sections.push(section);
      parent = undefined;
      isElsewhere = false;
      continue;
    }
    if (name !== undefined) isElsewhere = plain(name) !== section?.plainName;
    const sign = body.search(/[=:]/);
    const key = strip(body.slice(0, Math.max(sign, 0))).toLowerCase();
    const value = sign < 0 ? '' : strip(body.slice(sign + 1));
    const kind = !isNested ? 'key' : isElsewhere ? 'foreign' : 'nested';
    const entry: Entry = { line, kind, key, value, parent: isNested ? parent : undefined };
    if (!isNested) parent = section && entry;
    section?.entries.push(entry);
  }
  return sections;
}
