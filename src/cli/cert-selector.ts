import type { Certificate } from '../certificate.ts';
import { HoldfastError } from '../errors.ts';
import { readBounded } from '../read-file.ts';
import type { Context } from './context.ts';
import { namesOf } from './go-name.ts';
import { namesTheSame } from './typed-name.ts';

const KEYS = ['x509Subject', 'x509Issuer', 'x509Serial'] as const;
type Key = (typeof KEYS)[number];

/** Which certificates are meant: all that is said of one holds. */
export type Selector = (certificate: Certificate) => boolean;

/** Bytes of a selector in a file. */
const LIMIT = 65_536;

/**
 * `--cert-selector`: `Key=x509Subject,Value=CN=web Key=x509Serial,Value=1F`, or `file://PATH` of a JSON array of
 * `{"Key": ..., "Value": ...}`.
 *
 * @returns undefined when there is none
 * @throws {HoldfastError} `ERR_OPTION_INVALID`, `ERR_FILE_*`; never with a value
 */
export async function readSelector(context: From): Promise<Selector | undefined> {
  const criteria = await readCriteria(context);
  return criteria && selectorOf(criteria, placeIn(context));
}

/**
 * What a certificate is selected by, as a text that is the same when the selection is.
 *
 * @throws {HoldfastError} as {@link readSelector}
 */
export async function selectorText(context: From): Promise<string> {
  const criteria = (await readCriteria(context)) ?? [];
  return JSON.stringify([...criteria, context.flags.on('use-latest-expiring-certificate')]);
}

type From = Pick<Context, 'flags' | 'signal'>;

const placeIn = ({ flags }: From): string => flags.origins.get('cert-selector') ?? '--cert-selector';

async function readCriteria(context: From): Promise<[string, string][] | undefined> {
  const text = context.flags.text('cert-selector');
  if (text === undefined) return undefined;
  const place = placeIn(context);
  return text.startsWith('file://') ? readJson(text.slice(7), place, context.signal) : readText(text, place);
}

/** A value runs to the next `Key=` or to the end. */
const ITEM = /\s*Key=(.+?),Value=(.+?)\s*(?=Key=|$)/y;

function readText(text: string, place: string): [string, string][] {
  const found: [string, string][] = [];
  ITEM.lastIndex = 0;
  while (ITEM.lastIndex < text.length) {
    const [, key, value] = ITEM.exec(text) ?? [];
    if (key === undefined || value === undefined) throw unreadable(place);
    found.push([key, value]);
  }
  return found;
}

async function readJson(path: string, place: string, signal: AbortSignal): Promise<[string, string][]> {
  const { data } = await readBounded(path, { limit: LIMIT, what: 'certificate selector', signal });
  let items: unknown;
  try {
    items = JSON.parse(data.toString('utf8'));
  } catch {
    throw unreadable(place); // the parser's message repeats what it read
  }
  if (!Array.isArray(items)) throw unreadable(place);
  return items.map((item: unknown) => {
    const { Key: key, Value: value, ...rest } = (item ?? {}) as Record<string, unknown>;
    if (typeof key !== 'string' || typeof value !== 'string' || Object.keys(rest).length > 0) throw unreadable(place);
    return [key, value];
  });
}

function selectorOf(criteria: readonly [string, string][], place: string): Selector {
  if (criteria.length === 0) throw invalid(`${place} names nothing to look for`, `give ${KEYS.join(', ')} or several`);
  const tests = new Map<Key, Selector>();
  for (const [written, value] of criteria) {
    const key = KEYS.find((one) => one === written);
    if (key === undefined) throw invalid(`${place} contained invalid key`, `the keys are ${KEYS.join(', ')}`);
    if (tests.has(key)) throw invalid(`duplicate ${key} keys can't be present in ${place}`, 'give each key once');
    tests.set(key, testFor(key, value, place));
  }
  return (certificate) => [...tests.values()].every((fits) => fits(certificate));
}

function testFor(key: Key, value: string, place: string): Selector {
  if (key === 'x509Subject') return ({ der }) => namesTheSame(value, namesOf(der).subject);
  if (key === 'x509Issuer') return ({ der }) => namesTheSame(value, namesOf(der).issuer);
  const [, sign, digits] = /^(-?)([0-9a-f]+)$/i.exec(value) ?? [];
  if (digits === undefined) {
    throw invalid(`the x509Serial of ${place} is no hexadecimal number`, 'write hex digits without 0x and colons');
  }
  const serial = BigInt(`0x${digits}`) * (sign === '-' ? -1n : 1n);
  return ({ serialNumber }) => BigInt(serialNumber) === serial;
}

const unreadable = (place: string): HoldfastError =>
  invalid(
    `unable to parse ${place}`,
    'write "Key=x509Subject,Value=CN=web Key=x509Serial,Value=1F", or file://PATH of [{"Key":"x509Subject","Value":"CN=web"}]',
  );

const invalid = (message: string, hint: string): HoldfastError =>
  new HoldfastError('ERR_OPTION_INVALID', message, { hint });
