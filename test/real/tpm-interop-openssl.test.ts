import { createPublicKey } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { persist, remove } from '../../src/stores/tpm/index.ts';
import { parseKeyUri } from '../../src/uri.ts';
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
  PCRS,
  STORAGE,
  uriOf,
} from '../helpers/tpm-interop.ts';
import { flush, loadedIn, makePersistentStorage, makeTpmKey } from '../helpers/tpm-keys.ts';

const describeTpm = await describeUnless('tpm2-openssl');

const PROVIDERS = ['-provider', 'tpm2', '-provider', 'default'];
const ALGORITHMS: Readonly<Record<KeyType, readonly string[]>> = {
  'P-256': ['-algorithm', 'EC', '-pkeyopt', 'group:P-256'],
  'RSA-2048': ['-algorithm', 'RSA', '-pkeyopt', 'bits:2048'],
};
const WITHOUT_POLICY = COMBINATIONS.filter(([, wants]) => wants !== 'PCR policy');
const WITH_POLICY = COMBINATIONS.filter(([, wants]) => wants === 'PCR policy');

/** tpm2-openssl 1.1.1 has no policies: it does not know the field of a key file, and shows the TPM none. */
const GAPS = {
  // Its decoder does not take the file, so that openssl finds no key in it.
  'a policy in a file': 'Could not read private key',
  'a key that wants a policy': 'authValue or authPolicy is not available for selected entity',
  'the null hierarchy': 'Could not read private key',
} as const;

describeTpm('key files of tpm2-openssl and of holdfast', () => {
  let tpm: TestTpm;
  /** The authValue, as openssl takes it. */
  let secret: string;
  beforeAll(async () => {
    tpm = await startTpm();
    await makePersistentStorage(tpm, STORAGE);
    await tpm.tool('tpm2_createpolicy', '--policy-pcr', '-l', PCRS, '-L', 'pcr.policy');
    await flush(tpm);
    secret = await tpm.secret(shown);
  }, 60_000);
  afterAll(() => tpm?.remove());
  afterEach(async () => {
    expect(await loadedIn(tpm)).toBe('');
  });

  /** With pkeyutl, which hashes, too. */
  const pkeyutl =
    (key: string): Parameters<typeof otherSigns>[2] =>
    async (message, signature) => {
      const how = ['-sign', '-inkey', key, '-passin', secret, '-rawin', '-digest', 'sha256'];
      await tpm.tool('openssl', 'pkeyutl', ...PROVIDERS, ...how, '-in', message, '-out', signature);
      return readFile(signature);
    };

  /** With dgst, which finds the key's own provider only when it is told. */
  const dgst =
    (key: string): Parameters<typeof otherSigns>[2] =>
    async (message, signature) => {
      const how = ['-propquery', '?provider=tpm2', '-passin', secret, '-sha256', '-sign', key];
      await tpm.tool('openssl', 'dgst', ...PROVIDERS, ...how, '-out', signature, message);
      return readFile(signature);
    };

  describe('their file: holdfast signs, openssl verifies with the public key of openssl pkey', () => {
    test.each(WITHOUT_POLICY)('%s, %s, below %s', async (type, wants, parent) => {
      const file = join(tpm.dir, 'theirs.tpm');
      const publicPem = `${file}.pem`;
      const options = [
        // There is no other way to give it.
        ...(wants === 'auth' ? ['-pkeyopt', `user-auth:${shown}`] : []),
        ...(parent === 'owner' ? [] : ['-pkeyopt', `parent:${parent}`]),
      ];
      await tpm.tool('openssl', 'genpkey', ...PROVIDERS, ...ALGORITHMS[type], ...options, '-out', file);
      await flush(tpm);
      const read = ['-in', file, '-passin', secret, '-pubout', '-out', publicPem];
      await tpm.tool('openssl', 'pkey', ...PROVIDERS, ...read);
      await flush(tpm);
      await holdfastSigns(tpm, uriOf(tpm, file, wants), publicPem, wants === 'auth' ? shown : undefined);
      await otherSigns(tpm, createPublicKey(await readFile(publicPem)), pkeyutl(file));
    });

    // genpkey makes no key with a policy; tpm2-tools do, and leave the policy out of the file, so that tpm2-openssl reads it.
    test.each(WITH_POLICY)('%s, %s, below %s: a gap', async (type, wants, parent) => {
      const { file, publicKey } = await makeTpmKey(tpm, {
        type,
        policy: 'pcr.policy',
        attributes: 'fixedtpm|fixedparent|sensitivedataorigin|sign|noda',
        ...(parent === 'owner' ? {} : { parent }),
      });
      await holdfastSigns(tpm, uriOf(tpm, file, wants), file.replace(/tpm$/, 'pem'));
      const said = await gapOf(tpm, otherSigns(tpm, publicKey, pkeyutl(file)));
      expect(said).toContain(GAPS['a key that wants a policy']);
    });
  });

  describe('our file: openssl signs with it', () => {
    test.each(WITHOUT_POLICY)('%s, %s, below %s', async (type, wants, parent) => {
      const { file, publicKey } = await makeOurs(tpm, type, wants, parent, shown);
      await otherSigns(tpm, publicKey, pkeyutl(file));
      await otherSigns(tpm, publicKey, dgst(file));
      const shownKey = await tpm.tool('openssl', 'pkey', ...PROVIDERS, '-in', file, '-passin', secret, '-pubout');
      await flush(tpm);
      expect(createPublicKey(shownKey).equals(publicKey)).toBe(true);
    });

    test.each(WITH_POLICY)('%s, %s, below %s: a gap', async (type, wants, parent) => {
      const { file, publicKey } = await makeOurs(tpm, type, wants, parent, shown);
      const said = await gapOf(tpm, otherSigns(tpm, publicKey, pkeyutl(file)));
      expect(said).toContain(GAPS['a policy in a file']);
    });

    test('below the null hierarchy: a gap', async () => {
      const { file, publicKey } = await makeOurs(tpm, 'P-256', 'no auth', 'null', shown);
      expect(await gapOf(tpm, otherSigns(tpm, publicKey, pkeyutl(file)))).toContain(GAPS['the null hierarchy']);
    });
  });

  describe('our file, put at a handle by holdfast: openssl signs with that', () => {
    test.each(COMBINATIONS.filter(([, , parent]) => parent === 'owner'))('%s, %s', async (type, wants) => {
      const { file, publicKey } = await makeOurs(tpm, type, wants, 'owner', shown);
      const uri = await persist(parseKeyUri(`tpm:file=${file}?${tpm.query}`), 0x81010001);
      try {
        // A question mark for a key that has an authValue.
        const signed = otherSigns(tpm, publicKey, pkeyutl(`handle:0x81010001${wants === 'auth' ? '?pass' : ''}`));
        if (wants === 'PCR policy') expect(await gapOf(tpm, signed)).toContain(GAPS['a key that wants a policy']);
        else await signed;
      } finally {
        await remove(uri);
      }
    });
  });
});
