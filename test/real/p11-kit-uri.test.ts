import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { OBJECT_TYPES, readAddress } from '../../src/stores/pkcs11/address.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { describeUnless } from '../helpers/exercised.ts';
import { buildP11Kit, type Reading } from '../helpers/p11-uri.ts';
import { randomFrom } from '../helpers/random.mjs';

interface Case {
  readonly uri: string;
  readonly ours: Reading;
  /** Why we refuse it. */
  readonly message: string;
  readonly theirs: Reading;
}

interface Difference {
  readonly what: string;
  readonly why: string;
  readonly is: (one: Case) => boolean;
}

const weRefuse =
  (message: RegExp, uri = /^/) =>
  (one: Case): boolean =>
    one.ours === 'refused' && one.theirs !== 'refused' && message.test(one.message) && uri.test(one.uri);

/** Bytes that a field of CK_TOKEN_INFO, CK_SLOT_INFO or CK_INFO has. */
const FIELDS: Readonly<Record<string, number>> = {
  token: 32,
  manufacturer: 32,
  serial: 16,
  model: 16,
  'library-manufacturer': 32,
  'library-description': 32,
  'slot-manufacturer': 32,
  'slot-description': 64,
};

/** Every difference between p11-kit 0.24 and us, and why it is meant. */
const DIFFERENCES: readonly Difference[] = [
  {
    what: 'an attribute that stands twice',
    why: 'RFC 7512 §2.3 and §2.4 forbid it, but for vendor attributes after the "?", which they leave to the reader; p11-kit takes the last (of a vendor attribute the first)',
    is: weRefuse(/stands twice|has a pin-\w+ and a pin-/),
  },
  {
    what: 'an empty attribute',
    why: 'the grammar of §2.3 has none; p11-kit overlooks a separator at an end, and at ";;" forgets what follows',
    is: weRefuse(/not name=value/, /;;|[:?];|;(\?|$)|&(&|$)|\?&/),
  },
  {
    what: 'white space',
    why: 'the grammar has none unencoded; p11-kit drops it everywhere, for URIs that were broken into lines',
    is: weRefuse(/must be percent-encoded|not name=value|no pkcs11: URI|is followed by/, /[ \t\r]/),
  },
  {
    what: 'other characters that the grammar wants percent-encoded',
    why: 'a "/" or "#" there may be a separator that was meant; p11-kit takes them all',
    is: weRefuse(/must be percent-encoded/),
  },
  {
    what: 'a secret inside of another value',
    why: 'behind the wrong separator it would be printed as part of that value',
    is: weRefuse(/holds a pin-value or the like/),
  },
  {
    what: 'another attribute behind a second "?"',
    why: 'RFC 7512 §2.3 takes it for a part of the value; it would be sent to the token as a part of the PIN',
    is: weRefuse(/goes on with a "\?"/),
  },
  {
    what: 'what looks like the content of a key file',
    why: 'a pasted key must not be repeated in messages',
    is: weRefuse(/looks like the content of a file/),
  },
  {
    what: 'names of the drafts before RFC 7512: object-type, objecttype, pinfile',
    why: 'the RFC does not have them',
    is: weRefuse(/has no attribute "(object-?type|pinfile)"/),
  },
  {
    what: 'an unknown attribute after the "?"',
    why: '§2.4 lets it be ignored; a mistyped pin-source must not be. We ignore, with a warning, what begins with "x-" and is not near to one of ours',
    is: weRefuse(/has no attribute ".*" after the "\?"/),
  },
  {
    what: 'a module-path that is not absolute',
    why: '§2.4: it should be rejected, for security reasons',
    is: weRefuse(/module-path is not absolute/),
  },
  {
    what: 'a pin-source that is no place we know',
    why: '§2.4 leaves to the reader what it takes; what is no place may be the secret itself',
    is: weRefuse(/the pin-source is neither|does not begin with an absolute path/),
  },
  {
    what: 'a slot-id without digits, or beyond 64 bits',
    why: 'the grammar wants a digit; p11-kit reads 0, and a number modulo 2^64 or none at all',
    is: weRefuse(/slot-id is not/),
  },
  {
    what: 'a percent-encoded digit or letter where the grammar has only plain ones: slot-id, type, library-version',
    why: 'RFC 3986 §6.2.2.2: percent-encoding a letter or digit makes no difference',
    is: ({ uri, ours, theirs }) =>
      ours !== 'refused' && theirs === 'refused' && /(slot-id|type|library-version)=[^;?]*%/.test(uri),
  },
  {
    what: 'a library-version with 255 in it',
    why: '§2.3: both numbers are bytes',
    is: ({ uri, ours, theirs }) => ours !== 'refused' && theirs === 'refused' && /library-version=[^;?]*255/.test(uri),
  },
  {
    what: 'a value longer than its field in PKCS#11',
    why: 'no token can have it, and both find none: p11-kit because it does not recognise the attribute',
    is: ({ ours, theirs }) =>
      ours !== 'refused' &&
      theirs === 'refused' &&
      Object.entries(FIELDS).some(([name, size]) => (ours.get(name)?.length ?? 0) > 2 * size),
  },
  {
    what: 'a NUL',
    why: 'p11-kit\'s texts (pin-value and what follows the "?") end there, and a field that begins with one counts as not given; here a value is a value, in bytes',
    is: ({ uri, ours, theirs }) =>
      /%00/.test(uri) && ours !== 'refused' && theirs !== 'refused' && isSame(withoutNul(ours), theirs),
  },
];

