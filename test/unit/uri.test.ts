import { format, inspect } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { checkAttributes, formatKeyUri, type KeyUri, parseKeyUri, textOf } from '../../src/uri.ts';
import { everythingOf, thrownBy } from '../helpers/thrown.ts';

const PIN = 'S3cr3t';

/** The attributes as text, as one object per part. */
const read = (text: string): { path: Record<string, string>; query: Record<string, string> } => {
  const { path, query } = parseKeyUri(text);
  const texts = (part: ReadonlyMap<string, Uint8Array>): Record<string, string> =>
    Object.fromEntries([...part.keys()].map((name) => [name, textOf(part, name) as string]));
  return { path: texts(path), query: texts(query) };
};

const refusal = (text: string): string => {
  const error = thrownBy(() => parseKeyUri(text));
  expect(error).toMatchObject({ code: 'ERR_URI_INVALID', hint: expect.any(String) });
  expect(everythingOf(error)).not.toContain(PIN);
  return error.message;
};

describe('the examples of RFC 7512 §3', () => {
  const soft = { token: 'The Software PKCS#11 Softtoken', manufacturer: 'Snake Oil, Inc.', model: '1.0', serial: '' };
  test.each([
    ['pkcs11:', {}, {}],
    ['pkcs11:object=my-pubkey;type=public', { object: 'my-pubkey', type: 'public' }, {}],
    [
      'pkcs11:object=my-key;type=private?pin-source=file:/etc/token',
      { object: 'my-key', type: 'private' },
      { 'pin-source': 'file:/etc/token' },
    ],
    [
      'pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;manufacturer=Snake%20Oil,%20Inc.;model=1.0;' +
        'object=my-certificate;type=cert;serial=?pin-source=file:/etc/token_pin',
      { ...soft, object: 'my-certificate', type: 'cert' },
      { 'pin-source': 'file:/etc/token_pin' },
    ],
    [
      'pkcs11:object=my-sign-key;type=private?module-name=mypkcs11',
      { object: 'my-sign-key', type: 'private' },
      { 'module-name': 'mypkcs11' },
    ],
    [
      'pkcs11:object=my-sign-key;type=private?module-path=/mnt/libmypkcs11.so.1',
      { object: 'my-sign-key', type: 'private' },
      { 'module-path': '/mnt/libmypkcs11.so.1' },
    ],
    [
      'pkcs11:token=Software%20PKCS%2311%20softtoken;manufacturer=Snake%20Oil,%20Inc.?pin-value=the-pin',
      { token: 'Software PKCS#11 softtoken', manufacturer: 'Snake Oil, Inc.' },
      { 'pin-value': 'the-pin' },
    ],
    ['pkcs11:slot-description=Sun%20Metaslot', { 'slot-description': 'Sun Metaslot' }, {}],
    [
      'pkcs11:library-manufacturer=Snake%20Oil,%20Inc.;library-description=Soft%20Token%20Library;library-version=1.23',
      {
        'library-manufacturer': 'Snake Oil, Inc.',
        'library-description': 'Soft Token Library',
        'library-version': '1.23',
      },
      {},
    ],
    [
      'pkcs11:token=A%20name%20with%20a%20substring%20%25%3B;object=my-certificate;type=cert',
      { token: 'A name with a substring %;', object: 'my-certificate', type: 'cert' },
      {},
    ],
    [
      'pkcs11:token=Name%20with%20a%20small%20A%20with%20acute:%20%C3%A1;object=my-certificate;type=cert',
      { token: 'Name with a small A with acute: á', object: 'my-certificate', type: 'cert' },
      {},
    ],
    [
      'pkcs11:token=my-token;object=my-certificate;type=cert;vendor-aaa=value-a' +
        '?pin-source=file:/etc/token_pin&vendor-bbb=value-b',
      { token: 'my-token', object: 'my-certificate', type: 'cert', 'vendor-aaa': 'value-a' },
      { 'pin-source': 'file:/etc/token_pin', 'vendor-bbb': 'value-b' },
    ],
  ])('%s', (text, path, query) => {
    expect(read(text)).toEqual({ path, query });
    expect(parseKeyUri(text)).toMatchObject({ scheme: 'pkcs11', location: '' });
  });

  test.each([
    ['id=%69%95%3E%5C%F4%BD%EC%91', '69953e5cf4bdec91'],
    [
      'token=My%20token%25%20created%20by%20Joe;library-version=3;id=%01%02%03%Ba%dd%Ca%fe%04%05%06',
      '010203baddcafe040506',
    ],
  ])('binary: pkcs11:%s', (attributes, hex) => {
    expect(Buffer.from(parseKeyUri(`pkcs11:${attributes}`).path.get('id') as Uint8Array).toString('hex')).toBe(hex);
  });
});

