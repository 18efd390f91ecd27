import { generateKeyPairSync, sign } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { checkLeaf, parseCertificate, readCertificates } from '../../src/certificate.ts';
import { DIGITAL_SIGNATURE, KEY_CERT_SIGN, makeCertificate, type Recipe, toPem } from '../helpers/certificate-maker.ts';
import { everythingOf, thrownBy } from '../helpers/thrown.ts';
import { fromBase64, VECTORS } from '../helpers/vectors.ts';

const ca = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const key = generateKeyPairSync('ec', { namedCurve: 'P-256' });

const make = (recipe: Partial<Recipe> = {}): Buffer =>
  makeCertificate({
    subject: 'build-01',
    issuer: 'Test CA',
    publicKey: key.publicKey,
    issuerKey: ca.privateKey,
    ca: false,
    keyUsage: DIGITAL_SIGNATURE,
    ...recipe,
  });

/** A certificate with some of its octets replaced; its signature is broken by that. */
const patched = (der: Buffer, from: string, to: string): Buffer => {
  const at = der.indexOf(Buffer.from(from, 'hex'));
  if (at < 0) throw new Error(`the certificate has no ${from}`);
  der.set(Buffer.from(to, 'hex'), at);
  return der;
};

describe('parseCertificate', () => {
  test('the facts', () => {
    const der = make({ serial: 'abcdef' });
    const certificate = parseCertificate(der);
    expect(certificate).toMatchObject({
      serialNumber: '11259375',
      keyType: 'EC',
      subject: 'CN=build-01',
      issuer: 'CN=Test CA',
      notBefore: new Date('2026-01-01T00:00:00Z'),
      notAfter: new Date('2027-01-01T00:00:00Z'),
      isCa: false,
    });
    expect(Buffer.from(certificate.der)).toEqual(der);
  });

  test.each([
    ['00', '0'],
    ['1', '1'],
    ['7f', '127'],
    ['80', '128'],
    ['ffff', '65535'],
    ['10000000000000001', '18446744073709551617'],
    ['7fffffffffffffffffffffffffffffffffffffff', (2n ** 159n - 1n).toString()],
    ['ffffffffffffffffffffffffffffffffffffffff', (2n ** 160n - 1n).toString()],
  ])('serial number %s is %s', (serial, decimal) => {
    expect(parseCertificate(make({ serial })).serialNumber).toBe(decimal);
  });

  test.each([
    ['85', '-123'],
    ['ff', '-1'],
    ['80', '-128'],
  ])('a negative serial number keeps its sign: %s is %s', (octet, decimal) => {
    const der = patched(make({ serial: '7b' }), 'a00302010202017b', `a0030201020201${octet}`);
    expect(parseCertificate(der).serialNumber).toBe(decimal);
  });

  test.each(Object.entries(VECTORS.identities))('%s, made by OpenSSL', (name, identity) => {
    const der = fromBase64(identity.certificate);
    const certificate = parseCertificate(der);
    expect(Buffer.from(certificate.der)).toEqual(der);
    expect(certificate.serialNumber).toBe(identity.serialNumber);
    expect(certificate.keyType).toBe(name.startsWith('RSA') ? 'RSA' : 'EC');
    expect(certificate.subject).toBe(`O=Holdfast vectors, CN=${name} leaf`);
    // A hundred years: this date is written with four digits of the year.
    expect(certificate.notAfter.getUTCFullYear()).toBe(certificate.notBefore.getUTCFullYear() + 100);
    checkLeaf(certificate, new Date(certificate.notBefore.getTime() + 1000));

    const message = Buffer.from('a string to sign');
    for (const hash of ['SHA-256', 'SHA-384', 'SHA-512'] as const) {
      const signature = sign(hash, message, identity.privateKey);
      expect(certificate.verify(message, signature, hash)).toBe(true);
      expect(certificate.verify(message, signature)).toBe(hash === 'SHA-256');
      expect(certificate.verify(Buffer.from('another'), signature, hash)).toBe(false);
    }
    for (const signature of [Buffer.alloc(0), Buffer.alloc(1000, 7), Buffer.from('3006020101020101', 'hex')]) {
      expect(certificate.verify(message, signature)).toBe(false);
    }
  });

  test.each(['P-224', 'P-256', 'P-384', 'P-521', 'secp256k1', 'brainpoolP256r1'])('EC on %s', (namedCurve) => {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve });
    const certificate = parseCertificate(make({ publicKey }));
    expect(certificate.keyType).toBe('EC');
    expect(certificate.verify(Buffer.from('m'), sign('sha256', Buffer.from('m'), privateKey))).toBe(true);
  });

  test('a date that is none is an error, not a certificate that never expires', () => {
    const never = Buffer.from('20270101000000Z').toString('hex');
    const der = patched(make(), never, Buffer.from('20271301000000Z').toString('hex'));
    expect(thrownBy(() => parseCertificate(der, 'cert.pem'))).toMatchObject({ code: 'ERR_CERTIFICATE_INVALID' });
  });

  test('isIssuedBy: by name, by signature, and not by a copy of the facts', () => {
    const issuer = { subject: 'Test CA', publicKey: ca.publicKey, ca: true, keyUsage: KEY_CERT_SIGN };
    const leaf = parseCertificate(make());
    const authority = parseCertificate(make(issuer));
    expect(leaf.isIssuedBy(authority)).toBe(true);
    expect(authority.isIssuedBy(authority)).toBe(true);
    expect(authority.isIssuedBy(leaf)).toBe(false);
    expect(leaf.isIssuedBy(parseCertificate(make({ ...issuer, subject: 'Other CA' })))).toBe(false);
    expect(leaf.isIssuedBy(parseCertificate(make({ ...issuer, publicKey: key.publicKey })))).toBe(false);
    expect(leaf.isIssuedBy(parseCertificate(make({ ...issuer, keyUsage: DIGITAL_SIGNATURE })))).toBe(false);
    expect(leaf.isIssuedBy({ ...authority })).toBe(false);
  });
});

