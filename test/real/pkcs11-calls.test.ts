import { createPublicKey, verify } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import pkcs11js from 'pkcs11js';
import * as pkcs11 from '../../src/stores/pkcs11/in-place.ts';
import { type KeyUri, parseKeyUri } from '../../src/uri.ts';
import { shown } from '../helpers/canaries.ts';
import { runCli } from '../helpers/cli.ts';
import { describeSpied, type Spy, spyOn } from '../helpers/pkcs11-spy.ts';
import { withRaw } from '../helpers/raw-pkcs11.ts';
import { makeToken, type TestToken } from '../helpers/softhsm.ts';
import { failure } from '../stores/conformance.ts';

describeSpied('what reaches the token, counted by pkcs11-spy', () => {
  let token: TestToken;
  let spy: Spy;
  let uri: KeyUri;

  const spied = (text: string): KeyUri =>
    parseKeyUri(text.replace(/module-path=[^&]+/, () => `module-path=${spy.modulePath}`));

  beforeAll(async () => {
    token = await makeToken({ pin: shown });
    spy = spyOn(token);
    uri = await pkcs11.create(spied(token.uri({ object: 'web' })), { keyType: 'P-256', secret: token.pin });
    spy.taken();
  });
  afterAll(() => token.remove());

  test('open, sign, close: one login, one signature', async () => {
    const key = await pkcs11.open(uri, { secret: token.pin });
    await key.sign(Buffer.from('message'));
    await key.close();
    expect(spy.taken()).toMatchObject({
      C_Initialize: 1,
      C_Login: 1,
      C_SignInit: 1,
      C_Sign: 1,
      C_OpenSession: 2,
      C_CloseSession: 2,
      C_Finalize: 1,
    });
  });

  test('a key that always authenticates: one login more, with the stored PIN, and as many for each signature', async () => {
    const both = [
      { type: pkcs11js.CKA_TOKEN, value: true },
      { type: pkcs11js.CKA_ID, value: Buffer.from('card') },
      { type: pkcs11js.CKA_LABEL, value: 'card' },
    ];
    withRaw(token, (raw) =>
      raw.pkcs11.C_GenerateKeyPair(
        raw.session,
        { mechanism: pkcs11js.CKM_EC_KEY_PAIR_GEN },
        [...both, { type: pkcs11js.CKA_EC_PARAMS, value: Buffer.from('06082a8648ce3d030107', 'hex') }],
        [
          ...both,
          { type: pkcs11js.CKA_PRIVATE, value: true },
          { type: pkcs11js.CKA_SIGN, value: true },
          { type: pkcs11js.CKA_ALWAYS_AUTHENTICATE, value: true },
        ],
      ),
    );
    spy.taken();
    const key = await pkcs11.open(spied(token.uri({ object: 'card' })), { secret: token.pin });
    expect(key.attended).toBe(true);
    const publicKey = createPublicKey({ key: Buffer.from(key.publicKey as Uint8Array), format: 'der', type: 'spki' });
    const message = Buffer.from('message');
    expect(verify('sha256', message, publicKey, await key.sign(message))).toBe(true);
    expect(spy.taken()).toMatchObject({ C_Login: 2, C_SignInit: 1, C_Sign: 1 });
    await Promise.all([key.sign(message), key.sign(message), key.sign(message)]);
    await key.close();
    expect(spy.taken()).toMatchObject({ C_Login: 3, C_SignInit: 3, C_Sign: 3 });
  });

  test('the module is always told that several threads will call it', () => {
    // Without it, signatures in parallel crash the process: seldom enough to pass a test of that.
    const initialisations = spy
      .log()
      .split(/^\d+: C_Initialize$/m)
      .slice(1);
    expect(initialisations.length).toBeGreaterThan(0);
    for (const one of initialisations) expect(one.split('Returned:')[0]).toContain('CKF_OS_LOCKING_OK');
  });

  test('a wrong PIN costs one try, the same once more costs none, and the right one clears the count', async () => {
    const wrong = `${token.pin}-not`;
    const first = await failure(pkcs11.open(uri, { secret: wrong }));
    expect(first.code).toBe('ERR_SECRET_WRONG');
    expect(first.message).toContain('(CKR_PIN_INCORRECT)');
    expect(spy.taken().C_Login).toBe(1);

    for (let attempt = 0; attempt < 10; attempt += 1) {
      const again = await failure(pkcs11.open(uri, { secret: wrong }));
      expect(again.code).toBe('ERR_SECRET_WRONG');
    }
    expect(spy.taken().C_Login).toBeUndefined();

    const notices: string[] = [];
    const warned = await pkcs11.open(uri, { secret: token.pin, notify: ({ message }) => notices.push(message) });
    await warned.close();
    expect(spy.taken().C_Login).toBe(1);
    expect(notices).toEqual([expect.stringContaining('wrong PIN')]);

    const calm = await pkcs11.open(uri, { secret: token.pin, notify: ({ message }) => notices.push(message) });
    await calm.close();
    expect(notices).toHaveLength(1);
  });

  test('wrong PINs by turns cost one try each, and one more when a good login has shown that all tries are back', async () => {
    const tries = async (pins: readonly string[]): Promise<number> => {
      spy.taken();
      for (const secret of pins) {
        await pkcs11.open(uri, { secret }).then(
          (key) => key.close(),
          ({ code }) => expect(code).toBe('ERR_SECRET_WRONG'),
        );
      }
      return spy.taken().C_Login ?? 0;
    };
    expect(await tries(['a-wrong-one', 'b-wrong-one', 'a-wrong-one', 'b-wrong-one'])).toBe(2);
    expect(await tries(['c-wrong-one', token.pin, 'c-wrong-one', 'c-wrong-one', 'a-wrong-one'])).toBe(3);
  });

  test('what fails before the PIN sends none', async () => {
    spy.taken();
    // A stranger's card, for all that the URI says.
    const unnamed = spied(`pkcs11:object=somebody?module-path=x`);
    expect((await failure(pkcs11.open(unnamed, { secret: token.pin }))).code).toBe('ERR_TOKEN_AMBIGUOUS');
    const made = pkcs11.create(unnamed, { keyType: 'P-256', secret: token.pin });
    expect((await failure(made)).code).toBe('ERR_TOKEN_AMBIGUOUS');
    expect((await failure(pkcs11.open(uri, { secret: 837465 as unknown as string }))).code).toBe('ERR_OPTION_INVALID');
    await failure(pkcs11.open(spied(token.uri({ serial: 'other' })), { secret: token.pin }));
    await failure(pkcs11.open(uri, {}));
    await failure(pkcs11.open(uri, { secret: '' }));
    await pkcs11.readCertificates(uri, {});
    expect(spy.taken()).not.toHaveProperty('C_Login');
  });

  test('opens that share the module initialise it once', async () => {
    spy.taken();
    const keys = await Promise.all(Array.from({ length: 5 }, () => pkcs11.open(uri, { secret: token.pin })));
    for (const key of keys) await key.close();
    expect(spy.taken()).toMatchObject({ C_Initialize: 1, C_Finalize: 1 });
  });

  test('200 cycles of open, sign, close leave no PKCS#11 session open, failures neither', async () => {
    // Somebody holds the module, so that its finalisation closes nothing.
    const held = await pkcs11.open(uri, { secret: token.pin });
    spy.taken();
    for (let cycle = 0; cycle < 200; cycle += 1) {
      const key = await pkcs11.open(uri, { secret: token.pin });
      await key.sign(Buffer.from('message'));
      await key.close();
    }
    expect(spy.taken()).toMatchObject({ C_OpenSession: 400, C_CloseSession: 400, C_SignInit: 200, C_Sign: 200 });

    const missing = spied(token.uri({ object: 'nobody' }));
    for (const options of [{}, { secret: 'another-wrong-pin' }, { secret: token.pin }]) {
      await failure(pkcs11.open(missing, options));
    }
    await pkcs11.readCertificates(missing, {});
    await failure(pkcs11.create(uri, { keyType: 'P-256', secret: token.pin }));
    const { C_OpenSession: opened, C_CloseSession: closed, ...others } = spy.taken();
    expect(opened).toBe(5);
    expect(closed).toBe(5);
    expect(others).not.toHaveProperty('C_Finalize');
    await held.close();
    expect(spy.taken()).toMatchObject({ C_CloseSession: 1, C_Finalize: 1 });
  });

  test('holdfast list without --login never logs in, with a PIN at hand either', async () => {
    spy.taken();
    const withPin = `${String(spied(token.uri()))}&pin-value=${token.pin}`;
    const all = `pkcs11:?module-path=${spy.modulePath}`;
    for (const args of [[withPin], [withPin, '--json'], [all]]) {
      expect(await runCli(['list', ...args])).toMatchObject({ status: 0, stdout: expect.stringContaining('web') });
      const { C_Initialize, C_Login } = spy.taken();
      expect([C_Initialize, C_Login]).toEqual([1, undefined]);
    }
    expect((await runCli(['list', '--login', withPin])).status).toBe(0);
    expect(spy.taken().C_Login).toBe(1);
  });

  test('a list of all tokens: each one more costs as many calls', async () => {
    const calls = async (): Promise<number> => {
      spy.taken();
      await pkcs11.list(parseKeyUri(`pkcs11:?module-path=${spy.modulePath}`), {});
      return Object.values(spy.taken()).reduce((sum, count) => sum + count, 0);
    };
    const counts: number[] = [];
    for (const tokenLabel of ['second', 'third', 'fourth', 'fifth']) {
      await token.addToken({ tokenLabel });
      counts.push(await calls());
    }
    const [a = 0, b = 0, c = 0, d = 0] = counts;
    expect([c - b, d - c]).toEqual([b - a, b - a]);
    expect(b - a).toBeGreaterThan(0);
  });
});
