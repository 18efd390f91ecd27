import { read } from '../der.ts';
import { goName, type Name, textIn } from './go-name.ts';

/** Names of attribute types that people write (RFC 4514 §3, OpenSSL, Windows), in lower case. */
const TYPES: Readonly<Record<string, string>> = {
  cn: '2.5.4.3',
  sn: '2.5.4.4',
  serialnumber: '2.5.4.5',
  c: '2.5.4.6',
  l: '2.5.4.7',
  st: '2.5.4.8',
  s: '2.5.4.8',
  street: '2.5.4.9',
  o: '2.5.4.10',
  ou: '2.5.4.11',
  title: '2.5.4.12',
  postalcode: '2.5.4.17',
  gn: '2.5.4.42',
  uid: '0.9.2342.19200300.100.1.1',
  dc: '0.9.2342.19200300.100.1.25',
  emailaddress: '1.2.840.113549.1.9.1',
  e: '1.2.840.113549.1.9.1',
};

/**
 * Does a name that somebody typed mean this one? In the reference client's form it must be the same text; in any other
 * (RFC 4514, those of OpenSSL) it must have the same attributes, in whatever order.
 */
export function namesTheSame(typed: string, name: Name): boolean {
  if (typed === goName(name)) return true;
  const attributes = typed.startsWith('/') ? parseSlashed(typed) : parseName(typed);
  const written = name.map(({ type, text, der }) => `${type}=${text ?? `#${Buffer.from(der).toString('hex')}`}`).sort();
  return attributes?.length === written.length && attributes.sort().every((one, at) => one === written[at]);
}

const TYPE = '[A-Za-z][A-Za-z0-9-]*|\\d+(?:\\.\\d+)+';

/**
 * A value: characters, of which the special ones are escaped, or all in quotes, as OpenSSL has it. White space around it
 * does not count, unless escaped.
 */
const PART = new RegExp(
  `\\s*(${TYPE})\\s*=\\s*(?:"((?:\\\\[^]|[^\\\\"])*)"\\s*|((?!")(?:\\\\[^]|[^\\\\,+;])*))([,+;]|$)`,
  'y',
);

/** `type=value` for each attribute; undefined for what is no name. */
function parseName(typed: string): string[] | undefined {
  const found: string[] = [];
  PART.lastIndex = 0;
  for (let more = true; more; ) {
    const [, type = '', quoted, value = '', separator = ''] = PART.exec(typed) ?? [];
    const dotted = dottedOf(type);
    if (dotted === undefined) return undefined;
    found.push(`${dotted}=${quoted === undefined ? textOfValue(value) : unescaped(quoted)}`);
    more = separator !== '';
  }
  return found;
}

const dottedOf = (type: string): string | undefined =>
  TYPES[type.toLowerCase()] ?? (type.includes('.') ? type : undefined);

const SLASH = new RegExp(`(?<!\\\\)[/+](?=(?:${TYPE})=)`);

/** `/C=DE/CN=web`, OpenSSL's old form: a slash that does not begin an attribute is part of a value. */
function parseSlashed(typed: string): string[] | undefined {
  const [head, ...parts] = typed.split(SLASH);
  const found = parts.map((part) => {
    const equals = part.indexOf('=');
    const dotted = dottedOf(part.slice(0, equals));
    const value = part
      .slice(equals + 1)
      .replace(/\\([/+])/g, '$1')
      .replace(/(?:\\x[0-9A-F]{2})+/g, (octets) => Buffer.from(octets.replaceAll('\\x', ''), 'hex').toString('utf8'));
    return dotted && `${dotted}=${value}`;
  });
  return head === '' && found.every((one) => one !== undefined) ? found : undefined;
}

function textOfValue(written: string): string {
  const text = written.replace(/(\\[\s\S])?\s*$/, '$1');
  const encoded = /^#((?:[0-9a-f]{2})+)$/i.exec(text)?.[1];
  if (encoded !== undefined) {
    const value = read(Buffer.from(encoded, 'hex'));
    return (value && textIn(value)) ?? `#${encoded.toLowerCase()}`;
  }
  return unescaped(text);
}

/** RFC 4514 §2.4: a backslash stands before the character itself, or before two hex digits for an octet of its UTF-8. */
const unescaped = (text: string): string =>
  text.replace(/(?:\\[0-9a-f]{2})+|\\([\s\S])/gi, (whole, character: string | undefined) =>
    character === undefined ? Buffer.from(whole.replaceAll('\\', ''), 'hex').toString('utf8') : character,
  );