describe('readCertificates', () => {
  const [one, two] = [make({ serial: '1' }), make({ serial: '2' })];
  const serials = (data: string | Uint8Array): string[] =>
    readCertificates(typeof data === 'string' ? Buffer.from(data, 'latin1') : data, 'cert.pem').map(
      ({ serialNumber }) => serialNumber,
    );
  const privateKey = key.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
  const pem = toPem(one);

  test.each([
    ['DER', one, ['1']],
    ['PEM', pem, ['1']],
    ['a bundle, in its order', toPem(two, one), ['2', '1']],
    ['twenty', toPem(...Array.from({ length: 20 }, () => two)), Array.from({ length: 20 }, () => '2')],
    ['CRLF', toPem(one, two).replaceAll('\n', '\r\n'), ['1', '2']],
    ['text before, between and behind', `Bag Attributes\n${pem}\nsubject=CN - x\n${toPem(two)}\nend`, ['1', '2']],
    ['a byte order mark', `\xef\xbb\xbf${pem}`, ['1']],
    ['headers (RFC 1421)', pem.replace('-----\n', '-----\nProc-Type: 4\nX-Note: a-b\n\n'), ['1']],
    ['headers, CRLF', pem.replace('-----\n', '-----\nX-Note: a\n\n').replaceAll('\n', '\r\n'), ['1']],
    ['an empty line instead of headers', pem.replace('-----\n', '-----\n\n'), ['1']],
    ['an empty line in between', pem.replace(/\n.{64}\n/, (line) => `${line}\n`), ['1']],
    ['one long line', `-----BEGIN CERTIFICATE-----\n${one.toString('base64')}\n-----END CERTIFICATE-----`, ['1']],
    ['indented', pem.replaceAll('\n', '\n\t '), ['1']],
    ['the old label', pem.replaceAll('CERTIFICATE', 'X509 CERTIFICATE'), ['1']],
    ['a private key beside it', `${privateKey}${pem}`, ['1']],
  ])('%s', (_, data, expected) => {
    expect(serials(data)).toEqual(expected);
  });

  test.each([
    ['nothing', '', /^cert.pem is empty$/],
    ['text', 'hello', /neither PEM nor DER/],
    ['HTML', '<!doctype html><title>404</title>', /neither PEM nor DER/],
    ['Base64 without armour', one.toString('base64'), /neither PEM nor DER/],
    ['UTF-16', Buffer.from(`\ufeff${pem}`, 'utf16le'), /neither PEM nor DER/],
    ['binary', Buffer.from('30ff00ff00', 'hex'), /no X.509 certificate/],
    ['DER cut short', one.subarray(0, 100), /no X.509 certificate/],
    ['two DER in one file', Buffer.concat([one, two]), /behind the certificate/],
    ['a DER private key', key.privateKey.export({ type: 'pkcs8', format: 'der' }), /no X.509 certificate/],
    ['a private key', privateKey, /holds PRIVATE KEY, but no CERTIFICATE/],
    ['a request', pem.replaceAll('CERTIFICATE', 'CERTIFICATE REQUEST'), /holds CERTIFICATE REQUEST, but no/],
    ['PEM cut short', pem.slice(0, 200), /without its end/],
    ['PEM cut short in its last line', pem.slice(0, -3), /without its end/],
    ['a bundle cut short', `${toPem(one)}${toPem(two).slice(0, 300)}`, /without its end/],
    ['an end missing in between', `${pem.replace(/-----END.*\n/, '')}${toPem(two)}`, /without its end/],
    ['an end of something else', pem.replace('END CERTIFICATE', 'END X509 CRL'), /without its end/],
    ['a line missing', pem.replace(/\n.{64}\n/, '\n'), /no X.509 certificate/],
    ['a character that is not Base64', pem.replace('MII', 'M*I'), /^cert.pem has damaged Base64$/],
    ['damage in the second', `${pem}${pem.replace('MII', 'M*I')}`, /^certificate 2 in cert.pem has damaged Base64$/],
    ['an empty block', '-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n', /damaged Base64/],
    [
      'a key with the label of a certificate',
      privateKey.replaceAll('PRIVATE KEY', 'CERTIFICATE'),
      /no X.509 certificate/,
    ],
  ])('refuses %s', (_, data, message) => {
    const error = thrownBy(() => serials(data));
    expect(error).toMatchObject({ code: 'ERR_CERTIFICATE_INVALID', hint: expect.any(String) });
    expect(error.message).toMatch(message);
    // A private key given by mistake is not repeated.
    for (const line of privateKey.split('\n').slice(1, -2)) expect(everythingOf(error)).not.toContain(line);
  });

  test('a megabyte of beginnings without an end is refused as fast as anything', () => {
    const data = '-----BEGIN CERTIFICATE-----\n'.repeat(37_000);
    expect(thrownBy(() => serials(data)).message).toMatch(/without its end/);
  });
});

