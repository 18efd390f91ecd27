import { inspect } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { HoldfastError } from '../../src/errors.ts';
import { secretAttributesOf } from '../../src/pin-source.ts';
import { type Address, OBJECT_TYPES, readAddress, uriWith } from '../../src/stores/pkcs11/address.ts';
import type { Notice } from '../../src/stores/store.ts';
import { formatKeyUri, parseKeyUri } from '../../src/uri.ts';
import { everythingOf, thrownBy } from '../helpers/thrown.ts';

const PIN = 'S3cr3t';

const read = (text: string): { address: Address; notices: Notice[] } => {
  const notices: Notice[] = [];
  const address = readAddress(parseKeyUri(text), { notify: (notice) => notices.push(notice) }, OBJECT_TYPES);
  return { address, notices };
};

const refusal = (text: string): HoldfastError => {
  const error = thrownBy(() => read(text));
  expect(error).toMatchObject({ code: 'ERR_URI_INVALID', hint: expect.any(String) });
  expect(everythingOf(error)).not.toContain(PIN);
  return error;
};

describe('what a pkcs11: URI says', () => {
  test.each<[text: string, says: Partial<Record<keyof Address, unknown>>]>([
    ['pkcs11:', { token: undefined, serial: undefined, slotId: undefined, id: undefined, object: undefined }],
    ['pkcs11:token=', { token: '' }],
    ['pkcs11:token=a%20b%3B', { token: 'a b;' }],
    ['pkcs11:token=%C3%A4', { token: 'ä' }],
    ['pkcs11:manufacturer=Snake%20Oil,%20Inc.', { manufacturer: 'Snake Oil, Inc.' }],
    ['pkcs11:serial=', { serial: '' }],
    ['pkcs11:serial=DECC0401648', { serial: 'DECC0401648' }],
    ['pkcs11:model=1.0', { model: '1.0' }],
    ['pkcs11:library-manufacturer=x', { libraryManufacturer: 'x' }],
    ['pkcs11:library-description=Soft%20Token%20Library', { libraryDescription: 'Soft Token Library' }],
    ['pkcs11:library-version=3', { libraryVersion: { major: 3, minor: 0 } }],
    ['pkcs11:library-version=1.23', { libraryVersion: { major: 1, minor: 23 } }],
    ['pkcs11:library-version=255.255', { libraryVersion: { major: 255, minor: 255 } }],
    ['pkcs11:library-version=0', { libraryVersion: { major: 0, minor: 0 } }],
    ['pkcs11:slot-manufacturer=', { slotManufacturer: '' }],
    ['pkcs11:slot-description=Sun%20Metaslot', { slotDescription: 'Sun Metaslot' }],
    ['pkcs11:slot-id=0', { slotId: 0n }],
    ['pkcs11:slot-id=007', { slotId: 7n }],
    ['pkcs11:slot-id=18446744073709551615', { slotId: 18446744073709551615n }],
    ['pkcs11:object=', { object: Buffer.alloc(0) }],
    ['pkcs11:object=my-pubkey', { object: Buffer.from('my-pubkey') }],
    ['pkcs11:id=', { id: Buffer.alloc(0) }],
    ['pkcs11:id=%00%FF%80', { id: Buffer.from('00ff80', 'hex') }],
    ['pkcs11:id=A%42', { id: Buffer.from('AB') }],
    ['pkcs11:type=private', { type: 'private' }],
    ['pkcs11:type=cert', { type: 'cert' }],
    ['pkcs11:type=public', { type: 'public' }],
    ['pkcs11:type=secret-key', { type: 'secret-key' }],
    ['pkcs11:type=data', { type: 'data' }],
    ['pkcs11:?module-path=/mnt/libmypkcs11.so.1', { modulePath: '/mnt/libmypkcs11.so.1', moduleName: undefined }],
    ['pkcs11:?module-name=mypkcs11', { modulePath: undefined, moduleName: 'mypkcs11' }],
    ["pkcs11:?x-init-reserved=configdir%3D'sql:/d'", { initReserved: "configdir='sql:/d'" }],
    ['pkcs11:?x-init-reserved=', { initReserved: '' }],
  ])('%s', (text, says) => {
    expect(read(text)).toMatchObject({ address: says, notices: [] });
  });

  test.each<[text: string, message: RegExp, hint: RegExp]>([
    [`pkcs11:tokn=${PIN}`, /no attribute "tokn" before/, /known there: token, serial/],
    ['pkcs11:Token=a', /no attribute "Token"/, /./],
    ['pkcs11:x-own=a', /no attribute "x-own" before/, /./],
    ['pkcs11:module-path=%2Fx', /"module-path" before/, /belongs after/],
    ['pkcs11:?token=a', /"token" after/, /belongs before/],
    [`pkcs11:?pin-sorce=${PIN}`, /"pin-sorce" after/, /pin-source/],
    ['pkcs11:?vendor-bbb=value-b', /"vendor-bbb" after/, /./],
    ['pkcs11:?x-init-reservd=a', /"x-init-reservd" after/, /did you mean "x-init-reserved"/],
    ['pkcs11:?x-pin-source=/a', /"x-pin-source" after/, /did you mean "pin-source"/],
    ['pkcs11:?x-own=1&x-own=2', /"x-own" stands twice/, /./],
    ['pkcs11:type=', /type is none/, /type=private or type=cert or/],
    ['pkcs11:type=Private', /type is none/, /./],
    [`pkcs11:type=${PIN}`, /type is none/, /./],
    ['pkcs11:slot-id=', /slot-id/, /slot-id=0/],
    ['pkcs11:slot-id=-1', /slot-id/, /./],
    ['pkcs11:slot-id=0x1', /slot-id/, /./],
    ['pkcs11:slot-id=18446744073709551616', /slot-id/, /./],
    ['pkcs11:library-version=', /library-version/, /library-version=2/],
    ['pkcs11:library-version=2.', /library-version/, /./],
    ['pkcs11:library-version=.1', /library-version/, /./],
    ['pkcs11:library-version=1.2.3', /library-version/, /./],
    ['pkcs11:library-version=256', /library-version/, /./],
    ['pkcs11:library-version=1.256', /library-version/, /./],
    ['pkcs11:library-version=v2', /library-version/, /./],
    ['pkcs11:?module-path=', /module-path is not absolute/, /./],
    ['pkcs11:?module-path=libx.so', /module-path is not absolute/, /./],
    ['pkcs11:?module-path=./libx.so', /module-path is not absolute/, /./],
    ['pkcs11:?module-path=/a%00b', /module-path/, /./],
    [`pkcs11:?pin-value=${PIN}&pin-source=/a`, /has a pin-value and a pin-source/, /keep one/],
    [`pkcs11:pin-value=${PIN}?pin-source=/a`, /has a pin-value and a pin-source/, /keep one/],
    [`pkcs11:pin-value=${PIN}?pin-value=${PIN}`, /has a pin-value and a pin-value/, /keep one/],
    [`pkcs11:?pin-source=${PIN}`, /neither a file: URI nor/, /pin-source=file:/],
    ['pkcs11:?pin-source=', /neither a file: URI nor/, /./],
    ['pkcs11:?pin-source=|/bin/pin', /commands are not run unasked/, /--allow-pin-command/],
  ])('%s is refused', (text, message, hint) => {
    const error = refusal(text);
    expect(error.message).toMatch(message);
    expect(error.hint).toMatch(hint);
  });

  test('a type that exists but makes no sense for what is to be done', () => {
    const error = thrownBy(() => readAddress(parseKeyUri('pkcs11:type=data'), {}));
    expect(error).toMatchObject({ message: 'type=data makes no sense here', hint: expect.stringMatching(/type=cert/) });
  });

  test('a vendor attribute of somebody else: ignored, with a warning', () => {
    const { address, notices } = read('pkcs11:token=a?x-acme-colour=red&module-path=/x.so');
    expect(address).toMatchObject({ token: 'a', modulePath: '/x.so' });
    expect(notices).toEqual([{ kind: 'warning', message: expect.stringContaining('"x-acme-colour"') }]);
  });
});

