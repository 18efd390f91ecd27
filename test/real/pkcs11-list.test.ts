import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import pkcs11js from 'pkcs11js';
import * as pkcs11 from '../../src/stores/pkcs11/in-place.ts';
import type { KeyInfo, ListedKey, ListedToken, ListOptions } from '../../src/stores/store.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { shown } from '../helpers/canaries.ts';
import { makeIdentity } from '../helpers/certificates.ts';
import { runCli } from '../helpers/cli.ts';
import { putRawCertificate, withRaw } from '../helpers/raw-pkcs11.ts';
import { describeSoftHsm, makeToken, setRealEnvironment, type TestToken } from '../helpers/softhsm.ts';
import { failure } from '../stores/conformance.ts';

describeSoftHsm('what a module, a token and a key show', () => {
  let token: TestToken;
  let other: TestToken;

  const list = (uri: string, options: ListOptions = {}): Promise<readonly KeyInfo[]> =>
    pkcs11.list(parseKeyUri(uri), options);
  const names = (found: readonly KeyInfo[]): string[] => found.map(({ kind, label }) => `${kind} ${label}`);
  const cli = (args: readonly string[]) => runCli(['list', ...args], { env: token.env });

  beforeAll(async () => {
    token = await makeToken({ tokenLabel: 'prod', pin: shown });
    other = await token.addToken({ tokenLabel: 'spare', pin: shown });
    setRealEnvironment(token.env);
    const secret = token.pin;
    const web = await pkcs11.create(parseKeyUri(token.uri({ object: 'web', id: '\u0001' })), {
      keyType: 'P-256',
      secret,
    });
    await pkcs11.create(parseKeyUri(token.uri({ object: 'mail', id: '\u0002' })), { keyType: 'RSA-2048', secret });
    const key = await pkcs11.open(web, { secret });
    await key.close();
    const keyPair = { publicKey: key.publicKey as Uint8Array, privateKey: undefined as never, pem: '' };
    const notAfter = new Date('2040-01-02T03:04:05Z');
    const { certificate } = await makeIdentity({ keyPair, notAfter });
    await pkcs11.putCertificate(web, [certificate], { secret });
    // Under the identifier of a key that it does not certify, with a label that would move the cursor.
    putRawCertificate(token, (await makeIdentity()).certificate, '\u0002', 'strange\u001b[2J\nlabel');
    putRawCertificate(token, Buffer.from('rubbish'), 'rubbish', 'rubbish');
  });
  afterAll(() => token.remove());

  test('the module: every token, each with what is in it', async () => {
    const found = await list(`pkcs11:?module-path=${token.modulePath}`);
    const tokens = found.filter((one): one is ListedToken => one.kind === 'token');
    expect(tokens.map(({ label }) => label).sort()).toEqual(['prod', 'spare']);
    expect(tokens[0]).toMatchObject({ manufacturer: 'SoftHSM project', pin: 'ok', loginRequired: true, keypad: false });
    expect(tokens[0]?.mechanisms).toEqual(expect.arrayContaining(['CKM_RSA_PKCS', 'CKM_SHA256_RSA_PKCS', 'CKM_ECDSA']));
    expect(tokens[0]?.mechanisms).not.toContain('CKM_ECDSA_SHA256');
    expect(found).toHaveLength(2 + 2 + 3);
  });

  test('a token: its keys as far as they show, and all of them with a login', async () => {
    const shown = await list(token.uri());
    expect(names(shown).sort()).toEqual([
      'certificate rubbish',
      expect.stringMatching(/^certificate strange ?.*label$/),
      'certificate web',
      'key mail',
      'key web',
      'token prod',
    ]);
    const [web] = (await list(token.uri({ object: 'web' }))) as [ListedKey];
    expect(web).toMatchObject({ type: 'P-256', privateSeen: false, certificate: true, id: '01' });
    expect(web.alwaysAuthenticate).toBeUndefined();
    const known = (await list(token.uri(), { login: true, secret: token.pin })).filter(({ kind }) => kind === 'key');
    expect(known).toEqual([
      expect.objectContaining({ privateSeen: true, alwaysAuthenticate: false }),
      expect.objectContaining({ privateSeen: true, alwaysAuthenticate: false }),
    ]);
    const mail = known.find(({ label }) => label === 'mail');
    expect(mail).toMatchObject({ type: 'RSA-2048', certificate: false });
  });

  test('every URI selects what it stands beside', async () => {
    for (const one of await list(token.uri(), { login: true, secret: token.pin })) {
      if (one.kind === 'token') continue;
      const again = await list(one.uri, { login: true, secret: token.pin });
      expect(again.filter(({ kind }) => kind === one.kind)).toEqual([one]);
      if (one.kind === 'key') await (await pkcs11.open(parseKeyUri(one.uri), { secret: token.pin })).close();
    }
  });

  test('id, object and type narrow it down', async () => {
    expect(names(await list(token.uri({ object: 'web' })))).toEqual(['key web', 'certificate web']);
    expect(names(await list(token.uri({ id: '\u0001', type: 'cert' })))).toEqual(['certificate web']);
    expect(names(await list(token.uri({ type: 'public' })))).toHaveLength(2);
    expect(names(await list(token.uri({ type: 'private' })))).toHaveLength(2);
    expect(await list(token.uri({ object: 'nobody' }))).toEqual([]);
  });

  test('a key that always authenticates, and one that we cannot use', async () => {
    const common = (label: string) => [
      { type: pkcs11js.CKA_TOKEN, value: true },
      { type: pkcs11js.CKA_ID, value: Buffer.from(label) },
      { type: pkcs11js.CKA_LABEL, value: label },
    ];
    const curve = (oid: string) => ({ type: pkcs11js.CKA_EC_PARAMS, value: Buffer.from(oid, 'hex') });
    withRaw(other, ({ pkcs11: driver, session }) => {
      const always = [{ type: pkcs11js.CKA_ALWAYS_AUTHENTICATE, value: true }];
      const ec = { mechanism: pkcs11js.CKM_EC_KEY_PAIR_GEN };
      driver.C_GenerateKeyPair(
        session,
        ec,
        [...common('card'), curve('06052b81040022')],
        [...common('card'), ...always],
      );
      const ed25519 = [...common('edwards'), curve('130c656477617264733235353139')];
      driver.C_GenerateKeyPair(session, { mechanism: 0x1055 }, ed25519, common('edwards'));
    });
    const found = await list(other.uri(), { login: true, secret: other.pin });
    const of = (label: string): KeyInfo | undefined => found.find((one) => one.label === label);
    expect(of('card')).toMatchObject({ type: 'P-384', alwaysAuthenticate: true, certificate: false });
    expect(of('edwards')).toMatchObject({ type: 'key type 0x40' });
  });

  test('public keys of junk: no size that nobody could use', async () => {
    const odd = await token.addToken({ tokenLabel: 'odd' });
    const MODULI: Readonly<Record<string, Buffer>> = {
      zero: Buffer.alloc(256),
      tiny: Buffer.of(0x0f),
      huge: Buffer.alloc(65_536, 0xff),
      empty: Buffer.alloc(0),
      usable: Buffer.alloc(384, 0xff),
    };
    withRaw(odd, ({ pkcs11: driver, session }) => {
      for (const [label, modulus] of Object.entries(MODULI)) {
        driver.C_CreateObject(session, [
          { type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_PUBLIC_KEY },
          { type: pkcs11js.CKA_KEY_TYPE, value: pkcs11js.CKK_RSA },
          { type: pkcs11js.CKA_TOKEN, value: true },
          { type: pkcs11js.CKA_PRIVATE, value: false },
          { type: pkcs11js.CKA_LABEL, value: label },
          { type: pkcs11js.CKA_MODULUS, value: modulus },
          { type: pkcs11js.CKA_PUBLIC_EXPONENT, value: Buffer.of(1, 0, 1) },
        ]);
      }
    });
    const found = (await list(odd.uri({ type: 'public' }))) as ListedKey[];
    expect(Object.fromEntries(found.map(({ label, type }) => [label, type]))).toEqual({
      zero: 'RSA',
      tiny: 'RSA',
      huge: 'RSA',
      empty: 'RSA',
      usable: 'RSA-3072',
    });
  });

  test('what is not there, and a login on whatever is there', async () => {
    expect((await failure(list(token.uri({ serial: 'none' })))).code).toBe('ERR_TOKEN_NOT_FOUND');
    const whatever = `pkcs11:?module-path=${token.modulePath}`;
    expect((await failure(list(whatever, { login: true, secret: token.pin }))).code).toBe('ERR_TOKEN_AMBIGUOUS');
    expect((await failure(list(token.uri(), { login: true }))).code).toBe('ERR_SECRET_REQUIRED');
    expect((await failure(list(token.uri({ type: 'data' })))).code).toBe('ERR_URI_INVALID');
  });

  describe('holdfast list', () => {
    test('for people: a transcript', async () => {
      const { status, stdout, stderr } = await cli([token.uri()]);
      const [, serial = ''] = /serial=([0-9a-f]+)/.exec(stdout) ?? [];
      const [, slot = ''] = /slot (\d+)\)/.exec(stdout) ?? [];
      const at = (object: string): string =>
        `pkcs11:token=prod;serial=${serial}${object}?module-path=${token.modulePath}`;
      const head = stdout.split('\n  key')[0]?.split('\n');
      expect(head?.[0]).toBe(`token "prod" (SoftHSM project, SoftHSM v2, serial ${serial}, slot ${slot})`);
      expect(head?.[1]).toBe('  PIN: ok; needs a login');
      expect(head?.[2]).toMatch(/^ {2}signs with: CKM_RSA_PKCS .*CKM_ECDSA$/);
      expect(head?.[3]).toBe(`  ${at('')}`);
      expect(stdout).toContain(
        `  key "web" (id 01): P-256, with a certificate, only its public half shows\n    ${at(';id=%01;object=web')}\n`,
      );
      expect(stdout).toContain('  key "mail" (id 02): RSA-2048, without a certificate, only its public half shows\n');
      expect(stdout).toContain(
        `  certificate "web" (id 01): CN=build-01, valid until 2040-01-02T03:04:05Z\n    ${at(';id=%01;object=web;type=cert')}\n`,
      );
      expect(stdout).toContain('  certificate "rubbish" (id 72756262697368): cannot be read\n');
      expect(stdout.replaceAll('\n', '')).not.toMatch(/\p{Cc}/u);
      expect(stderr).toBe(
        'holdfast: note: private keys may be hidden until somebody logs in: --login, with the URI of one token\n',
      );
      expect(status).toBe(0);
    });

    test('--json: one line, the same facts', async () => {
      const { status, stdout, stderr } = await cli([token.uri({ object: 'web' }), '--json']);
      expect(stdout.endsWith('\n') && stdout.trim().split('\n').length === 1).toBe(true);
      const found = JSON.parse(stdout) as Record<string, unknown>[];
      expect(found).toEqual([
        {
          kind: 'key',
          uri: expect.stringContaining('object=web'),
          label: 'web',
          id: '01',
          type: 'P-256',
          privateSeen: false,
          certificate: true,
        },
        {
          kind: 'certificate',
          uri: expect.stringContaining('type=cert'),
          label: 'web',
          id: '01',
          subject: 'CN=build-01',
          notAfter: '2040-01-02T03:04:05Z',
        },
      ]);
      expect([status, stderr]).toEqual([0, '']);
    });

    test('--login with the PIN of the URI, which is not printed', async () => {
      const { status, stdout, stderr } = await cli([token.uri({}, { 'pin-value': token.pin }), '--login']);
      expect([status, stderr]).toEqual([0, '']);
      expect(stdout).toContain('  key "web" (id 01): P-256, with a certificate\n');
      expect(stdout).not.toContain(token.pin);
    });

    test('a wrong PIN is only met with --login', async () => {
      const uri = other.uri({}, { 'pin-value': `${other.pin}-not` });
      expect((await cli([uri])).status).toBe(0);
      expect((await cli([uri, '--login'])).status).toBe(4);
      expect((await cli([other.uri()])).stdout).toContain('PIN: count low; needs a login');
    });

    test('the module of --pkcs11-lib', async () => {
      const { status, stdout } = await cli(['pkcs11:token=spare', '--pkcs11-lib', token.modulePath]);
      expect(status).toBe(0);
      expect(stdout).toMatch(/^token "spare"/);
    });

    test('a module that is none: what the linker says of it, on one line', async () => {
      const path = join(token.dir, 'text.so');
      writeFileSync(path, `${'a text, and no library '.repeat(100)}\n`);
      const { status, stderr } = await cli([`pkcs11:?module-path=${path}&pin-value=${token.pin}`]);
      const [first = ''] = stderr.split('\n');
      expect(first).toMatch(
        /^holdfast: error: \S+text\.so cannot be loaded as a PKCS#11 module: \S.* \(ERR_MODULE_FAILED\)$/,
      );
      expect([status, first.split('text.so').length, stderr.includes(token.pin)]).toEqual([3, 2, false]);
    });

    test('nothing to list, nothing that can list', async () => {
      expect(await cli([])).toMatchObject({ status: 2, stdout: '', stderr: expect.stringContaining('ERR_USAGE') });
      expect(await cli(['./key.pem'])).toMatchObject({
        status: 2,
        stderr: expect.stringContaining('(ERR_STORE_INCAPABLE)'),
      });
      const none = await cli([token.uri({ object: 'nobody' })]);
      expect(none).toMatchObject({ status: 0, stdout: '' });
      expect(none.stderr).toContain('there is nothing that the URI fits');
    });
  });
});
