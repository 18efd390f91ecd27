import { afterEach, describe, expect, test } from '@jest/globals';
import { withIdentity } from '../../src/identity.ts';
import { openKey } from '../../src/stores/index.ts';
import type { OpenOptions } from '../../src/stores/store.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { makeIdentity } from '../helpers/certificates.ts';
import { ecKey, expectSigns, rsaKey } from '../helpers/key-files.ts';
import { thrownBy } from '../helpers/thrown.ts';
import { failure, tellsOf } from '../stores/conformance.ts';

const NAME = 'HOLDFAST_TEST_KEY';
const SECRET = 'swordfish17';
const [rsa, ec] = [rsaKey(), ecKey()];
const pem = rsa.export({ type: 'pkcs8', format: 'pem' }) as string;
const der = rsa.export({ type: 'pkcs8', format: 'der' });
const openWith = (value: string, options: OpenOptions = {}, query = '') => {
  process.env[NAME] = value;
  return openKey(`env:${NAME}${query}`, options);
};

afterEach(() => {
  delete process.env[NAME];
});

describe('the URIs of variables and descriptors', () => {
  test.each([
    ['env:SIGNING_KEY', 'env', 'SIGNING_KEY', 'env:SIGNING_KEY'],
    ['ENV:_k2?pin-source=file:/run/pass', 'env', '_k2', 'env:_k2?pin-source=file:/run/pass'],
    [`env:K?pin-value=${SECRET}`, 'env', 'K', 'env:K?pin-value=***'],
    ['-', 'fd', '0', 'fd:0'],
    ['fd:0', 'fd', '0', 'fd:0'],
    ['fd:3', 'fd', '3', 'fd:3'],
    ['fd:10', 'fd', '10', 'fd:10'],
  ])('%s', (text, scheme, location, printed) => {
    const uri = parseKeyUri(text);
    expect([uri.scheme, uri.location, uri.path.size, String(uri)]).toEqual([scheme, location, 0, printed]);
    expect(parseKeyUri(String(uri)).location).toBe(location);
  });

  test.each([
    ['env:', /name of an environment variable/],
    ['env:2K', /name of an environment variable/],
    [`env:${SECRET}=`, /name of an environment variable/],
    ['env:-----BEGIN PRIVATE KEY-----', /the content of a file/],
    ['env:A%42', /name of an environment variable/],
    ['fd:', /number of a descriptor/],
    ['fd:1', /number of a descriptor/],
    ['fd:2', /number of a descriptor/],
    ['fd:03', /number of a descriptor/],
    ['fd:-1', /number of a descriptor/],
    ['fd:3.5', /number of a descriptor/],
    ['fd:99999999', /number of a descriptor/],
    [`fd:${SECRET}`, /number of a descriptor/],
  ])('refuses %j', (text, message) => {
    const error = thrownBy(() => parseKeyUri(text));
    expect(error.code).toBe('ERR_URI_INVALID');
    expect(error.message).toMatch(message);
    for (const secret of [SECRET, 'PRIVATE KEY']) expect(tellsOf(error, secret)).toBe(false);
  });
});

describe('a key in an environment variable', () => {
  test.each([
    ['PEM', pem],
    ['PEM with CRLF', pem.replaceAll('\n', '\r\n')],
    ['PEM without a line end behind it', pem.trim()],
    ['PEM with \\n for line ends', pem.replaceAll('\n', '\\n')],
    ['DER in Base64', der.toString('base64')],
    ['DER in Base64, in lines', `${(der.toString('base64').match(/.{1,64}/g) ?? []).join('\n')}\n`],
    ['PEM in Base64', Buffer.from(pem).toString('base64')],
  ])('%s', async (_, value) => {
    await expectSigns(openWith(value), rsa);
  });

  test('encrypted, with its passphrase from the URI or the options', async () => {
    const passphrase = 'correct horse';
    const value = rsa.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase }) as string;
    await expectSigns(openWith(value, {}, '?pin-value=correct%20horse'), rsa);
    await expectSigns(openWith(value, { secret: passphrase }), rsa);
    expect((await failure(openWith(value))).code).toBe('ERR_SECRET_REQUIRED');
  });

  test('is read each time, and stays', async () => {
    await expectSigns(openWith(pem), rsa);
    expect(process.env[NAME]).toBe(pem);
    await expectSigns(openWith(ec.export({ type: 'pkcs8', format: 'pem' }) as string), ec);
  });

  test('describes itself by the name of the variable', async () => {
    expect((await openWith(pem)).description).toBe(`key file in the variable ${NAME}`);
  });

  test('is not set', async () => {
    const error = await failure(openKey(`env:${NAME}`));
    expect(error.code).toBe('ERR_FILE_NOT_FOUND');
    expect(error.message).toContain(NAME);
  });

  test.each([
    ['empty', '', 'ERR_KEY_INVALID', /is empty/],
    ['a path', '/etc/aws/key.pem', 'ERR_KEY_INVALID', /text without a private key/],
    ['words in Base64', 'c3dvcmRmaXNo', 'ERR_KEY_INVALID', /text without a private key/],
    ['PEM that lost its line ends', pem.replaceAll('\n', ' '), 'ERR_KEY_INVALID', /lost its line ends/],
    ['more than a key can be', 'x '.repeat(1_000_000), 'ERR_FILE_TOO_LARGE', /larger than/],
  ])('%s is refused, and not repeated', async (_, value, code, message) => {
    const error = await failure(openWith(value));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
    if (value !== '') expect(tellsOf(error, value.slice(0, 60))).toBe(false);
  });

  test('attributes that it does not know', async () => {
    expect((await failure(openWith(pem, {}, '?pin-sorce=x'))).code).toBe('ERR_URI_INVALID');
  });
});

describe('as an identity', () => {
  const OTHER = 'HOLDFAST_TEST_CERTIFICATE';
  afterEach(() => {
    delete process.env[OTHER];
  });

  test('key, certificate and chain in variables, together or apart', async () => {
    const me = await makeIdentity({ intermediates: 1 });
    const [leaf, chain] = [me.certificatePem, Buffer.from(me.intermediates[0] as Uint8Array).toString('base64')];
    process.env[NAME] = me.pem + leaf;
    process.env[OTHER] = chain;
    const [both, above] = [`env:${NAME}`, `env:${OTHER}`];
    for (const options of [
      { certificate: both, chain: above },
      { key: both, certificate: both, chain: above },
      { key: both, chain: above },
    ]) {
      const found = await withIdentity(options, async ({ certificate, chain: path }) => [certificate, ...path]);
      expect(found.map((one) => one.der)).toEqual([me.certificate, ...me.intermediates].map((one) => Buffer.from(one)));
    }
  });
});