describe('the PIN before the "?", as it was written before RFC 7512', () => {
  test.each([`pkcs11:token=a;pin-value=${PIN}`, 'pkcs11:token=a;pin-source=%2Frun%2Fpin'])('%s: a warning', (text) => {
    const { address, notices } = read(text);
    expect(address.pin).toBeInstanceOf(Function);
    expect(notices).toEqual([
      { kind: 'warning', message: expect.stringMatching(/^pin-\w+ stands before/), hint: expect.any(String) },
    ]);
    expect(JSON.stringify([notices, String(address.uri), address.text])).not.toContain(PIN);
  });

  test('is shown by nothing, and goes along where it has to', () => {
    const { address } = read(`pkcs11:token=a;pin-value=${PIN}?module-path=/x.so`);
    expect(uriWith(address, [['token', 'a']])).toBe('pkcs11:token=a?module-path=/x.so');
    const kept = parseKeyUri(uriWith(address, [['token', 'a']], true));
    expect(secretAttributesOf(kept)).toEqual([['pin-value', Buffer.from(PIN)]]);
    expect([...kept.query.keys()]).toEqual(['module-path', 'pin-value']);
  });

  test('is none for other stores', () => {
    expect(secretAttributesOf(parseKeyUri(`tpm:pin-value=${PIN}`))).toEqual([]);
  });
});

