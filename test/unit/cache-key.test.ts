import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { RolesAnywhereInit } from '../../src/provider.ts';
import { cacheKeyOf } from '../../src/serve/index.ts';
import { makeKeyPair } from '../helpers/certificates.ts';
import { ARNS } from '../helpers/create-session.ts';

const unlessWindows = process.platform === 'win32' ? test.skip : test;
const TOKEN = 'pkcs11:token=prod;object=web?module-path=/usr/lib/x.so';
const CERTIFICATE = `-----BEGIN CERTIFICATE-----\n${'A'.repeat(200)}\n`; // nobody looks into it here

let dir: string;
let key: string;
let certificate: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'holdfast-cache-'));
  key = join(dir, 'key.pem');
  certificate = join(dir, 'certificate.pem');
  writeFileSync(key, makeKeyPair().pem, { mode: 0o600 });
  writeFileSync(certificate, CERTIFICATE);
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const init = (changes: Partial<RolesAnywhereInit> = {}): RolesAnywhereInit => ({
  ...ARNS,
  key,
  certificate,
  ...changes,
});

/** The text of the key; a reason why there is none fails the test. */
function textOf(options: RolesAnywhereInit, selector?: string): string {
  const found = cacheKeyOf(options, selector);
  if (typeof found === 'string') throw new Error(found);
  return found.text;
}

describe('the same session', () => {
  test('is one whatever order the attributes of a URI have, and however a path is written', () => {
    const other = 'pkcs11:object=%77eb;token=prod?module-path=%2Fusr%2Flib%2Fx.so';
    expect(textOf(init({ key: other }))).toBe(textOf(init({ key: TOKEN })));
    expect(textOf(init({ key: relative('', key) }))).toBe(textOf(init()));
    expect(textOf(init({ key: `file:${key}` }))).toBe(textOf(init()));
    expect(textOf(init({ certificate: relative('', certificate) }))).toBe(textOf(init()));
  });

  test.each([
    ['&pin-value=123456'],
    ['&pin-source=file:/run/pin'],
    ['&pin-source=env:PIN'],
    ['&pin-source=|/bin/echo%20123456'],
    ['&auth-value=123456'],
  ])('is one wherever its PIN comes from (%s), and no PIN is in its key', (attribute) => {
    expect(textOf(init({ key: TOKEN + attribute }))).toBe(textOf(init({ key: TOKEN })));
    expect(textOf(init({ key: TOKEN, certificate: TOKEN + attribute }))).toBe(
      textOf(init({ key: TOKEN, certificate: TOKEN })),
    );
    const old = TOKEN.replace('?', ';pin-value=123456?');
    expect(textOf(init({ key: old }))).toBe(textOf(init({ key: TOKEN })));
  });

  test('is one whatever it is reached by', () => {
    const changes = {
      attempts: 7,
      deadline: 1000,
      proxy: 'http://me:secret@proxy.example',
      caBundle: '/a',
      secret: 'x',
    };
    expect(textOf(init(changes))).toBe(textOf(init()));
  });
});

