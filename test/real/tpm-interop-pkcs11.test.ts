import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { shown } from '../helpers/canaries.ts';
import { describeUnless } from '../helpers/exercised.ts';
import { startTpm, type TestTpm } from '../helpers/swtpm.ts';
import {
  COMBINATIONS,
  gapOf,
  holdfastSigns,
  type KeyType,
  makeOurs,
  otherSigns,
  STORAGE,
  uriOf,
  writeBlobs,
} from '../helpers/tpm-interop.ts';
import { loadedIn, makePersistentStorage } from '../helpers/tpm-keys.ts';
import { idIn, makePtoolStore, type PtoolStore } from '../helpers/tpm2-ptool.ts';

const describeTpm = await describeUnless('tpm2-ptool');

const MECHANISMS: Readonly<Record<KeyType, readonly string[]>> = {
  'P-256': ['ECDSA-SHA256', '--signature-format', 'openssl'],
  'RSA-2048': ['SHA256-RSA-PKCS'],
};

/** Each of its keys has an authValue, which the token keeps sealed: there is none without, and none with a policy. */
const THEIRS = [
  ['P-256', 'ecc256'],
  ['RSA-2048', 'rsa2048'],
] as const;

/** tpm2-pkcs11 1.9.0 and the tpm2-pytss 1.2.0 that it reads key files with. */
const GAPS = {
  'a policy in a file': 'while parsing tpm2_pytss.tsskey._tssprivkey_der',
  'a key that wants a policy': 'authValue or authPolicy is not available for selected entity',
  'keys below a hierarchy given out': 'TypeError: expected str, bytes or os.PathLike object, not dict',
} as const;

describeTpm('key files of tpm2-pkcs11 and of holdfast', () => {
  let tpm: TestTpm;
  const stores = new Map<string, PtoolStore>();
  const storeBelow = (parent: string): PtoolStore => stores.get(parent) as PtoolStore;
  beforeAll(async () => {
    tpm = await startTpm();
    await makePersistentStorage(tpm, STORAGE);
    stores.set(STORAGE, await makePtoolStore(tpm, 'persistent', '--primary-handle', STORAGE));
    // The P-256 storage key with noDA, which it makes each time.
    stores.set('owner', await makePtoolStore(tpm, 'owner', '--transient-parent', 'tss2-engine-key'));
  }, 60_000);
  afterAll(() => tpm?.remove());
  afterEach(async () => {
    expect(await loadedIn(tpm)).toBe('');
  });

  const tokenSigns =
    (store: PtoolStore, id: string, type: KeyType): Parameters<typeof otherSigns>[2] =>
    async (message, signature) => {
      const how = ['--sign', '--mechanism', ...MECHANISMS[type]];
      await store.onKey(id, ...how, '--input-file', message, '--output-file', signature);
      return readFile(signature);
    };

  describe('their key, given out by tpm2_ptool export: both sign', () => {
    test.each(THEIRS)('%s, auth, below a persistent storage key', async (type, algorithm) => {
      const store = storeBelow(STORAGE);
      const id = idIn(await store.ptool('addkey', `--algorithm=${algorithm}`, `--key-label=${type}`));
      const publicKey = await store.publicKeyOf(id);
      const [prefix, publicPem] = [join(tpm.dir, type), join(tpm.dir, `${type}.public`)];
      await writeFile(publicPem, publicKey.export({ type: 'spki', format: 'pem' }));
      const said = await store.ptool('export', `--key-label=${type}`, '--format=pem', '--output-prefix', prefix);
      const secret = /object-auth: '?([0-9a-f]+)/.exec(said)?.[1];
      expect(secret).toHaveLength(32);
      await holdfastSigns(tpm, uriOf(tpm, `${prefix}.pem`, 'auth'), publicPem, secret);
      await otherSigns(tpm, publicKey, tokenSigns(store, id, type));
    });

    test.each(THEIRS)('%s, auth, below the owner hierarchy: a gap', async (type, algorithm) => {
      const store = storeBelow('owner');
      const id = idIn(await store.ptool('addkey', `--algorithm=${algorithm}`, `--key-label=${type}`));
      await otherSigns(tpm, await store.publicKeyOf(id), tokenSigns(store, id, type));
      const prefix = join(tpm.dir, `${type}.gap`);
      const given = store.ptool('export', `--key-label=${type}`, '--format=pem', '--output-prefix', prefix);
      expect(await gapOf(tpm, given)).toContain(GAPS['keys below a hierarchy given out']);
    });
  });

  describe('our file, linked into the token: both sign', () => {
    test.each(COMBINATIONS.filter(([, wants]) => wants !== 'PCR policy'))(
      '%s, %s, below %s',
      async (type, wants, parent) => {
        const store = storeBelow(parent);
        const { file, publicKey } = await makeOurs(tpm, type, wants, parent, shown);
        const id = idIn(await store.ptool('link', ...(wants === 'auth' ? ['--auth', shown] : []), file));
        await otherSigns(tpm, publicKey, tokenSigns(store, id, type));
        const publicPem = `${file}.pem`;
        await writeFile(publicPem, publicKey.export({ type: 'spki', format: 'pem' }));
        await holdfastSigns(tpm, uriOf(tpm, file, wants), publicPem, wants === 'auth' ? shown : undefined);
      },
    );

    test.each([
      ['P-256', 'owner'],
      ['RSA-2048', STORAGE],
    ] as const)('%s, PCR policy, below %s: a gap', async (type, parent) => {
      const store = storeBelow(parent);
      const { file, publicKey } = await makeOurs(tpm, type, 'PCR policy', parent, shown);
      expect(await gapOf(tpm, store.ptool('link', file))).toContain(GAPS['a policy in a file']);
      // Nor does it help to give it the two parts.
      const id = idIn(await store.ptool('link', ...(await writeBlobs(tpm, file))));
      const said = await gapOf(tpm, otherSigns(tpm, publicKey, tokenSigns(store, id, type)));
      expect(said).toContain(GAPS['a key that wants a policy']);
    });
  });
});