describe('printing', () => {
  const bytes = fc.uint8Array({ minLength: 6, maxLength: 20 });
  const name = fc.constantFrom('pin-value', 'so-pin', 'password', 'auth-value', 'pin-source');

  test('never shows the secret, wherever it stands', () => {
    fc.assert(
      fc.property(name, fc.boolean(), bytes, fc.string({ maxLength: 8 }), (attribute, isQuery, random, label) => {
        const secret = Buffer.concat([Buffer.from(attribute === 'pin-source' ? '|' : ''), random]);
        const pair: [string, Uint8Array] = [attribute, secret];
        const parts = { path: [['token', label] as [string, string]], query: [] as [string, Uint8Array][] };
        const text = formatKeyUri({
          scheme: 'pkcs11',
          path: isQuery ? parts.path : [...parts.path, pair],
          query: isQuery ? [pair] : [],
        });
        const uri = parseKeyUri(text);
        const written = formatKeyUri({ scheme: 'x', path: [], query: [pair] }).slice(3 + attribute.length);
        for (const shown of [String(uri), JSON.stringify(uri), inspect(uri)]) {
          expect(shown).toContain(`${attribute}=***`);
          expect(shown.slice(shown.indexOf(attribute))).not.toContain(written);
        }
      }),
      { numRuns: 500 },
    );
  });

  test.each([
    ['/run/pin', '/run/pin'],
    ['file:/run/pin', 'file:/run/pin'],
    ['env:PIN', 'env:PIN'],
    ['fd:3', 'fd:3'],
    ['credential:pin', 'credential:pin'],
    [`|/bin/echo%20${PIN}`, '***'],
    [PIN, '***'],
    ['', '***'],
  ])('a pin-source %s as %s', (source, shown) => {
    expect(String(parseKeyUri(`pkcs11:?pin-source=${source}`))).toBe(`pkcs11:?pin-source=${shown}`);
  });

  test('a URI to use instead has the file of the PIN, and never a command', () => {
    const text = (source: string): string =>
      uriWith({ uri: parseKeyUri(`pkcs11:?pin-source=${source}`) }, [['token', 'a']]);
    expect([text('file:/run/pin'), text(`|/bin/echo%20${PIN}`)]).toEqual([
      'pkcs11:token=a?pin-source=file:/run/pin',
      'pkcs11:token=a',
    ]);
  });
});
