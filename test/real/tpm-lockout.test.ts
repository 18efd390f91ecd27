import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { askPerson, type SecretRequest } from '../../src/secret.ts';
import { openKey } from '../../src/stores/index.ts';
import { create, persist, remove, retryPin } from '../../src/stores/tpm/index.ts';
import { readKeyFile } from '../../src/stores/tpm/key-file.ts';
import { has } from '../../src/stores/tpm/public-area.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { canaries } from '../helpers/canaries.ts';
import { describeUnless } from '../helpers/exercised.ts';
import { startTpm, type TestTpm } from '../helpers/swtpm.ts';
import { countedTries, makePersistentStorage, makeTpmKey } from '../helpers/tpm-keys.ts';
import { failure } from '../stores/conformance.ts';

const describeTpm = await describeUnless('swtpm');
let tpm: TestTpm;
let counted: string;
let free: string;
const wrong = 'wrong-0123';

describeTpm('what protects a TPM from guessing', () => {
  beforeAll(async () => {
    tpm = await startTpm();
    const key = await makeTpmKey(tpm, { type: 'P-256', auth: canaries.pin, counted: true });
    await key.persist('0x81010001');
    const other = await makeTpmKey(tpm, { type: 'P-256', auth: canaries.pin });
    await other.persist('0x81010002');
    counted = `tpm:handle=0x81010001?${tpm.query}`;
    free = `tpm:handle=0x81010002?${tpm.query}`;
  }, 60_000);
  afterAll(() => tpm?.remove());
  beforeEach(async () => {
    await tpm.tool('tpm2_dictionarylockout', '--clear-lockout');
  });

  test('a wrong stored authValue is sent once, however often the key is opened', async () => {
    const file = join(tpm.dir, 'secret');
    await writeFile(file, wrong, { mode: 0o600 });
    const first = await failure(openKey(`${counted}&pin-source=file:${file}`));
    expect(first).toMatchObject({
      code: 'ERR_SECRET_WRONG',
      triesLeft: 2,
      hint: expect.stringContaining('holdfast pin retry'),
    });
    for (let tries = 0; tries < 3; tries += 1) {
      const again = await failure(openKey(`${counted}&pin-source=file:${file}`));
      expect(again).toMatchObject({
        code: 'ERR_SECRET_WRONG',
        message: expect.stringMatching(/not sent again \(the file .*secret, 20/),
      });
    }
    expect(await failure(openKey(counted, { secret: wrong }))).toMatchObject({
      message: expect.stringContaining('not sent again'),
    });
    expect(await countedTries(tpm)).toBe(1);
    await (await openKey(counted, { secret: canaries.pin })).close();

    // Once a person says so, it is sent again: once.
    const retried = await retryPin(parseKeyUri(counted), {});
    expect(retried.forgotten).toEqual([expect.stringContaining(file)]);
    expect(await failure(openKey(counted, { secret: wrong }))).toMatchObject({
      message: expect.stringContaining('refused the authValue'),
    });
    expect(await countedTries(tpm)).toBe(2);
  });

  test('a key that nobody has an authValue for costs one try, once', async () => {
    for (let tries = 0; tries < 3; tries += 1) {
      expect(await failure(openKey(counted))).toMatchObject({
        code: 'ERR_SECRET_REQUIRED',
      });
    }
    expect(await countedTries(tpm)).toBe(1);
  });

  test('what is longer than any authValue is not tried', async () => {
    const error = await failure(openKey(counted, { secret: 'x'.repeat(33) }));
    expect(error).toMatchObject({ code: 'ERR_SECRET_WRONG', message: expect.stringContaining('more than 32 bytes') });
    expect(await countedTries(tpm)).toBe(0);
  });

  test('nor for a storage key or a hierarchy', async () => {
    await makePersistentStorage(tpm, '0x81000006', canaries.pin, { counted: true });
    const { file } = await makeTpmKey(tpm, { type: 'P-256', parent: '0x81000006', parentAuth: canaries.pin });
    const making = `tpm:file=${join(tpm.dir, 'long.tpm')};parent`;
    const errors = [
      await failure(openKey(`tpm:file=${file}?${tpm.query}&parent-pin-value=${'x'.repeat(100)}`)),
      await failure(
        create(parseKeyUri(`${making}=0x81000006?${tpm.query}&parent-pin-value=${'x'.repeat(33)}`), {
          keyType: 'P-256',
        }),
      ),
      await failure(
        create(parseKeyUri(`${making}=owner?${tpm.query}&parent-pin-value=${'x'.repeat(65)}`), { keyType: 'P-256' }),
      ),
      await failure(remove(parseKeyUri(`${counted}&owner-pin-value=${'x'.repeat(65)}`))),
    ];
    expect(errors.map(({ message }) => message)).toEqual(
      [32, 32, 64, 64].map((most) => expect.stringContaining(`has more than ${most} bytes`)),
    );
    expect(await countedTries(tpm)).toBe(0);
  });

  test('zeros are no authValue: a key that is made with them has none, and is not counted', async () => {
    const path = join(tpm.dir, 'zeros.tpm');
    const made = await create(parseKeyUri(`tpm:file=${path}?${tpm.query}`), {
      keyType: 'P-256',
      secret: () => '\0\0\0\0',
    });
    const { area, emptyAuth } = readKeyFile(await readFile(path), 'key file');
    expect([has(area, 'noDA'), emptyAuth]).toEqual([true, true]);
    await (await openKey(made)).close();
  });

  test('a key file that says it has none, and has: one try, then somebody is asked', async () => {
    const made = await makeTpmKey(tpm, { type: 'P-256', auth: canaries.pin, counted: true });
    // tpm2_encodeobject 5.4 writes it inverted.
    const uri = `tpm:file=${made.file}?${tpm.query}`;
    let asked = 0;
    const secret = askPerson(() => {
      asked += 1;
      return canaries.pin;
    });
    for (let opened = 0; opened < 3; opened += 1) await (await openKey(uri, { secret })).close();
    expect([asked, await countedTries(tpm)]).toEqual([3, 1]);
  });

  test('a key file that says it has one, and has none, needs nobody', async () => {
    const { file } = await makeTpmKey(tpm, { type: 'P-256', counted: true });
    // As above: a key that tpm2_create makes by itself is counted and has no authValue.
    expect(readKeyFile(await readFile(file), 'key file').emptyAuth).toBe(false);
    await (await openKey(`tpm:file=${file}?${tpm.query}`)).close();
    expect(await countedTries(tpm)).toBe(0);
  });

  test('a person is asked without a try before, and told how many are left', async () => {
    const asked: SecretRequest[] = [];
    const ask = askPerson((request) => {
      asked.push(request);
      return asked.length < 2 ? wrong : canaries.pin;
    });
    expect(await failure(openKey(counted, { secret: ask }))).toMatchObject({ code: 'ERR_SECRET_WRONG', triesLeft: 2 });
    await (await openKey(counted, { secret: ask })).close();
    expect(asked.map(({ triesLeft }) => triesLeft)).toEqual([3, 2]);
    expect(await countedTries(tpm)).toBe(1);
  });

  test('a stored authValue is not spent on the last try, that of a person is', async () => {
    for (const secret of ['one-wrong', 'two-wrong'])
      await failure(openKey(counted, { secret: askPerson(() => secret) }));
    expect(await failure(openKey(counted, { secret: canaries.pin }))).toMatchObject({
      code: 'ERR_SECRET_LAST_TRY',
      triesLeft: 1,
    });
    const key = await openKey(counted, { secret: askPerson(() => canaries.pin) });
    await key.sign(randomBytes(3));
    await key.close();
    expect(await countedTries(tpm)).toBe(2);
  });

  test('nor is it to find out whether a key has none', async () => {
    const made = await makeTpmKey(tpm, { type: 'P-256', auth: canaries.pin, counted: true });
    // As above: the file says that it has none.
    const uri = `tpm:file=${made.file}?${tpm.query}`;
    for (const secret of ['one-wrong', 'two-wrong'])
      await failure(openKey(counted, { secret: askPerson(() => secret) }));
    expect(await failure(openKey(uri))).toMatchObject({ code: 'ERR_SECRET_LAST_TRY', triesLeft: 1 });
    await (await openKey(uri, { secret: askPerson(() => canaries.pin) })).close();
    expect(await countedTries(tpm)).toBe(2);
  });

  test('in lockout nothing is tried, and the error says when it ends', async () => {
    for (const secret of ['a', 'b', 'c']) await failure(openKey(counted, { secret: askPerson(() => secret) }));
    const error = await failure(
      openKey(counted, {
        secret: askPerson(() => {
          throw new Error('nobody may be asked');
        }),
      }),
    );
    expect(error).toMatchObject({
      code: 'ERR_SECRET_LOCKED',
      triesLeft: 0,
      hint: expect.stringContaining('one more try every 1000 seconds'),
    });
    expect(error.hint).toContain('nothing was tried');
    // A key that takes no part goes on.
    await (await openKey(free, { secret: canaries.pin })).close();
  });

  test('in lockout, a key that takes no part goes on below a storage key that takes none', async () => {
    const free = { type: 'P-256' } as const;
    const locks = await makeTpmKey(tpm, { ...free, storageNoDa: false });
    await makePersistentStorage(tpm, '0x81000005', undefined, { counted: true });
    const locksToo = await makeTpmKey(tpm, { ...free, parent: '0x81000005' });
    const goesOn = await makeTpmKey(tpm, { ...free, storage: 'rsa2048' });
    const uriOf = ({ file }: { file: string }): string => `tpm:file=${file}?${tpm.query}`;
    for (const one of [locks, locksToo, goesOn]) await (await openKey(uriOf(one))).close();
    for (const secret of ['a', 'b', 'c']) await failure(openKey(counted, { secret: askPerson(() => secret) }));
    for (const one of [locks, locksToo]) {
      expect(await failure(openKey(uriOf(one)))).toMatchObject({
        code: 'ERR_SECRET_LOCKED',
        hint: expect.stringContaining('one more try every 1000 seconds'),
      });
    }
    const key = await openKey(uriOf(goesOn));
    await key.sign(randomBytes(3));
    await key.close();
    const making = `tpm:file=${join(tpm.dir, 'locked.tpm')};parent=0x81000005?${tpm.query}`;
    expect(await failure(create(parseKeyUri(making), { keyType: 'P-256' }))).toMatchObject({
      code: 'ERR_SECRET_LOCKED',
    });
  });

  test('the authValue of a storage key is guarded as that of a key', async () => {
    await makePersistentStorage(tpm, '0x81000003', canaries.pin, { counted: true });
    const { file } = await makeTpmKey(tpm, { type: 'P-256', parent: '0x81000003', parentAuth: canaries.pin });
    const uri = `tpm:file=${file}?${tpm.query}`;
    const first = await failure(openKey(`${uri}&parent-pin-value=wrong`));
    expect(first).toMatchObject({ code: 'ERR_SECRET_WRONG', message: expect.stringContaining('0x81000003') });
    const again = await failure(openKey(`${uri}&parent-pin-value=wrong`));
    expect(again).toMatchObject({ code: 'ERR_SECRET_WRONG', message: expect.stringContaining('not sent again') });
    expect(await countedTries(tpm)).toBe(1);
    await (await openKey(`${uri}&parent-pin-value=${canaries.pin}`)).close();
    expect((await retryPin(parseKeyUri(uri), {})).forgotten).toHaveLength(1);
    await failure(openKey(`${uri}&parent-pin-value=wrong`));
    // The last one is for a person.
    const last = await failure(openKey(`${uri}&parent-pin-value=${canaries.pin}`));
    expect(last).toMatchObject({ code: 'ERR_SECRET_LAST_TRY', triesLeft: 1 });
    expect(await countedTries(tpm)).toBe(2);
  });

  test('the authValue of a storage key is guarded where keys are made and kept, too', async () => {
    await makePersistentStorage(tpm, '0x81000004', canaries.pin, { counted: true });
    const { file } = await makeTpmKey(tpm, { type: 'P-256', parent: '0x81000004', parentAuth: canaries.pin });
    const wrongParent = `${tpm.query}&parent-pin-value=wrong`;
    const making = parseKeyUri(`tpm:file=${join(tpm.dir, 'never.tpm')};parent=0x81000004?${wrongParent}`);
    const keeping = parseKeyUri(`tpm:file=${file}?${wrongParent}`);
    const errors = [
      await failure(create(making, { keyType: 'P-256' })),
      await failure(create(making, { keyType: 'P-256' })),
      await failure(persist(keeping, 0x81010031)),
    ];
    expect(errors.map(({ code }) => code)).toEqual(Array(3).fill('ERR_SECRET_WRONG'));
    for (const { message } of errors.slice(1)) expect(message).toContain('not sent again');
    expect(await countedTries(tpm)).toBe(1);
    const right = parseKeyUri(`tpm:file=${file}?${tpm.query}&parent-pin-value=${canaries.pin}`);
    await persist(right, 0x81010031);
    expect(errors[0]?.hint).toContain('parent-pin-source');
    expect(errors[1]?.hint).toContain(`holdfast pin retry 'tpm:parent=0x81000004?${tpm.query}'`);
    const ofParent = parseKeyUri(`tpm:parent=0x81000004?${tpm.query}`);
    expect((await retryPin(ofParent, {})).forgotten).toHaveLength(1);
    expect((await retryPin(right, {})).forgotten).toHaveLength(0);
    await failure(persist(keeping, 0x81010032));
    expect(await countedTries(tpm)).toBe(2);
  });

  test("an owner that refuses its authValue says nothing of the storage key's", async () => {
    await makePersistentStorage(tpm, '0x81000007', canaries.pin, { counted: true });
    await tpm.tool('tpm2_changeauth', '-c', 'owner', await tpm.secret('of-the-owner'));
    const uri = (owner: string): string =>
      `tpm:handle=0x81010033;parent=0x81000007?${tpm.query}&parent-pin-value=${canaries.pin}&owner-pin-value=${owner}`;
    try {
      for (let tries = 0; tries < 2; tries += 1) {
        const error = await failure(create(parseKeyUri(uri('wrong')), { keyType: 'P-256' }));
        expect(error).toMatchObject({
          code: 'ERR_SECRET_WRONG',
          message: 'the owner hierarchy refused its authValue',
          hint: expect.stringContaining('owner-pin-source'),
        });
      }
      await create(parseKeyUri(uri('of-the-owner')), { keyType: 'P-256' });
      expect(await countedTries(tpm)).toBe(0);
    } finally {
      await tpm.tool('tpm2_changeauth', '-c', 'owner', '-p', await tpm.secret('of-the-owner'));
    }
  });

  test('a key whose wrong tries are not counted is asked freely', async () => {
    for (let tries = 0; tries < 5; tries += 1) {
      expect(await failure(openKey(free, { secret: wrong }))).toMatchObject({
        message: expect.stringContaining('refused the authValue'),
      });
      expect(await failure(openKey(free))).toMatchObject({ code: 'ERR_SECRET_REQUIRED' });
    }
    expect(await countedTries(tpm)).toBe(0);
    const asked: string[] = [];
    const secret = askPerson(({ of }) => {
      asked.push(of);
      return canaries.pin;
    });
    await (await openKey(free, { secret })).close();
    expect(asked).toHaveLength(1);
  });
});
