import { createPublicKey, type KeyObject, randomBytes, verify } from 'node:crypto';
import { existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { openKey } from '../../src/stores/index.ts';
import type { KeySpec } from '../../src/stores/store.ts';
import { CC } from '../../src/stores/tpm/constants.ts';
import { create, list, persist, readPublic, remove } from '../../src/stores/tpm/index.ts';
import { type KeyUri, parseKeyUri } from '../../src/uri.ts';
import { canaries } from '../helpers/canaries.ts';
import { describeUnless } from '../helpers/exercised.ts';
import { startTpm, type TestTpm } from '../helpers/swtpm.ts';
import { listenBetween } from '../helpers/tpm-bus.ts';
import { countedTries, loadedIn, makePersistentStorage } from '../helpers/tpm-keys.ts';
import { failure } from '../stores/conformance.ts';

const describeTpm = await describeUnless('swtpm');
let tpm: TestTpm;
const at = (path: string, more = ''): string => `tpm:${path}?${tpm.query}${more}`;

describeTpm('making keys in a TPM', () => {
  beforeAll(async () => {
    tpm = await startTpm();
    await makePersistentStorage(tpm, '0x81000001');
  }, 60_000);
  afterAll(() => tpm?.remove());
  // Whatever a test did, nothing stays in the TPM.
  afterEach(async () => {
    expect(await loadedIn(tpm)).toBe('');
  });

  async function signs(uri: string, publicKey: KeyObject): Promise<void> {
    const key = await openKey(uri);
    try {
      const message = randomBytes(50);
      expect(verify('sha256', message, publicKey, await key.sign(message))).toBe(true);
    } finally {
      await key.close();
    }
  }

  const publicKeyOf = async (uri: KeyUri): Promise<KeyObject> =>
    createPublicKey({ key: Buffer.from(await readPublic(uri)), format: 'der', type: 'spki' });

  describe('making keys', () => {
    test.each(['P-256', 'P-384', 'RSA-2048'] as const)('%s in a file, and with a secret', async (keyType: KeySpec) => {
      const path = join(tpm.dir, `made-${keyType}.tpm`);
      const uri = await create(parseKeyUri(at(`file=${path}`)), { keyType });
      expect(uri.toString()).toBe(at(`file=${path}`));
      expect((await stat(path)).mode & 0o777).toBe(0o600);
      const publicKey = await publicKeyOf(uri);
      await signs(uri.toString(), publicKey);
      expect(await failure(create(uri, { keyType }))).toMatchObject({ code: 'ERR_KEY_EXISTS' });

      const secured = await create(parseKeyUri(at(`file=${path}.2;parent=0x81000001`, `&pin-value=${canaries.pin}`)), {
        keyType,
      });
      expect(secured.toString()).not.toContain('pin');
      const error = await failure(openKey(secured));
      expect(error).toMatchObject({ code: 'ERR_SECRET_REQUIRED' });
      const key = await openKey(secured, { secret: canaries.pin });
      await key.sign(randomBytes(3));
      await key.close();
      await tpm.tool('tpm2_dictionarylockout', '--clear-lockout');
    });

    test('PCRs and a secret', async () => {
      const path = join(tpm.dir, 'made-both.tpm');
      const uri = await create(parseKeyUri(at(`file=${path}`, '&pcr=sha256:0,7+sha1:1')), {
        keyType: 'P-256',
        secret: canaries.pin,
      });
      const key = await openKey(uri, { secret: canaries.pin });
      await key.sign(randomBytes(3));
      await key.close();
    });

    test.each([
      ['tpm:handle=0x81800001', 'ERR_URI_INVALID', 'not one that the owner'],
      ['tpm:handle=0x81010050;parent=null', 'ERR_URI_INVALID', 'below the null hierarchy cannot be kept'],
      ['tpm:handle=0x81010050;parent=platform', 'ERR_URI_INVALID', 'below the platform hierarchy cannot be kept'],
    ])('what cannot be kept is not made: %s', async (uri, code, message) => {
      let commands = 0;
      const bus = await listenBetween(tpm, () => {
        commands += 1;
      });
      try {
        const error = await failure(create(parseKeyUri(`${uri}?${bus.query}`), { keyType: 'P-256' }));
        expect(error).toMatchObject({ code, message: expect.stringContaining(message) });
        expect(commands).toBe(0);
      } finally {
        await bus.close();
      }
    });

    test.each([0x81010001 - 2 ** 32, Number.NaN, 0x81010001 + 0.5, 0x1_8101_0001, 0x81800000, 0x80ffffff])(
      'no handle for a key: %d',
      async (handle) => {
        const error = await failure(persist(parseKeyUri(at('file=/nowhere')), handle));
        expect(error).toMatchObject({ code: 'ERR_OPTION_INVALID', hint: expect.stringContaining('0x817fffff') });
      },
    );

    test('keys of the null hierarchy stay in files; those of the endorsement hierarchy may be kept', async () => {
      const path = join(tpm.dir, 'made-null.tpm');
      const made = await create(parseKeyUri(at(`file=${path};parent=null`)), { keyType: 'P-256' });
      expect(await failure(persist(made, 0x81010050))).toMatchObject({ code: 'ERR_URI_INVALID' });
      const kept = await create(parseKeyUri(at('handle=0x81010050;parent=endorsement')), { keyType: 'P-256' });
      await signs(String(kept), await publicKeyOf(kept));
      await remove(kept);
      expect(await failure(remove(parseKeyUri(at('handle=0x81800001'))))).toMatchObject({ code: 'ERR_URI_INVALID' });
    });

    test.each(['RSA-1024', 'P-192', ''])('no type of key: "%s"', async (keyType) => {
      const path = join(tpm.dir, 'made-weak.tpm');
      const error = await failure(create(parseKeyUri(at(`file=${path}`)), { keyType: keyType as KeySpec }));
      expect(error).toMatchObject({ code: 'ERR_OPTION_INVALID' });
      expect(existsSync(path)).toBe(false);
    });

    test('an authValue that is longer than any is refused before anything is made', async () => {
      const path = join(tpm.dir, 'made-long.tpm');
      let commands = 0;
      const bus = await listenBetween(tpm, () => {
        commands += 1;
      });
      try {
        const uri = parseKeyUri(`tpm:file=${path}?${bus.query}`);
        const error = await failure(create(uri, { keyType: 'P-256', secret: 'x'.repeat(33) }));
        expect(error).toMatchObject({
          code: 'ERR_SECRET_WRONG',
          message: expect.stringContaining('has more than 32 bytes'),
        });
        expect([commands, existsSync(path)]).toEqual([0, false]);
      } finally {
        await bus.close();
      }
    });

    test('a policy that somebody on the bus puts into the place of ours is not that of the key', async () => {
      let changed = 0;
      const bus = await listenBetween(tpm, (code, answer) => {
        if (code !== CC.PolicyGetDigest) return;
        answer.fill(0x5a, answer.length - 32);
        changed += 1;
      });
      try {
        const path = join(tpm.dir, 'made-evil.tpm');
        const error = await failure(
          create(parseKeyUri(`tpm:file=${path}?${bus.query}&pcr=sha256:0,7`), { keyType: 'P-256' }),
        );
        expect(error).toMatchObject({
          code: 'ERR_TOKEN_FAILED',
          message: expect.stringContaining('digest of a policy'),
        });
        expect([changed, existsSync(path)]).toEqual([1, false]);
      } finally {
        await bus.close();
      }
    });

    test('what the TPM does not make', async () => {
      const error = await failure(create(parseKeyUri(at(`file=${tpm.dir}/4096.tpm`)), { keyType: 'RSA-4096' }));
      expect(error).toMatchObject({ code: 'ERR_KEY_UNSUPPORTED', message: 'the TPM makes no RSA-4096 keys' });
    });

    test('at a handle; listed, removed', async () => {
      const uri = await create(parseKeyUri(at('handle=0x81010009')), { keyType: 'P-256' });
      const publicKey = await publicKeyOf(uri);
      await signs(uri.toString(), publicKey);
      await signs(`handle:0x81010009?${tpm.query}`, publicKey);
      expect(await failure(create(uri, { keyType: 'P-256' }))).toMatchObject({ code: 'ERR_KEY_EXISTS' });
      const listed = await list(parseKeyUri(at('')), {});
      expect(listed[0]).toMatchObject({
        kind: 'token',
        manufacturer: 'IBM',
        pin: expect.stringMatching(/^(ok|count low)$/),
        uri: at(''),
      });
      expect(listed.map((one) => [one.kind, one.uri, one.kind === 'key' && one.type])).toEqual(
        expect.arrayContaining([
          ['key', at('handle=0x81000001'), 'P-256, a storage key'],
          ['key', at('handle=0x81010009'), 'P-256'],
        ]),
      );
      await remove(uri);
      expect(await failure(openKey(uri))).toMatchObject({ code: 'ERR_KEY_NOT_FOUND' });
      expect(await failure(remove(uri))).toMatchObject({ code: 'ERR_KEY_NOT_FOUND' });
    });

    test('from a file to a handle, with a policy', async () => {
      const file = parseKeyUri(at(`file=${tpm.dir}/persisted.tpm`, '&pcr=sha256:0'));
      await create(file, { keyType: 'P-256' });
      const uri = await persist(parseKeyUri(at(`file=${tpm.dir}/persisted.tpm`)), 0x8101000a);
      const key = await openKey(`${uri.toString()}&pcr=sha256:0`);
      await key.sign(randomBytes(3));
      await key.close();
      await remove(uri);
    });
  });

  test('an owner with an authValue', async () => {
    await tpm.tool('tpm2_changeauth', '-c', 'owner', await tpm.secret(canaries.pin));
    try {
      const secret = `&parent-pin-value=${canaries.pin}`;
      const made = await create(parseKeyUri(at(`file=${tpm.dir}/owned.tpm`, secret)), { keyType: 'P-256' });
      expect(await failure(openKey(made))).toMatchObject({
        code: 'ERR_SECRET_WRONG',
        message: expect.stringContaining('owner'),
      });
      const publicKey = await publicKeyOf(made);
      await signs(`${made.toString()}${secret}`, publicKey);
      await persist(parseKeyUri(`${made.toString()}${secret}`), 0x8101000b);
      await signs(at('handle=0x8101000b'), publicKey);
      await remove(parseKeyUri(at('handle=0x8101000b', `&owner-pin-value=${canaries.pin}`)));
    } finally {
      await tpm.tool('tpm2_changeauth', '-c', 'owner', '-p', await tpm.secret(canaries.pin));
    }
  });

  test.each([
    ['a storage key with an authValue, an owner without', '0x81000002', 'parent', ''],
    ['an owner with an authValue, a storage key without', '0x81000001', '', 'owner'],
    ['both with another one', '0x81000002', 'parent', 'owner'],
  ])('%s', async (_, storage, ofParent, ofOwner) => {
    if (ofParent) await makePersistentStorage(tpm, storage, ofParent, { counted: true });
    if (ofOwner) await tpm.tool('tpm2_changeauth', '-c', 'owner', await tpm.secret(ofOwner));
    const secrets = [ofParent && `&parent-pin-value=${ofParent}`, ofOwner && `&owner-pin-value=${ofOwner}`].join('');
    try {
      const kept = await create(parseKeyUri(at(`handle=0x8101000c;parent=${storage}`, secrets)), { keyType: 'P-256' });
      expect(String(kept)).toBe(at('handle=0x8101000c'));
      await signs(String(kept), await publicKeyOf(kept));
      const file = `file=${tpm.dir}/${storage}${ofOwner}.tpm`;
      await create(parseKeyUri(at(`${file};parent=${storage}`, secrets)), { keyType: 'P-256' });
      await remove(await persist(parseKeyUri(at(file, secrets)), 0x8101000d).then((uri) => withSecrets(uri, secrets)));
      await remove(withSecrets(kept, secrets));
      expect(await countedTries(tpm)).toBe(0);
    } finally {
      if (ofOwner) await tpm.tool('tpm2_changeauth', '-c', 'owner', '-p', await tpm.secret(ofOwner));
      if (ofParent) await tpm.tool('tpm2_evictcontrol', '-C', 'o', '-c', storage);
    }
  });

  const withSecrets = (uri: KeyUri, secrets: string): KeyUri => parseKeyUri(`${String(uri)}${secrets}`);
});
