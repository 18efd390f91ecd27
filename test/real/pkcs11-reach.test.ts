import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import pkcs11js from 'pkcs11js';
import * as pkcs11 from '../../src/stores/pkcs11/in-place.ts';
import { formatKeyUri, parseKeyUri } from '../../src/uri.ts';
import { makeIdentity } from '../helpers/certificates.ts';
import { rawPkcs11 } from '../helpers/raw-pkcs11.ts';
import { describeSoftHsm, makeToken, setRealEnvironment, type TestToken } from '../helpers/softhsm.ts';
import { failure } from '../stores/conformance.ts';

describeSoftHsm('how a key is reached: right of the "?"', () => {
  let token: TestToken;

  const opens = async (query: Record<string, string>): Promise<void> => {
    const key = await pkcs11.open(parseKeyUri(token.uri({ object: 'web' }, query)), {});
    await key.close();
  };

  beforeAll(async () => {
    token = await makeToken({ tokenLabel: 'prod' });
    setRealEnvironment(token.env);
    await pkcs11.create(parseKeyUri(token.uri({ object: 'web' })), { keyType: 'P-256', secret: token.pin });
  });
  afterAll(() => token.remove());

  describe('the PIN', () => {
    test('from pin-value, from a pin-source file, with or without file:', async () => {
      const file = join(token.dir, 'pin');
      await writeFile(file, `${token.pin}\n`, { mode: 0o600 });
      await opens({ 'pin-value': token.pin });
      await opens({ 'pin-source': file });
      await opens({ 'pin-source': `file:${file}` });
      await opens({ 'pin-source': `file://${file}` });
    });

    test('from nowhere: ERR_SECRET_REQUIRED, naming the token', async () => {
      const error = await failure(opens({}));
      expect(error).toMatchObject({ code: 'ERR_SECRET_REQUIRED', message: expect.stringContaining('token "prod"') });
    });

    test.each([
      ['two places', { 'pin-value': 'a', 'pin-source': '/b' }, 'ERR_URI_INVALID'],
      ['a relative path', { 'pin-source': 'pin' }, 'ERR_URI_INVALID'],
      ['a command', { 'pin-source': '|cat /pin' }, 'ERR_URI_INVALID'],
      ['a file that is not there', { 'pin-source': '/nowhere/pin' }, 'ERR_SECRET_UNREADABLE'],
      ['a value that is wrong', { 'pin-value': 'wrong-one' }, 'ERR_SECRET_WRONG'],
    ])('from %s', async (_, query, code) => {
      expect((await failure(opens(query as Record<string, string>))).code).toBe(code);
    });
  });

  test('certificates that only show after a login are found, too', async () => {
    const uri = parseKeyUri(token.uri({ object: 'web' }));
    const made = await pkcs11.open(uri, { secret: token.pin });
    await made.close();
    const keyPair = { publicKey: made.publicKey as Uint8Array, privateKey: undefined as never, pem: '' };
    const { certificate } = await makeIdentity({ keyPair });
    const somebody = rawPkcs11(token);
    somebody.pkcs11.C_CreateObject(somebody.session, [
      { type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_CERTIFICATE },
      { type: pkcs11js.CKA_CERTIFICATE_TYPE, value: pkcs11js.CKC_X_509 },
      { type: pkcs11js.CKA_TOKEN, value: true },
      { type: pkcs11js.CKA_PRIVATE, value: true },
      { type: pkcs11js.CKA_SUBJECT, value: Buffer.from('3000', 'hex') },
      { type: pkcs11js.CKA_LABEL, value: 'web' },
      { type: pkcs11js.CKA_VALUE, value: Buffer.from(certificate) },
    ]);
    somebody.close();
    somebody.finalise();
    const key = await pkcs11.open(uri, { secret: token.pin });
    await key.close();
    expect(key.certificates).toEqual([Buffer.from(certificate)]);
    expect(await pkcs11.readCertificates(uri, {})).toEqual([]);
  });

  describe('the module', () => {
    const through = (modulePath: string): Promise<unknown> => {
      const query: [string, string][] = [['module-path', modulePath]];
      return pkcs11.open(parseKeyUri(formatKeyUri({ scheme: 'pkcs11', path: [['token', 'prod']], query })), {});
    };

    test('not there: ERR_MODULE_NOT_FOUND', async () => {
      const error = await failure(through('/nowhere/libx.so'));
      expect(error.code).toBe('ERR_MODULE_NOT_FOUND');
      expect(error.message).toContain('/nowhere/libx.so');
    });

    test('that is none: ERR_MODULE_FAILED with the words of the linker, each time', async () => {
      const file = join(token.dir, 'not-a-module.so');
      await writeFile(file, 'not a module');
      for (const path of [file, '/etc/hostname', file]) {
        const error = await failure(through(path));
        expect(error.code).toBe('ERR_MODULE_FAILED');
        expect(String((error.cause as Error).message)).toContain(path);
      }
    });
  });
});