describe('attributes', () => {
  test('what may stand unencoded in the path: everything of RFC 7512 but what separates', () => {
    expect(read("pkcs11:object=:[]@!$'()*+,=&-._~").path).toEqual({ object: ":[]@!$'()*+,=&-._~" });
  });
  test('what may stand unencoded in the query: "/", "?" and "|" besides, "&" not', () => {
    const value = "|/usr/lib/pinomatic?:[]@!$'()*+,=-._~";
    expect(read(`pkcs11:?pin-source=${value}&vendor-a=1`).query).toEqual({ 'pin-source': value, 'vendor-a': '1' });
  });
  test('the scheme in any case, the names as they stand', () => {
    expect(parseKeyUri('PKCS11:token=A').scheme).toBe('pkcs11');
    expect(read('pkcs11:Token=A;token=B').path).toEqual({ Token: 'A', token: 'B' });
  });
  test.each([
    ['my:key.pem', 'write ./ before it where it is the path of a file'],
    ['pkcs11:token=a;b', 'separate attributes with ";"'],
    ['pkcs11:token=a?b', 'separate attributes with "&"'],
    ['enc.pem?pin-source=file:/run/pin', 'write file: before it'],
  ])('%s: %s', (text, hint) => {
    expect(thrownBy(() => parseKeyUri(text))).toMatchObject({ code: 'ERR_URI_INVALID', hint });
  });
  test('an absent attribute is not an empty one', () => {
    const { path } = parseKeyUri('pkcs11:serial=');
    expect([textOf(path, 'serial'), textOf(path, 'token')]).toEqual(['', undefined]);
  });

  test.each([
    ['', /empty/],
    ['pkcs11:token', /not name=value/],
    ['pkcs11:=a', /not name=value/],
    ['pkcs11:token=a;', /not name=value/],
    ['pkcs11:token=a;;object=b', /not name=value/],
    [`pkcs11:to ken=${PIN}`, /not name=value/],
    ['pkcs11:token=a?module-path=/x&', /not name=value/],
    [`pkcs11:token=a;token=${PIN}`, /"token" stands twice/],
    [`pkcs11:?pin-value=${PIN}&pin-value=${PIN}`, /"pin-value" stands twice/],
    [`pkcs11:?pin-value=${PIN}#`, /"pin-value" has a character/],
    [`pkcs11:token=${PIN}/a`, /"token" has a character/],
    [`pkcs11:token=${PIN} a`, /"token" has a character/],
    [`pkcs11:token=${PIN}\n`, /"token" has a character/],
    [`pkcs11:token=${PIN}ä`, /"token" has a character/],
    [`pkcs11:token=${PIN}|`, /"token" has a character/],
    [`pkcs11:token=${PIN}%`, /"%"/],
    [`pkcs11:token=${PIN}%2`, /"%"/],
    [`pkcs11:token=${PIN}%2g`, /"%"/],
    [`pkcs11:?pin-value=%zz${PIN}`, /"%"/],
    [`pkcs11:token=${PIN}\0`, /NUL/],
  ])('refuses %j', (text, message) => {
    expect(refusal(text)).toMatch(message);
  });

  test('refuses what the store does not know, and says where it belongs', () => {
    const known = { path: ['token'], query: ['pin-source'] };
    const check = (text: string): unknown => thrownBy(() => checkAttributes(parseKeyUri(text), known));
    expect(() => checkAttributes(parseKeyUri('pkcs11:token=a?pin-source=/b'), known)).not.toThrow();
    expect(check(`pkcs11:?pin-sorce=${PIN}`)).toMatchObject({
      code: 'ERR_URI_INVALID',
      message: expect.stringMatching(/"pin-sorce" after/),
      hint: 'known there: pin-source',
    });
    expect(check(`pkcs11:pin-source=${PIN}`)).toMatchObject({ hint: '"pin-source" belongs after the "?"' });
    expect(check(`pkcs11:?token=${PIN}`)).toMatchObject({ hint: '"token" belongs before the "?"' });
  });
});

