import { readFile } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { canaries } from '../helpers/canaries.ts';
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
  type Wants,
  writeBlobs,
} from '../helpers/tpm-interop.ts';
import { flush, loadedIn, makePersistentStorage, makeStorage, makeTpmKey } from '../helpers/tpm-keys.ts';

const describeTpm = await describeUnless('swtpm');

const { pin } = canaries;
const BY_POLICY = 'fixedtpm|fixedparent|sensitivedataorigin|sign|noda';

describeTpm('key files of tpm2-tools and of holdfast', () => {
  let tpm: TestTpm;
  /** The authValue, as tpm2-tools take it. */
  let secret: string;
  beforeAll(async () => {
    tpm = await startTpm();
    await makePersistentStorage(tpm, STORAGE);
    await makeStorage(tpm, 'owner.ctx', {});
    await tpm.tool('tpm2_createpolicy', '--policy-pcr', '-l', PCRS, '-L', 'pcr.policy');
    await flush(tpm);
    secret = await tpm.secret(pin);
  }, 60_000);
  afterAll(() => tpm?.remove());
  afterEach(async () => {
    expect(await loadedIn(tpm)).toBe('');
  });

  describe('their file: holdfast signs, openssl verifies with the public key of tpm2_readpublic', () => {
    test.each(COMBINATIONS)('%s, %s, below %s', async (type, wants, parent) => {
      const { file } = await makeTpmKey(tpm, {
        type,
        ...(parent === 'owner' ? {} : { parent }),
        ...(wants === 'auth' ? { auth: pin, counted: true } : {}),
        ...(wants === 'PCR policy' ? { policy: 'pcr.policy', attributes: BY_POLICY } : {}),
      });
      const publicPem = file.replace(/tpm$/, 'pem');
      await holdfastSigns(tpm, uriOf(tpm, file, wants), publicPem, wants === 'auth' ? pin : undefined);
    });
  });

  const SCHEMES = { 'P-256': 'ecdsa', 'RSA-2048': 'rsassa' } as const;

  const sign = (type: KeyType, wants: Wants): Parameters<typeof otherSigns>[2] => {
    const auth = { 'no auth': [], auth: ['-p', secret], 'PCR policy': ['-p', `pcr:${PCRS}`] }[wants];
    const how = ['-g', 'sha256', '-s', SCHEMES[type], '-f', 'plain', ...auth];
    return async (message, signature) => {
      await tpm.tool('tpm2_sign', '-c', 'ours.ctx', ...how, '-o', signature, message);
      return readFile(signature);
    };
  };

  /** What tpm2_sign says when it is not given what the key wants. */
  const WITHOUT = { 'no auth': undefined, auth: 'Eys_Sign(0x98E)', 'PCR policy': 'Eys_Sign(0x12F)' } as const;

  describe('our file: tpm2_load takes what is in it, tpm2_sign signs', () => {
    test.each(COMBINATIONS)('%s, %s, below %s', async (type, wants, parent) => {
      const { file, publicKey } = await makeOurs(tpm, type, wants, parent, pin);
      const [area, sealed] = await writeBlobs(tpm, file);
      const storage = parent === 'owner' ? 'owner.ctx' : parent;
      await tpm.tool('tpm2_load', '-C', storage, '-u', area, '-r', sealed, '-c', 'ours.ctx');
      await flush(tpm);
      await otherSigns(tpm, publicKey, sign(type, wants));
      // Whether the key wants what it is said to want.
      const without = WITHOUT[wants];
      if (without) expect(await gapOf(tpm, otherSigns(tpm, publicKey, sign(type, 'no auth')))).toContain(without);
      await tpm.tool('tpm2_dictionarylockout', '--clear-lockout');
    });
  });

  describe('our file: tpm2_load takes it as it is', () => {
    test.each(COMBINATIONS.filter(([, wants]) => wants !== 'PCR policy'))(
      '%s, %s, below %s',
      async (type, wants, parent) => {
        const { file, publicKey } = await makeOurs(tpm, type, wants, parent, pin);
        await tpm.tool('tpm2_load', '-r', file, '-c', 'ours.ctx');
        await flush(tpm);
        await otherSigns(tpm, publicKey, sign(type, wants));
      },
    );

    test.each([
      ['a policy', 'PCR policy', 'owner', 'ERROR: Unable to fetch public/private portions of TSS PRIVKEY'],
      ['the null hierarchy', 'no auth', 'null', 'ERROR: Unable to fetch TR Handle for persistent parent'],
    ] as const)('but for %s: a gap of tpm2-tools 5.4', async (_, wants, parent, says) => {
      const { file } = await makeOurs(tpm, 'P-256', wants, parent, pin);
      expect(await gapOf(tpm, tpm.tool('tpm2_load', '-r', file, '-c', 'ours.ctx'))).toContain(says);
    });
  });
});