describe('the hash that a leaf is signed with', () => {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const hex = (digits: string): Buffer => Buffer.from(digits, 'hex');
  const check = (recipe: Partial<Recipe>): void =>
    checkLeaf(parseCertificate(make(recipe)), new Date('2026-06-01T12:00:00Z'));

  test.each<[name: string, recipe: Partial<Recipe>, hash: string]>([
    ['RSA, MD5', { issuerKey: rsa.privateKey, hash: 'md5' }, 'MD5'],
    ['RSA, SHA-1', { issuerKey: rsa.privateKey, hash: 'sha1' }, 'SHA-1'],
    ['ECDSA, SHA-1', { hash: 'sha1' }, 'SHA-1'],
    // RFC 4055 §3.1: RSASSA-PSS has its hash in the parameters, and SHA-1 without.
    ['RSASSA-PSS, default', { algorithm: hex('300d06092a864886f70d01010a3000') }, 'SHA-1'],
    ['RSASSA-PSS, nothing', { algorithm: hex('300b06092a864886f70d01010a') }, 'SHA-1'],
    ['RSASSA-PSS, SHA-1', { algorithm: hex('301a06092a864886f70d01010a300da00b300906052b0e03021a0500') }, 'SHA-1'],
    ['RSASSA-PSS, MD5', { algorithm: hex('301d06092a864886f70d01010a3010a00e300c06082a864886f70d02050500') }, 'MD5'],
  ])('%s is refused', (_, recipe, hash) => {
    expect(thrownBy(() => check(recipe))).toMatchObject({
      code: 'ERR_CERTIFICATE_UNSUITABLE',
      message: `the certificate of CN=build-01 is signed with ${hash}, which Roles Anywhere refuses`,
    });
  });

  test.each<[name: string, recipe: Partial<Recipe>]>([
    ['RSA, SHA-256', { issuerKey: rsa.privateKey }],
    ['ECDSA, SHA-384', { hash: 'sha384' }],
    ['RSASSA-PSS, SHA-256', { algorithm: hex('301e06092a864886f70d01010a3011a00f300d06096086480165030402010500') }],
  ])('%s is not', (_, recipe) => {
    expect(() => check(recipe)).not.toThrow();
  });
});