describe('files', () => {
  test.each([
    ['key.pem', 'key.pem'],
    ['./key.pem', './key.pem'],
    ['/etc/aws/key.pem', '/etc/aws/key.pem'],
    ['/odd/100%/a b?c;d=e', '/odd/100%/a b?c;d=e'],
    ['C:\\keys\\key.pem', 'C:\\keys\\key.pem'],
    ['c:/keys/key.pem', 'c:/keys/key.pem'],
    ['./-', './-'],
    ['file:key.pem', 'key.pem'],
    ['file:/etc/aws/key.pem', '/etc/aws/key.pem'],
    ['FILE:///etc/aws/key.pem', '/etc/aws/key.pem'],
    ['file://localhost/etc/aws/key.pem', '/etc/aws/key.pem'],
    ['file:/a%20b/%C3%A4%25.pem', '/a b/ä%.pem'],
    ['file:/a b/ä.pem', '/a b/ä.pem'],
    ['file:C:\\keys\\key.pem', 'C:\\keys\\key.pem'],
    ['file:///C:/keys/key.pem', 'C:/keys/key.pem'], // RFC 8089 appendix E.2
    ['file:/c:/keys/key.pem', 'c:/keys/key.pem'],
  ])('%s', (text, location) => {
    const uri = parseKeyUri(text);
    expect([uri.scheme, uri.location, uri.path.size]).toEqual(['file', location, 0]);
  });

  test('have a query', () => {
    const uri = parseKeyUri('file:/etc/key.pem?pin-source=file:/run/pass');
    expect([uri.location, textOf(uri.query, 'pin-source')]).toEqual(['/etc/key.pem', 'file:/run/pass']);
  });

  test.each([
    ['file:', /names no file/],
    [`file:?pin-value=${PIN}`, /names no file/],
    ['file:/a%', /"%"/],
    ['file:/a%2', /"%"/],
    ['file:/a%ff', /UTF-8/],
    ['file:/a%00b', /NUL/],
    ['/a\0b', /NUL/],
    // Without a scheme that names a store, all this would be a file name, and printed as one.
    [`token=prod?pin-value=${PIN}`, /pin-value/],
    [` pkcs11:token=prod?pin-value=${PIN}`, /pin-value/],
    [`p:token=prod;pin-value=${PIN}`, /pin-value/],
    [`file:/etc/key.pem;pin-value=${PIN}`, /pin-value/],
    [`file:/etc/key.pem%3fpin-value=${PIN}`, /pin-value/],
  ])('refuses %j', (text, message) => {
    expect(refusal(text)).toMatch(message);
  });

  test('a printed file URI names the same file', () => {
    const one = fc.array(
      fc.constantFrom('/', '\\', '%', '?', ' ', ':', '.', '#', ';', '=', '\n', '\x1b', 'ä', '\u{1F511}', 'a2'),
      {
        minLength: 1,
      },
    );
    fc.assert(
      fc.property(one, (parts) => {
        const uri = parseKeyUri(`./${parts.join('')}`);
        expect(parseKeyUri(String(uri)).location).toBe(uri.location);
        // Nothing in it moves a terminal's cursor.
        expect(String(uri)).not.toMatch(/\p{Cc}/u);
      }),
    );
  });
});