const CLASSES: Readonly<Record<string, number>> = { data: 0, cert: 1, public: 2, private: 3, 'secret-key': 4 };

const hex = (value: string | Uint8Array): string => Buffer.from(value as string).toString('hex');

/** Ours, in p11-kit's terms: fields without the blanks that pad them, numbers in decimal. */
function read(text: string): Pick<Case, 'ours' | 'message'> {
  try {
    const uri = parseKeyUri(text);
    if (uri.scheme !== 'pkcs11') return { ours: 'refused', message: 'no pkcs11: URI' };
    const { slotId, libraryVersion, type } = readAddress(uri, { allowCommands: true }, OBJECT_TYPES);
    const ours = new Map([...uri.path, ...uri.query].map(([name, value]) => [name, hex(value)]));
    for (const name of Object.keys(FIELDS)) {
      if (ours.has(name)) ours.set(name, (ours.get(name) as string).replace(/^((?:..)*?)(20)+$/, '$1'));
    }
    for (const name of ours.keys()) if (name.startsWith('x-') && name !== 'x-init-reserved') ours.delete(name);
    if (slotId !== undefined) ours.set('slot-id', hex(String(slotId)));
    if (libraryVersion) ours.set('library-version', hex(`${libraryVersion.major}.${libraryVersion.minor}`));
    if (type) ours.set('type', hex(String(CLASSES[type])));
    return { ours, message: '' };
  } catch (error) {
    return { ours: 'refused', message: (error as Error).message };
  }
}

const plain = (reading: Reading): unknown =>
  reading === 'refused' ? reading : Object.fromEntries([...reading].sort(([a], [b]) => (a < b ? -1 : 1)));

const isSame = (one: Reading, other: Reading): boolean => JSON.stringify(plain(one)) === JSON.stringify(plain(other));

/** As p11-kit has it. */
const withoutNul = (reading: ReadonlyMap<string, string>): Reading =>
  new Map(
    [...reading]
      .filter(([name, value]) => !(name in FIELDS && value.startsWith('00')))
      .map(([name, value]) => [name, name in FIELDS || name === 'id' || name === 'object' ? value : cutAtNul(value)]),
  );

const cutAtNul = (value: string): string => /^(?:(?!00)..)*/.exec(value)?.[0] ?? '';

