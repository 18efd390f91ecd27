import { writeFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { parseCertificate } from '../../src/certificate.ts';
import { readSelector, selectorText } from '../../src/cli/cert-selector.ts';
import { goName, namesOf } from '../../src/cli/go-name.ts';
import { parseCommandLine } from '../../src/cli/parse.ts';
import { namesTheSame } from '../../src/cli/typed-name.ts';
import { makeIdentity } from '../helpers/certificates.ts';
import { place } from '../helpers/key-files.ts';
import { everythingOf, rejectionOf } from '../helpers/thrown.ts';

const files = place();

const tlv = (tag: number, ...parts: Uint8Array[]): Buffer => {
  const content = Buffer.concat(parts);
  const { length } = content;
  const head =
    length < 0x80 ? [tag, length] : length < 0x100 ? [tag, 0x81, length] : [tag, 0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from(head), content]);
};

const OIDS: Readonly<Record<string, string>> = {
  CN: '550403',
  SERIALNUMBER: '550405',
  C: '550406',
  L: '550407',
  ST: '550408',
  STREET: '550409',
  O: '55040a',
  OU: '55040b',
  POSTALCODE: '550411',
  email: '2a864886f70d010901',
  DC: '0992268993f22c640119',
};

type Written = readonly [type: string, value: string | Buffer, tag?: number];

/** A name with one attribute in each RDN. */
const nameOf = (attributes: readonly Written[]): Buffer =>
  tlv(
    0x30,
    ...attributes.map(([type, value, tag = 0x0c]) =>
      tlv(0x31, tlv(0x30, tlv(0x06, Buffer.from(OIDS[type] ?? type, 'hex')), tlv(tag, Buffer.from(value as string)))),
    ),
  );

/** As much of a certificate as is looked at. */
const certificateOf = (subject: Buffer, version = true): Buffer =>
  tlv(
    0x30,
    tlv(
      0x30,
      ...(version ? [Buffer.from('a003020102', 'hex')] : []),
      Buffer.from('020101', 'hex'),
      tlv(0x30),
      nameOf([['CN', 'issuer']]),
      tlv(0x30),
      subject,
    ),
  );

const printed = (...attributes: Written[]): string => goName(namesOf(certificateOf(nameOf(attributes))).subject);

describe("a name in Go's form", () => {
  test.each<[name: string, attributes: Written[], text: string]>([
    ['none', [], ''],
    [
      'certificate order does not count',
      [
        ['C', 'DE'],
        ['CN', 'a'],
        ['O', 'b'],
      ],
      'CN=a,O=b,C=DE',
    ],
    [
      'all that it knows',
      [
        ...(['C', 'ST', 'L', 'STREET', 'POSTALCODE', 'O', 'OU', 'CN', 'SERIALNUMBER'] as const).map(
          (type) => [type, type.toLowerCase()] as const,
        ),
      ],
      'SERIALNUMBER=serialnumber,CN=cn,OU=ou,O=o,POSTALCODE=postalcode,STREET=street,L=l,ST=st,C=c',
    ],
    [
      'several values of one type',
      [
        ['OU', 'a'],
        ['O', 'x'],
        ['OU', 'b'],
      ],
      'OU=a+OU=b,O=x',
    ],
    [
      'the last CN and the last serial number',
      [
        ['CN', 'a'],
        ['CN', 'b'],
        ['SERIALNUMBER', '1'],
        ['SERIALNUMBER', '2'],
      ],
      'SERIALNUMBER=2,CN=b',
    ],
    [
      'an empty CN',
      [
        ['CN', ''],
        ['O', 'x'],
      ],
      'O=x',
    ],
    ['an empty OU', [['OU', '']], 'OU='],
    ['what is escaped', [['CN', ',+"\\<>;=#']], 'CN=\\,\\+\\"\\\\\\<\\>\\;=#'],
    ['a leading "#"', [['CN', '#a#']], 'CN=\\#a#'],
    ['spaces', [['CN', ' a b ']], 'CN=\\ a b\\ '],
    ['one space', [['CN', ' ']], 'CN=\\ '],
    [
      'other attributes, in reverse',
      [
        ['email', 'a@b', 0x16],
        ['CN', 'x'],
        ['DC', 'example', 0x16],
      ],
      'CN=x,0.9.2342.19200300.100.1.25=#13076578616d706c65,1.2.840.113549.1.9.1=#0c03614062',
    ],
    [
      'another attribute of great length',
      [['DC', 'x'.repeat(200)]],
      `0.9.2342.19200300.100.1.25=#1381c8${'78'.repeat(200)}`,
    ],
    ['an attribute that is no text', [['DC', Buffer.from([0x05]), 0x02]], '0.9.2342.19200300.100.1.25=#020105'],
    ['an identifier of the third arc', [['883703', 'x']], '2.999.3=#130178'],
    ['UTF-8', [['CN', 'Jürgen €']], 'CN=Jürgen €'],
    ['Latin-1', [['CN', Buffer.from('Jürgen', 'latin1'), 0x14]], 'CN=Jürgen'],
    ['UTF-16', [['CN', Buffer.from('Jürgen', 'utf16le').swap16(), 0x1e]], 'CN=Jürgen'],
  ])('%s', (_, attributes, text) => {
    expect(printed(...attributes)).toBe(text);
  });

  test('of a certificate without a version, and its issuer', () => {
    const { issuer, subject } = namesOf(certificateOf(nameOf([['CN', 'v1']]), false));
    expect([goName(issuer), goName(subject)]).toEqual(['CN=issuer', 'CN=v1']);
  });
});

