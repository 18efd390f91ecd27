/** The shared credentials file as its readers see it. */

/** A line of it; its text may be replaced. */
export interface Line {
  /** As latin1, which keeps every octet, and with its end. */
  text: string;
  /** The blanks before the body. */
  readonly indent: string;
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
  const body = decoded.trim();
  const indent = decoded.slice(0, decoded.length - decoded.trimStart().length);
  return { text, indent: body === '' ? '' : indent, body, end: /(?:\r\n|[\r\n])?$/.exec(text)?.[0] ?? '' };
}

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
    const { body, indent } = line;
    if (body === '') continue;
    if (/^[#;]/.test(body)) {
      section?.entries.push({ line, kind: 'comment', key: '', value: '', parent });
      continue;
    }
    const isNested = parent !== undefined && indent.length > level;
    const name = /^\[(.+)\]/.exec(body)?.[1];
    if (!isNested) level = indent.length;
    if (name !== undefined && !isNested) {
      if (section) section.next = line;
      section = { name, plainName: (name.split(']')[0] as string).trim(), header: line, entries: [] };
      sections.push(section);
      parent = undefined;
      isElsewhere = false;
      continue;
    }
    isElsewhere ||= name !== undefined;
    const [, key = '', value = ''] = /^(.*?)\s*[=:]\s*(.*)$/s.exec(body) ?? [];
    const kind = !isNested ? 'key' : isElsewhere ? 'foreign' : 'nested';
    const entry: Entry = { line, kind, key: key.toLowerCase(), value, parent };
    if (!isNested) parent = section && entry;
    section?.entries.push(entry);
  }
  return sections;
}
