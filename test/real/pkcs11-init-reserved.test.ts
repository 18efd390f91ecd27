import { verify } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import * as pkcs11 from '../../src/stores/pkcs11/in-place.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { describeUnless } from '../helpers/exercised.ts';
import { setRealEnvironment } from '../helpers/softhsm.ts';
import { type ModuleKey, type TestModule, uriOn } from '../modules/module.ts';
import { nss } from '../modules/nss.ts';
import { failure } from '../stores/conformance.ts';

const describeNss = await describeUnless('nss');

describeNss('x-init-reserved, which NSS has its database from', () => {
  const made: TestModule[] = [];
  let keys: ModuleKey[];

  beforeAll(async () => {
    made.push(await nss(), await nss());
    setRealEnvironment((made[0] as TestModule).env);
    keys = [await (made[0] as TestModule).makeKey('P-256'), await (made[1] as TestModule).makeKey('P-256')];
  });
  afterAll(() => Promise.all(made.map((one) => one.remove())));

  const open = (at: number): ReturnType<typeof pkcs11.open> =>
    pkcs11.open(parseKeyUri(uriOn(made[at] as TestModule, keys[at]?.path)), { secret: made[at]?.pin });

  test('one database after the other, in one process', async () => {
    for (const at of [0, 1, 0]) {
      const key = await open(at);
      const signature = await key.sign(Buffer.from('message'));
      await key.close();
      expect(verify('sha256', Buffer.from('message'), keys[at]?.publicKey as never, signature)).toBe(true);
    }
  });

  test('to its last character', async () => {
    const { initReserved = '', ...one } = made[0] as TestModule;
    const query = { 'x-init-reserved': initReserved.replaceAll("'", '') };
    const key = await pkcs11.open(parseKeyUri(uriOn({ ...one, query }, keys[0]?.path)), { secret: one.pin });
    await key.close();
  });

  test('not both at once: C_Initialize belongs to the process', async () => {
    const key = await open(0);
    try {
      expect((await failure(open(1))).code).toBe('ERR_MODULE_FAILED');
    } finally {
      await key.close();
    }
    await (await open(1)).close();
  });

  test('a URI that is listed instead has it too', async () => {
    const { modulePath, query } = made[0] as TestModule;
    const uri = uriOn({ modulePath, query, tokenLabel: 'nothing' });
    const error = await failure(pkcs11.open(parseKeyUri(uri), {}));
    expect(error).toMatchObject({
      code: 'ERR_TOKEN_NOT_FOUND',
      hint: expect.stringContaining('x-init-reserved=configdir%3D'),
    });
  });

  test('without it: ERR_MODULE_FAILED', async () => {
    const { modulePath } = made[0] as TestModule;
    expect((await failure(pkcs11.open(parseKeyUri(uriOn({ modulePath, tokenLabel: 'x', query: {} })), {}))).code).toBe(
      'ERR_MODULE_FAILED',
    );
  });
});
