import { type KeyObject, randomBytes, verify } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { openKey } from '../../src/stores/index.ts';
import type { OpenOptions } from '../../src/stores/store.ts';
import { CC } from '../../src/stores/tpm/constants.ts';
import { create } from '../../src/stores/tpm/index.ts';
import { readKeyFile } from '../../src/stores/tpm/key-file.ts';
import { pcrSelection } from '../../src/stores/tpm/policy.ts';
import { writeKeyFile } from '../../src/stores/tpm/write-key-file.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { canaries } from '../helpers/canaries.ts';
import { describeUnless } from '../helpers/exercised.ts';
import { startTpm, type TestTpm } from '../helpers/swtpm.ts';
import { flush, loadedIn, makePersistentStorage, makeTpmKey } from '../helpers/tpm-keys.ts';
import { failure } from '../stores/conformance.ts';

const describeTpm = await describeUnless('swtpm');
let tpm: TestTpm;
const storageAuth = canaries.passphrase.slice(0, 20);

describeTpm('keys of a TPM', () => {
  beforeAll(async () => {
    tpm = await startTpm();
    await makePersistentStorage(tpm, '0x81000001');
    await makePersistentStorage(tpm, '0x81000002', storageAuth);
  }, 60_000);
  afterAll(() => tpm?.remove());
  // Whatever a test did, nothing stays in the TPM.
  afterEach(async () => {
    expect(await loadedIn(tpm)).toBe('');
  });

  async function signs(uri: string, publicKey: KeyObject, options: OpenOptions = {}): Promise<void> {
    const key = await openKey(uri, options);
    try {
      const message = randomBytes(50);
      expect(verify('sha256', message, publicKey, await key.sign(message))).toBe(true);
      const spki = publicKey.export({ type: 'spki', format: 'der' });
      expect(Buffer.from(key.publicKey as Uint8Array).equals(spki)).toBe(true);
    } finally {
      await key.close();
    }
  }

  const at = (path: string, more = ''): string => `tpm:${path}?${tpm.query}${more}`;

  describe('key files of tpm2-tools', () => {
    test.each([
      ['P-256 below the P-256 storage key', { type: 'P-256' }],
      ['P-256 below the P-256 storage key without noDA', { type: 'P-256', storageNoDa: false }],
      ['P-256 below the RSA-2048 storage key', { type: 'P-256', storage: 'rsa2048' }],
      [
        'RSA-2048 below the RSA-2048 storage key without noDA',
        { type: 'RSA-2048', storage: 'rsa2048', storageNoDa: false },
      ],
      ['P-256 below the null hierarchy', { type: 'P-256', hierarchy: 'n' }],
      ['P-256 below the endorsement hierarchy', { type: 'P-256', hierarchy: 'e' }],
      ['RSA-2048 below a persistent storage key', { type: 'RSA-2048', parent: '0x81000001' }],
      ['a fixed scheme', { type: 'P-256', scheme: 'ecdsa-sha256' }],
      ['RSA with a fixed scheme', { type: 'RSA-2048', scheme: 'rsassa-sha256' }],
    ] as const)('%s', async (_, options) => {
      const key = await makeTpmKey(tpm, options);
      let file = key.file;
      if ('hierarchy' in options)
        file = await withParent(key.file, options.hierarchy === 'e' ? 0x4000000b : 0x40000007);
      else if (!('parent' in options)) file = await withParent(key.file, 0x40000001);
      await signs(at(`file=${file}`), key.publicKey);
      if ('scheme' in options) {
        const open = await openKey(at(`file=${file}`));
        const error = await failure(open.sign(randomBytes(3), 'SHA-384'));
        expect(error).toMatchObject({ code: 'ERR_KEY_UNSUPPORTED', message: expect.stringContaining('SHA-256 alone') });
        await open.close();
      }
    });

    test('of another TPM', async () => {
      const other = await startTpm();
      try {
        const { file } = await makeTpmKey(other, { type: 'P-256' });
        const error = await failure(openKey(at(`file=${await withParent(file, 0x40000001)}`)));
        expect(error).toMatchObject({ code: 'ERR_KEY_INVALID', message: expect.stringContaining('TPM_RC_INTEGRITY') });
      } finally {
        await other.remove();
      }
    });

    test('below a storage key with an authValue', async () => {
      const key = await makeTpmKey(tpm, { type: 'P-256', parent: '0x81000002', parentAuth: storageAuth });
      const secretFile = join(tpm.dir, 'storage.secret');
      await writeFile(secretFile, `${storageAuth}\n`, { mode: 0o600 });
      await signs(at(`file=${key.file}`, `&parent-pin-source=file:${secretFile}`), key.publicKey);
      const error = await failure(openKey(at(`file=${key.file}`)));
      expect(error).toMatchObject({
        code: 'ERR_SECRET_WRONG',
        message: expect.stringContaining('storage key 0x81000002'),
      });
    });

    // The sessions are salted to them: RSA-OAEP, and ECDH on another curve with another hash.
    test.each([
      ['RSA-2048', '0x81000010', 'rsa2048:null:aes128cfb'],
      ['RSA-2048 with AES-256', '0x81000011', 'rsa2048:null:aes256cfb'],
      ['P-384', '0x81000012', 'ecc384:null:aes128cfb'],
    ])('below a persistent storage key of %s', async (_, handle, algorithm) => {
      await makePersistentStorage(tpm, handle, storageAuth, { algorithm });
      const key = await makeTpmKey(tpm, { type: 'P-256', parent: handle, parentAuth: storageAuth, auth: canaries.pin });
      const options = { secret: canaries.pin };
      await signs(
        at(`file=${key.file}`, `&parent-pin-value=${encodeURIComponent(storageAuth)}`),
        key.publicKey,
        options,
      );
      const uri = at(
        `file=${tpm.dir}/below-${handle}.tpm;parent=${handle}`,
        `&parent-pin-value=${encodeURIComponent(storageAuth)}`,
      );
      const made = await create(parseKeyUri(uri), { keyType: 'P-256', ...options });
      await (await openKey(`${made.toString()}&parent-pin-value=${encodeURIComponent(storageAuth)}`, options)).close();
    });

    test('below a persistent key that is not there', async () => {
      const key = await makeTpmKey(tpm, { type: 'P-256', parent: '0x81000001' });
      const error = await failure(openKey(at(`file=${await withParent(key.file, 0x81004444)}`)));
      expect(error).toMatchObject({ code: 'ERR_KEY_NOT_FOUND', message: expect.stringContaining('0x81004444') });
    });
  });

  /** The parent is the last INTEGER of the file. */
  async function withParent(file: string, parent: number): Promise<string> {
    const text = await readFile(file, 'utf8');
    const der = Buffer.from(text.replace(/-----[^-]+-----|\s/g, ''), 'base64');
    // Context fields first; then INTEGER of four or five octets.
    const four = der.indexOf(Buffer.from('0204', 'hex'));
    const five = der.indexOf(Buffer.from('020500', 'hex'));
    const start = five >= 0 && five < 60 ? five + 3 : four + 2;
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(parent);
    const long = parent >= 0x80000000 && start === four + 2;
    if (long) throw new Error('the number needs five octets');
    bytes.copy(der, start);
    const copy = `${file}.${parent.toString(16)}`;
    await writeFile(
      copy,
      `-----BEGIN TSS2 PRIVATE KEY-----\n${der.toString('base64')}\n-----END TSS2 PRIVATE KEY-----\n`,
    );
    return copy;
  }

  describe('keys that do not sign what a Signer signs', () => {
    const base = 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda';
    test.each([
      ['only decrypts', { type: 'RSA-2048', attributes: `${base}|decrypt` }],
      ['restricted', { type: 'P-256', attributes: `${base}|sign|restricted`, scheme: 'ecdsa-sha256:null' }],
      ['RSA-PSS', { type: 'RSA-2048', scheme: 'rsapss-sha256:null' }],
    ] as const)('%s', async (words, options) => {
      const key = await makeTpmKey(tpm, options);
      const error = await failure(openKey(at(`file=${key.file}`)));
      expect(error).toMatchObject({ code: 'ERR_KEY_UNSUPPORTED', message: expect.stringContaining(words) });
    });

    test('a storage key', async () => {
      const error = await failure(openKey(at('handle=0x81000001')));
      expect(error).toMatchObject({ code: 'ERR_KEY_UNSUPPORTED', message: expect.stringContaining('storage key') });
    });
  });

  describe('policies', () => {
    beforeAll(async () => {
      await tpm.tool('tpm2_createpolicy', '--policy-pcr', '-l', 'sha256:0,23', '-L', 'pcr.policy');
      await tpm.tool('tpm2_startauthsession', '-S', 's.ctx');
      await tpm.tool('tpm2_policyauthvalue', '-S', 's.ctx', '-L', 'auth.policy');
      await tpm.tool('tpm2_flushcontext', 's.ctx');
      await tpm.tool('tpm2_startauthsession', '-S', 's.ctx');
      await tpm.tool('tpm2_policypcr', '-S', 's.ctx', '-l', 'sha256:0,23');
      await tpm.tool('tpm2_policypassword', '-S', 's.ctx', '-L', 'both.policy');
      await tpm.tool('tpm2_flushcontext', 's.ctx');
      await flush(tpm);
    });
    const attributes = 'fixedtpm|fixedparent|sensitivedataorigin|sign';

    test('PCRs', async () => {
      const key = await makeTpmKey(tpm, { type: 'P-256', attributes, policy: 'pcr.policy' });
      await signs(at(`file=${key.file}`, '&pcr=sha256:0,23'), key.publicKey);
      await signs(at(`file=${key.file}`, '&pcr=sha256:0,23&session=password'), key.publicKey);
      expect(await failure(openKey(at(`file=${key.file}`, '&pcr=sha256:0,22')))).toMatchObject({
        code: 'ERR_KEY_POLICY',
      });
      expect(await failure(openKey(at(`file=${key.file}`)))).toMatchObject({ code: 'ERR_KEY_POLICY' });
    });

    test('PCRs and a password', async () => {
      const key = await makeTpmKey(tpm, { type: 'RSA-2048', attributes, policy: 'both.policy', auth: canaries.pin });
      const uri = at(`file=${key.file}`, '&pcr=sha256:0,23');
      await signs(uri, key.publicKey, { secret: canaries.pin });
      expect(await failure(openKey(uri, { secret: 'wrong' }))).toMatchObject({ code: 'ERR_SECRET_WRONG' });
      await tpm.tool('tpm2_dictionarylockout', '--clear-lockout');
    });

    test('a key file that says its policy, with a password in it', async () => {
      const key = await makeTpmKey(tpm, { type: 'P-256', attributes, policy: 'both.policy', auth: canaries.pin });
      const found = readKeyFile(await readFile(key.file), 'key file');
      const pcrs = { command: CC.PolicyPCR, parameters: pcrSelection('sha256:0,23').bytes };
      const policy = [pcrs, { command: CC.PolicyPassword, parameters: Buffer.alloc(0) }];
      const file = `${key.file}.policy`;
      await writeFile(file, writeKeyFile({ ...found, policy, emptyAuth: false }));
      await signs(at(`file=${file}`), key.publicKey, { secret: canaries.pin });
    });

    test('an authValue by policy alone', async () => {
      const key = await makeTpmKey(tpm, {
        type: 'P-256',
        attributes: `${attributes}|noda`,
        policy: 'auth.policy',
        auth: canaries.pin,
      });
      await signs(at(`file=${key.file}`), key.publicKey, { secret: canaries.pin });
      expect(await failure(openKey(at(`file=${key.file}`)))).toMatchObject({ code: 'ERR_SECRET_REQUIRED' });
    });

    test('PCRs that change while the key is open', async () => {
      const uri = await create(parseKeyUri(at(`file=${tpm.dir}/changing.tpm`, '&pcr=sha256:23')), { keyType: 'P-256' });
      const key = await openKey(uri);
      await key.sign(randomBytes(3));
      await new Promise((resolve) => setTimeout(resolve, 100));
      await tpm.tool('tpm2_pcrextend', `23:sha256=${'11'.repeat(32)}`);
      expect(await failure(key.sign(randomBytes(3)))).toMatchObject({ code: 'ERR_KEY_POLICY' });
      await key.close();
      await tpm.tool('tpm2_pcrreset', '23');
      await (await openKey(uri)).close();
    });
  });
});