describe('a name that somebody typed', () => {
  const { subject } = namesOf(
    certificateOf(
      nameOf([
        ['C', 'DE'],
        ['O', 'Müller, Söhne'],
        ['OU', 'a'],
        ['OU', 'b'],
        ['CN', 'web '],
        ['DC', 'x', 0x16],
      ]),
    ),
  );

  test.each([
    goName(subject),
    'C=DE,O=Müller\\, Söhne,OU=a,OU=b,CN=web\\ ,DC=x',
    'DC=x, CN=web\\ , OU=b, OU=a, O=Müller\\, Söhne, C=DE',
    'dc=x;cn=web\\20;ou=b;ou=a;o=M\\C3\\BCller\\2C S\\c3\\b6hne;c=DE',
    'DC = x , CN = web\\  , OU=a+OU=b, O=Müller\\, Söhne, 2.5.4.6=DE',
    'DC=#160178,CN=web\\ ,OU=a,OU=b,O=Müller\\, Söhne,C=DE',
    'C = DE, O = "Müller, Söhne", OU = a + OU = b, CN = "web ", DC = x',
    'C = DE, O = "M\\C3\\BCller, S\\C3\\B6hne" , OU = "\\a", OU = b, CN = "web ", DC = x',
    '/C=DE/O=Müller, Söhne/OU=a/OU=b/CN=web /DC=x',
    '/C=DE/O=M\\xC3\\xBCller, S\\xC3\\xB6hne/OU=a+OU=b/CN=web /DC=x',
  ])('%s', (typed) => {
    expect(namesTheSame(typed, subject)).toBe(true);
  });

  test.each([
    '',
    'CN=web\\ ',
    'C=DE,O=Müller\\, Söhne,OU=a,CN=web\\ ,DC=x',
    'C=DE,O=Müller\\, Söhne,OU=a,OU=b,CN=web,DC=x',
    'C=de,O=Müller\\, Söhne,OU=a,OU=b,CN=web\\ ,DC=x',
    'C=DE,O=Müller, Söhne,OU=a,OU=b,CN=web\\ ,DC=x',
    'C=DE,XX=Müller\\, Söhne,OU=a,OU=b,CN=web\\ ,DC=x',
    'C=DE,O=Müller\\, Söhne,OU=a,OU=b,CN=web\\ ,DC=x,',
    'C=DE,O="Müller, Söhne,OU=a,OU=b,CN=web\\ ,DC=x',
    'C=DE,O="Müller, Söhne"x,OU=a,OU=b,CN=web\\ ,DC=x',
    '/C=DE/O=Müller, Söhne/OU=a/OU=b/CN=web/DC=x',
    'x/C=DE/O=Müller, Söhne/OU=a/OU=b/CN=web /DC=x',
    '/x/C=DE/O=Müller, Söhne/OU=a/OU=b/CN=web /DC=x',
  ])('not %j', (typed) => {
    expect(namesTheSame(typed, subject)).toBe(false);
  });

  test.each<[typed: string, attributes: Written[], isSame: boolean]>([
    ['CN=web,O=Acme', [['O', 'Acme\n2.5.4.3=web']], false], // one attribute that looks like two
    ['O=Acme\n2.5.4.3\\=web', [['O', 'Acme\n2.5.4.3=web']], true],
    ['/CN=a/b', [['CN', 'a/b']], true],
    ['/CN=a\\/O=b', [['CN', 'a/O=b']], true],
    ['/CN=say "x", \\ +', [['CN', 'say "x", \\ +']], true],
    ['CN = "say \\"x\\", \\\\ +"', [['CN', 'say "x", \\ +']], true],
    ['CN = "#160178"', [['CN', '#160178']], true],
    ['/', [], false],
    ['/x', [], false],
  ])('%j and %j: %j', (typed, attributes, isSame) => {
    expect(namesTheSame(typed, namesOf(certificateOf(nameOf(attributes))).subject)).toBe(isSame);
  });
});