describe('printing', () => {
  const ways: [string, (uri: KeyUri) => string][] = [
    ['String', String],
    ['toString', (uri) => uri.toString()],
    ['JSON', (uri) => JSON.stringify({ uri })],
    ['inspect', (uri) => inspect(uri)],
    ['inspect, nested', (uri) => inspect({ deep: [uri] }, { depth: 9, showHidden: true, getters: true })],
    ['format %s', (uri) => format('%s', uri)],
    ['format %j', (uri) => format('%j', uri)],
    ['format %o', (uri) => format('%o', uri)],
    ['format %O', (uri) => format('%O', uri)],
    ['a copy', (uri) => `${String({ ...uri } as KeyUri)}${inspect({ ...uri })}`],
  ];
  const hexed = [...Buffer.from(PIN)].map((byte) => byte.toString(16)).join(' ');

  test.each(ways)('%s shows the key and hides the secret', (_, print) => {
    const text = `pkcs11:token=prod?pin-value=${PIN}&module-path=/x.so`;
    expect(print(parseKeyUri(text))).toContain('pkcs11:token=prod?pin-value=***&module-path=/x.so');
    for (const secret of [PIN, hexed]) expect(print(parseKeyUri(text))).not.toContain(secret);
  });

  test.each(['pin-value', 'auth-value', 'PIN-VALUE', 'pin', 'pin_value', 'pin-vlaue', 'passphrase', 'so-pin'])(
    '%s is a secret, in both parts',
    (name) => {
      expect(String(parseKeyUri(`tpm:${name}=${PIN};a=b?c=d`))).toBe(`tpm:${name}=***;a=b?c=d`);
      expect(String(parseKeyUri(`file:/key?${name}=${PIN}`))).toBe(`file:/key?${name}=***`);
    },
  );

  test('a source of a secret is none', () => {
    expect(String(parseKeyUri('pkcs11:?pin-source=file:/run/pin'))).toBe('pkcs11:?pin-source=file:/run/pin');
  });
});

describe('formatKeyUri', () => {
  const name = fc.stringMatching(/^[a-z][a-z0-9_-]{0,9}$/);
  const part = fc
    .uniqueArray(fc.tuple(name, fc.uint8Array({ maxLength: 20 })), { selector: ([key]) => key, maxLength: 5 })
    .map((pairs) => pairs as [string, Uint8Array][]);

  test('and back: any bytes in any value', () => {
    fc.assert(
      fc.property(part, part, (path, query) => {
        const uri = parseKeyUri(formatKeyUri({ scheme: 'pkcs11', path, query }));
        const hex = (pairs: Iterable<readonly [string, Uint8Array]>): string[] =>
          [...pairs].map(([key, value]) => `${key}=${Buffer.from(value).toString('hex')}`);
        expect([hex(uri.path), hex(uri.query)]).toEqual([hex(path), hex(query)]);
      }),
      { numRuns: 500 },
    );
  });

  test('writes an id byte for byte (RFC 7512 §2.3), text as readable as it may be, secrets as they are', () => {
    const path: [string, Uint8Array | string][] = [
      ['token', 'Büro 1;#/&'],
      ['id', 'A1'],
    ];
    const query: [string, string][] = [
      ['module-path', '/usr/lib/a b.so'],
      ['pin-value', '12&34'],
    ];
    expect(formatKeyUri({ scheme: 'pkcs11', path, query })).toBe(
      'pkcs11:token=B%C3%BCro%201%3B%23%2F%26;id=%41%31?module-path=/usr/lib/a%20b.so&pin-value=12%2634',
    );
    expect(formatKeyUri({ scheme: 'pkcs11', path: [] })).toBe('pkcs11:');
  });
});