describe('checkLeaf', () => {
  const now = new Date('2026-06-01T12:00:00Z');
  const check = (recipe: Partial<Recipe>, at = now): void => checkLeaf(parseCertificate(make(recipe)), at);

  test('takes a leaf, up to the second in which it ends', () => {
    check({});
    check({ ca: undefined as never }); // no BasicConstraints at all
    check({ keyUsage: DIGITAL_SIGNATURE | 0x20 });
    check({}, new Date('2026-01-01T00:00:00Z'));
    check({}, new Date('2027-01-01T00:00:00Z'));
  });

  test.each([
    ['a CA', { ca: true }, now, 'ERR_CERTIFICATE_UNSUITABLE', /build-01 is a CA certificate/],
    ['expired', {}, new Date('2027-01-01T00:00:01Z'), 'ERR_CERTIFICATE_EXPIRED', /expired at 2027-01-01T00:00:00Z$/],
    ['early', {}, new Date('2025-12-31T23:59:59Z'), 'ERR_CERTIFICATE_NOT_YET_VALID', /from 2026-01-01T00:00:00Z on$/],
    ['without a subject', { subject: '' }, now, 'ERR_CERTIFICATE_UNSUITABLE', /serial 31 has an empty subject/],
    ['without key usage', { keyUsage: undefined as never }, now, 'ERR_CERTIFICATE_UNSUITABLE', /digitalSignature/],
    ['for key encipherment', { keyUsage: 0x20 }, now, 'ERR_CERTIFICATE_UNSUITABLE', /digitalSignature/],
    [
      'of version 1',
      { version: 1 as const, keyUsage: undefined as never },
      now,
      'ERR_CERTIFICATE_UNSUITABLE',
      /digital/,
    ],
  ])('refuses one that is %s', (_, recipe, at, code, message) => {
    const error = thrownBy(() => check(recipe, at));
    expect(error).toMatchObject({ code, hint: expect.any(String) });
    expect(error.message).toMatch(message);
  });

  test('says the clock when the date is wrong', () => {
    expect(thrownBy(() => check({}, new Date('2030-01-01T00:00:00Z'))).hint).toContain('2030-01-01T00:00:00Z');
    expect(thrownBy(() => check({}, new Date('1970-01-01T00:00:00Z'))).hint).toContain('1970-01-01T00:00:00Z');
  });
});