describe('a selector', () => {
  const signal = new AbortController().signal;
  const from = (...args: string[]) => ({ flags: parseCommandLine(['sign-string', ...args]).flags, signal });
  const selector = (text: string) => readSelector(from('--cert-selector', text));
  const leaf = async () =>
    parseCertificate((await makeIdentity({ subject: 'CN=web, O=x y', serialNumber: '0a1b' })).certificate);

  test.each([
    ['Key=x509Subject,Value=CN=web,O=x y', true],
    ['Key=x509Issuer,Value=CN=Test Root', true],
    ['Key=x509Serial,Value=A1B', true],
    ['Key=x509Serial,Value=0a1b', true],
    [' \tKey=x509Subject,Value=CN=web,O=x y  Key=x509Serial,Value=A1B\n', true],
    ['Key=x509Serial,Value=A1BKey=x509Issuer,Value=CN=Test Root', true],
    ['Key=x509Subject,Value=CN=web', false],
    ['Key=x509Serial,Value=A1C', false],
    ['Key=x509Serial,Value=-A1B', false],
    ['Key=x509Subject,Value=CN=web,O=x y Key=x509Serial,Value=A1C', false],
  ])('%j: %s', async (text, fits) => {
    expect((await selector(text))?.(await leaf())).toBe(fits);
  });

  test.each([
    'hunter2',
    'Key=x509Subject',
    'Key=x509Subject,Value=',
    'Key=,Value=hunter2',
    'Key=hunter2,Value=a',
    'Key=X509Subject,Value=hunter2',
    'Key= x509Subject,Value=hunter2',
    'x Key=x509Subject,Value=hunter2',
    'Key=x509Serial,Value=hunter2',
    'Key=x509Serial,Value=0x1f',
    'Key=x509Serial,Value=1f 20',
    'Key=x509Serial,Value=1 Key=x509Serial,Value=1',
    'Key=x509Serial,Value=1 hunter2=2',
  ])('%j is refused, without a word of it', async (text) => {
    const error = await rejectionOf(selector(text));
    expect([error.code, error.message.includes('--cert-selector')]).toEqual(['ERR_OPTION_INVALID', true]);
    expect(everythingOf(error)).not.toContain('hunter2');
  });

  test('none, and an empty one', async () => {
    expect(await readSelector(from())).toBeUndefined();
    expect(await readSelector(from('--cert-selector', ''))).toBeUndefined();
  });

  test('from a file', async () => {
    const path = await files.write(
      'selector.json',
      '[{"Key":"x509Serial","Value":"0A1B"}, {"Value":"CN=web,O=x y","Key":"x509Subject"}]',
    );
    expect((await selector(`file://${path}`))?.(await leaf())).toBe(true);
  });

  test.each([
    'hunter2',
    '{"Key":"x509Serial","Value":"hunter2"}',
    '[]',
    '["hunter2"]',
    '[null]',
    '[{"Key":"x509Serial"}]',
    '[{"Key":"x509Serial","Value":1}]',
    '[{"Key":"x509Serial","Value":"1","More":"hunter2"}]',
    '[{"Key":"hunter2","Value":"1"}]',
    '[{"Key":"x509Serial","Value":"1"},{"Key":"x509Serial","Value":"1"}]',
  ])('a file with %s is refused', async (content) => {
    const path = await files.write('selector.json', content);
    const error = await rejectionOf(selector(`file://${path}`));
    expect(error.code).toBe('ERR_OPTION_INVALID');
    expect(everythingOf(error)).not.toContain('hunter2');
  });

  test('a file that is not there', async () => {
    expect((await rejectionOf(selector('file:///nowhere/selector.json'))).code).toBe('ERR_FILE_NOT_FOUND');
  });

  test('is the same text where it selects the same, whatever file it is from', async () => {
    const path = await files.write('selector.json', '[{"Key":"x509Serial","Value":"1F"}]');
    const text = await selectorText(from('--cert-selector', 'Key=x509Serial,Value=1F'));
    expect(await selectorText(from('--cert-selector', `file://${path}`))).toBe(text);
    writeFileSync(path, '[{"Key":"x509Serial","Value":"2F"}]');
    expect(await selectorText(from('--cert-selector', `file://${path}`))).not.toBe(text);
    expect(
      await selectorText(from('--cert-selector', 'Key=x509Serial,Value=1F', '--use-latest-expiring-certificate')),
    ).not.toBe(text);
  });
});
