import { children, read, type Tlv } from '../der.ts';

/** One attribute of a distinguished name. */
export interface Attribute {
  /** Dotted. */
  readonly type: string;
  /** Undefined when the value is no text. */
  readonly text: string | undefined;
  /** DER of the value. */
  readonly der: Uint8Array;
}

/** Attributes in the order of the certificate; which of them share an RDN does not show in what is made of them here. */
export type Name = readonly Attribute[];

const VERSION = 0xa0;

/** Issuer and subject of a certificate that OpenSSL could read (RFC 5280 §4.1.2). */
export function namesOf(certificate: Uint8Array): { readonly issuer: Name; readonly subject: Name } {
  const toBeSigned = read(read(certificate)?.value ?? new Uint8Array());
  const fields = [...children(toBeSigned?.value ?? new Uint8Array())];
  const first = fields[0]?.tag === VERSION ? 1 : 0;
  return { issuer: attributesIn(fields[first + 2]), subject: attributesIn(fields[first + 4]) };
}

function attributesIn(name: Tlv | undefined): Name {
  const inside = (value: Tlv | undefined): Tlv[] => [...children(value?.value ?? new Uint8Array())];
  return inside(name)
    .flatMap(inside)
    .map((attribute) => {
      const [type, value] = inside(attribute);
      const der = attribute.value.subarray(type?.end ?? 0);
      return { type: dotted(type?.value ?? new Uint8Array()), text: value && textIn(value), der };
    });
}

/** X.690 §8.19. */
function dotted(octets: Uint8Array): string {
  const parts: bigint[] = [];
  let part = 0n;
  for (const octet of octets) {
    part = (part << 7n) | BigInt(octet & 0x7f);
    if (octet & 0x80) continue;
    parts.push(part);
    part = 0n;
  }
  const [head = 0n, ...rest] = parts;
  const root = head < 80n ? head / 40n : 2n;
  return [root, head - root * 40n, ...rest].join('.');
}

/** The string types of X.680; the others are no text. */
export function textIn({ tag, value }: Tlv): string | undefined {
  const bytes = Buffer.from(value);
  switch (tag) {
    case 0x0c: // UTF8String
    case 0x12: // NumericString
    case 0x13: // PrintableString
    case 0x16: // IA5String
      return bytes.toString('utf8');
    case 0x14: // TeletexString: what issuers write into it is Latin-1
      return bytes.toString('latin1');
    case 0x1e: // BMPString
      return bytes.length % 2 === 0 ? bytes.swap16().toString('utf16le') : undefined;
    default:
      return undefined;
  }
}

/** The attributes that Go's `pkix.Name` has fields for, as they follow each other in its text. */
const ORDER = [
  ['2.5.4.5', 'SERIALNUMBER'],
  ['2.5.4.3', 'CN'],
  ['2.5.4.11', 'OU'],
  ['2.5.4.10', 'O'],
  ['2.5.4.17', 'POSTALCODE'],
  ['2.5.4.9', 'STREET'],
  ['2.5.4.7', 'L'],
  ['2.5.4.8', 'ST'],
  ['2.5.4.6', 'C'],
] as const;

/** Of these only the last value survives. */
const SINGLE: readonly string[] = ['2.5.4.5', '2.5.4.3'];

/** A name as Go's `pkix.Name` prints it: the reference client lists and compares names in this form. */
export function goName(name: Name): string {
  const known = ORDER.flatMap(([type, label]) => {
    const values = name.flatMap((one) => (one.type === type && one.text !== undefined ? [one.text] : []));
    const kept = SINGLE.includes(type) ? values.slice(-1).filter((text) => text !== '') : values;
    return kept.length === 0 ? [] : [kept.map((text) => `${label}=${escaped(text)}`).join('+')];
  });
  const others = name.filter(({ type }) => !ORDER.some(([one]) => one === type));
  return [...known, ...others.reverse().map(({ type, text, der }) => `${type}=#${hexOf(text, der)}`)].join(',');
}

/** Go escapes a space or `#` where it leads, and a space where it trails. */
const escaped = (text: string): string => text.replace(/[,+"\\<>;]|^[ #]| $/g, '\\$&');

/** Go has decoded the value and writes it again: as PrintableString where that will do, else as UTF8String. */
function hexOf(text: string | undefined, der: Uint8Array): string {
  if (text === undefined) return Buffer.from(der).toString('hex');
  const bytes = Buffer.from(text);
  const length =
    bytes.length < 0x80 ? [bytes.length] : [0x80 | lengthOctets(bytes.length).length, ...lengthOctets(bytes.length)];
  const tag = /^[A-Za-z0-9 '()+,\-./:=?]*$/.test(text) ? 0x13 : 0x0c;
  return Buffer.from([tag, ...length, ...bytes]).toString('hex');
}

const lengthOctets = (length: number): number[] => (length < 0x100 ? [length] : [length >> 8, length & 0xff]);