const HAND_WRITTEN: readonly string[] = [
  ...['', 'token=a', 'token=', 'Token=a', 'token=a;token=b', 'token=a;', ';token=a', 'token=a;;object=b', 'token'],
  ...['=a', 'token==', 'token=a=b', 'token=a&b', 'token=a b', ' token=a', 'token =a', 'token=a%20', 'token=%20%20a'],
  ...['token=a%00b', 'token=%00', 'token=%00a', 'token=%e4', 'token=%C3%A4', 'token=ä', 'token=%', 'token=%2'],
  'token=%zz',
  ...['token=a/b', 'token=a#b', 'token=a|b', 'token="a"', 'token=a\\b', "token=:[]@!$'()*+,=&-._~", 'to%6ben=a'],
  ...['token=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 'serial=aaaaaaaaaaaaaaaaa', 'serial=aaaaaaaaaaaaaaaa', 'model='],
  ...['object=', 'id=', 'id=%00%ff', 'object=a%00b', 'id=a;id=b', 'object=-----BEGIN%20X', 'id=%30%31'],
  ...['type=cert', 'type=public', 'type=private', 'type=secret-key', 'type=data', 'type=Cert', 'type=', 'type=key'],
  ...['type=%63ert', 'object-type=cert', 'objecttype=cert', 'type=cert;type=cert'],
  ...['slot-id=0', 'slot-id=', 'slot-id=007', 'slot-id=18446744073709551614', 'slot-id=18446744073709551616'],
  ...['slot-id=%30', 'slot-id=1x', 'slot-id=-1', 'slot-id=+1', 'slot-id=1;slot-id=2', 'slot-id=1.0'],
  ...['library-version=2', 'library-version=2.6', 'library-version=', 'library-version=2.', 'library-version=.6'],
  ...['library-version=256', 'library-version=1.255', 'library-version=255', 'library-version=2.6.1'],
  ...['library-version=02.06', 'library-version=%32', 'library-version=a', 'library-version=1.256'],
  ...['library-manufacturer=SoftHSM', 'library-description=x;library-manufacturer=y', 'slot-manufacturer=z'],
  ...[
    'slot-description=Sun%20Metaslot',
    'x-foo=1',
    'vendor-foo=1',
    'x-foo=1;x-foo=2',
    'module-path=/x',
    'module-name=x',
  ],
  ...['?', '?token=a', '?foo=1', '?x-foo=1', '?x-foo=1&x-foo=2', '?x-init-reserved=a&x-init-reserved=b'],
  ...["?x-init-reserved=configdir%3D'sql:/d'", '?x-init-reserved=', '?x-init-reservd=a', '?vendor-bbb=value-b'],
  ...['?pin-value=1', '?pin-value=', '?pin-value=1&pin-source=/a', '?pin-value=1&pin-value=2', '?pin-value=a%00b'],
  ...['?pin-source=/a', '?pin-source=file:/a', '?pin-source=|/a%20b', '?pin-source=|a', '?pin-source=1234'],
  ...['?pin-source=env:PIN', '?pin-source=fd:3', '?pin-source=credential:pin', '?pin-source=', '?pinfile=/x'],
  ...['?module-path=/a', '?module-path=', '?module-path=a', '?module-path=/a&module-path=/b', '?module-path=/a%00b'],
  ...['?module-name=a', '?module-name=a/b', '?module-name=', '?module-name=a&module-path=/b', '?pin-sorce=/a'],
  ...['token=a?b', 'token=a?', 'token=a?module-path=/a&', 'token=a?&module-path=/a', 'token=a?module-path=/a?x=1'],
  ...['token=a?module-path=/a?pin-value=1', 'token=a;pin-value=1', 'token=a;pin-source=/x', 'token=a;pinfile=/x'],
  ...['token=a;pin-value=1?pin-value=2', 'token=a;pin-value=1?pin-source=/x', 'token=a;pin-value=', '?pin-value=1?a'],
  ...['?pin-value=1?pin-source=/a', '?pin-value=1?module-path=/a'],
].map((rest) => `pkcs11:${rest}`);

const NAMES = [
  ...['token', 'manufacturer', 'serial', 'model', 'library-manufacturer', 'library-description', 'library-version'],
  ...['object', 'type', 'id', 'slot-manufacturer', 'slot-description', 'slot-id', 'x-own', 'Token', 'pin-value'],
];
const QUERY_NAMES = ['pin-value', 'pin-source', 'module-name', 'module-path', 'x-init-reserved', 'x-own', 'own'];
const PIECES = [
  '%',
  '%00',
  '%ff',
  '%C3%A9',
  '%20',
  ';',
  '&',
  '?',
  '=',
  ':',
  '/',
  '|',
  ' ',
  '#',
  'é',
  ';;',
  'x',
  '0',
  '.',
];

/** URIs that are right, nearly right, and wrong. */
function generated(count: number, seed: number): string[] {
  const random = randomFrom(seed);
  const byte = (value: number): string =>
    /[A-Za-z0-9._~-]/.test(String.fromCharCode(value)) && random.below(4) > 0
      ? String.fromCharCode(value)
      : `%${value.toString(16).padStart(2, '0')}`;
  const some = (): string => [...random.bytes(random.below(12))].map(byte).join('');
  const valueFor = (name: string): string => {
    if (name === 'type') return random.of([...Object.keys(CLASSES), some()]);
    if (name === 'slot-id' || name === 'library-version') {
      const number = String(random.below(300));
      return random.of([number, `${number}.${random.below(300)}`, some()]);
    }
    if (name === 'pin-source') return random.of(['/run/pin', 'file:/run/pin', 'env:PIN', 'fd:3', `/${some()}`, some()]);
    return name === 'module-path' && random.below(3) > 0 ? `/${some()}` : some();
  };
  const pairs = (names: readonly string[], most: number): string[] =>
    Array.from({ length: random.below(most + 1) }, () => random.of(names)).map((name) => `${name}=${valueFor(name)}`);
  return Array.from({ length: count }, () => {
    const query = pairs(QUERY_NAMES, 2).join('&');
    const text = `${random.of(['pkcs11', 'pkcs11', 'PKCS11'])}:${pairs(NAMES, 3).join(';')}${query && `?${query}`}`;
    if (random.below(3) > 0) return text;
    const at = random.below(text.length + 1);
    return text.slice(0, at) + random.of(PIECES) + text.slice(at + random.below(3));
  });
}

const describeP11Kit = await describeUnless('p11-kit-uri');

describeP11Kit("p11-kit's own parser", () => {
  let folder: string;
  let cases: Case[];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'holdfast-p11-uri-'));
    const uris = [...HAND_WRITTEN, ...generated(6000, 7512)];
    const theirs = buildP11Kit(folder)(uris);
    cases = uris.map((uri, at) => ({ uri, ...read(uri), theirs: theirs[at] as Reading }));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  const differing = (): Case[] => cases.filter(({ ours, theirs }) => !isSame(ours, theirs));
  /** Each difference counts where it comes first in the table. */
  const listedAs = (one: Case): Difference | undefined => DIFFERENCES.find(({ is }) => is(one));

  test('makes the same of every URI, but for the differences in the table', () => {
    const strange = differing().filter((one) => listedAs(one) === undefined);
    expect(strange.map(({ uri, ours, message, theirs }) => [uri, message || plain(ours), plain(theirs)])).toEqual([]);
  });

  test.each(DIFFERENCES)('still differs: $what', (difference) => {
    expect(differing().some((one) => listedAs(one) === difference)).toBe(true);
  });

  test('and most of them are read alike, by both, to the last byte', () => {
    const alike =
      cases.filter(({ ours, theirs }) => ours !== 'refused' && theirs !== 'refused').length - differing().length;
    expect(alike).toBeGreaterThan(1000);
    expect(cases.filter(({ ours, theirs }) => ours === 'refused' && theirs === 'refused').length).toBeGreaterThan(300);
  });
});