describe('another session', () => {
  const arn = (name: keyof typeof ARNS): string => ARNS[name].replace(/.$/, (last) => (last === '1' ? '2' : '1'));
  test.each<[string, () => Partial<RolesAnywhereInit>]>([
    ['the role', () => ({ roleArn: arn('roleArn') })],
    ['the profile', () => ({ profileArn: arn('profileArn') })],
    ['the trust anchor', () => ({ trustAnchorArn: arn('trustAnchorArn') })],
    ['the duration', () => ({ durationSeconds: 7200 })],
    ['the session name', () => ({ roleSessionName: 'me' })],
    ['the endpoint', () => ({ endpoint: 'https://vpce.example' })],
    ['FIPS', () => ({ useFipsEndpoint: true })],
    ['dual stack', () => ({ useDualstackEndpoint: true })],
    ['strict files', () => ({ strictFiles: true })],
    ['a chain', () => ({ chain: certificate })],
    ['no certificate', () => ({ certificate: undefined })],
    ['the key', () => ({ key: TOKEN })],
  ])('by %s', (_, changes) => {
    expect(textOf(init(changes()))).not.toBe(textOf(init()));
  });

  test.each([
    ['another token', TOKEN.replace('prod', 'test')],
    ['another module', TOKEN.replace('x.so', 'y.so')],
    ['an attribute more', TOKEN.replace('?', ';id=%01?')],
  ])('by %s', (_, uri) => {
    expect(textOf(init({ key: uri }))).not.toBe(textOf(init({ key: TOKEN })));
  });

  test('by the handle of a TPM key, as the reference client writes it too', () => {
    for (const form of ['handle:0x8101000', 'tpm:handle=0x8101000']) {
      expect(textOf(init({ key: `${form}1` }))).not.toBe(textOf(init({ key: `${form}2` })));
    }
  });

  test('by what is in the file of a TPM key, however its path is written', () => {
    const before = textOf(init({ key: `tpm:file=${key}` }));
    expect(textOf(init({ key: `tpm:file=${relative('', key)}` }))).toBe(before);
    expect(textOf(init({ key: `tpm:file=${key}?pin-value=123456&parent-pin-value=123456` }))).toBe(before);
    expect(before).not.toContain('123456');
    writeFileSync(key, makeKeyPair('P-384').pem);
    expect(textOf(init({ key: `tpm:file=${key}` }))).not.toBe(before);
  });

  test('by what selects the certificate', () => {
    expect(textOf(init(), 'a')).not.toBe(textOf(init(), 'b'));
  });

  unlessWindows.each<[string, () => void]>([
    ['that is replaced', () => writeFileSync(`${key}.new`, makeKeyPair().pem) ?? renameSync(`${key}.new`, key)],
    ['that is written anew', () => writeFileSync(key, makeKeyPair('P-384').pem)],
    ['that others may read now', () => chmodSync(key, 0o644)],
    ['that a link leads to no more', () => renameSync(key, `${key}.old`) ?? symlinkSync(writeOther(), key)],
  ])('by a key file %s', (_, change) => {
    const before = textOf(init());
    change();
    expect(textOf(init())).not.toBe(before);
  });

  function writeOther(): string {
    writeFileSync(join(dir, 'other.pem'), makeKeyPair().pem);
    return join(dir, 'other.pem');
  }
});

describe('no session is shared', () => {
  test.each<[string, () => Partial<RolesAnywhereInit>]>([
    ['whose key is in a variable', () => ({ key: 'env:KEY' })],
    ['whose key comes from a descriptor', () => ({ key: 'fd:3' })],
    ['whose key comes from standard input', () => ({ key: '-' })],
    ['whose certificate does', () => ({ certificate: '-' })],
    ['whose chain is in a variable', () => ({ chain: 'env:CHAIN' })],
    ['whose key file is not there', () => ({ key: join(dir, 'absent') })],
    ['whose key is a directory', () => ({ key: dir })],
    ['of a signer of the caller', () => ({ key: undefined, signer: { sign: async () => new Uint8Array() } })],
    ['that is asked for too short', () => ({ durationSeconds: 900 })],
  ])('%s', (_, changes) => {
    expect(cacheKeyOf(init(changes()))).toEqual(expect.any(String));
  });

  unlessWindows('whose certificate comes out of a pipe: it is not read', () => {
    unlinkSync(certificate);
    execFileSync('mkfifo', [certificate]);
    expect(cacheKeyOf(init())).toContain('no regular file');
  });

  test('whose certificate is too short to be one: its hash would tell what it is', () => {
    writeFileSync(certificate, '123456');
    expect(cacheKeyOf(init())).toContain('too short');
  });
});

test('what is wrong with the options is an error as ever', () => {
  expect(() => cacheKeyOf(init({ roleArn: 'arn:aws:iam::111122223333:user/me' }))).toThrow(
    expect.objectContaining({ code: 'ERR_ARN_INVALID' }),
  );
  expect(() => cacheKeyOf(init({ durationSeconds: 1 }))).toThrow(
    expect.objectContaining({ code: 'ERR_OPTION_INVALID' }),
  );
  expect(() => cacheKeyOf(init({ key: 'pkcs11:token' }))).toThrow(expect.objectContaining({ code: 'ERR_URI_INVALID' }));
});
