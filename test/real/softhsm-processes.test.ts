import { readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { askPerson } from '../../src/secret.ts';
import * as pkcs11 from '../../src/stores/pkcs11/in-place.ts';
import { type KeyUri, parseKeyUri } from '../../src/uri.ts';
import { start, startCli } from '../helpers/cli.ts';
import { describeFaulty, type FaultModule, faultOn } from '../helpers/fault-module.ts';
import { makeToken, type TestToken } from '../helpers/softhsm.ts';
import { failure } from '../stores/conformance.ts';

const PROGRAM = fileURLToPath(new URL('../helpers/pin-tries.mjs', import.meta.url));

/** So often is the module started before a token of SoftHSM counts as missing. */
const ATTEMPTS = 10;

describeFaulty('SoftHSM, while other processes log in', () => {
  let token: TestToken;
  let fault: FaultModule;
  let uri: KeyUri;
  /** With the module in front of SoftHSM, and without. */
  let behind: string;
  let plain: string;
  let file: string;

  beforeAll(async () => {
    token = await makeToken();
    fault = faultOn(token);
    writeFileSync(join(token.dir, 'pin'), token.pin);
    const created = await pkcs11.create(parseKeyUri(token.uri({ object: 'web' })), {
      keyType: 'P-256',
      secret: token.pin,
    });
    plain = `${String(created)}&pin-source=file:${join(token.dir, 'pin')}`;
    behind = plain.replace(/module-path=[^&]+/, () => `module-path=${fault.modulePath}`);
    uri = parseKeyUri(behind);
    const [name = ''] = readdirSync(join(token.dir, 'tokens'));
    file = join(token.dir, 'tokens', name, 'token.object');
  });
  afterAll(() => token.remove());
  afterEach(() => {
    fault.rules();
    fault.reset();
  });

  const open = async (secret?: Parameters<typeof pkcs11.open>[1]['secret']): Promise<void> =>
    (await pkcs11.open(uri, { secret })).close();
  const came = (name: string): number => fault.calls(name).came;

  /** As a login of somebody else does, but slowly. */
  function rewrite(): void {
    const content = readFileSync(file);
    truncateSync(file);
    setTimeout(() => writeFileSync(file, content), 10);
  }

  test('a token that is not there when the module is started is found a little later', async () => {
    rewrite();
    await open();
    expect(came('C_Initialize')).toBeGreaterThan(1);
    expect([came('C_Login'), came('C_Finalize')]).toEqual([1, came('C_Initialize')]);
  });

  test('the same without a login', async () => {
    rewrite();
    expect(await pkcs11.readCertificates(uri, {})).toEqual([]);
    rewrite();
    expect(await pkcs11.list(uri, {})).toEqual([expect.objectContaining({ kind: 'key', label: 'web' })]);
    expect(came('C_Login')).toBe(0);
  });

  test('a token that fails before the PIN is asked for, and with the PIN on its way', async () => {
    let asked = 0;
    const ask = askPerson(() => {
      asked += 1;
      return token.pin;
    });
    fault.rules('C_GetTokenInfo rv=0x5 after=1 count=1');
    await open(ask);
    expect([asked, came('C_Login')]).toEqual([1, 1]);
    fault.rules();
    fault.reset();
    await open(() => {
      if (came('C_Login') === 0) rewrite();
      return token.pin;
    });
    expect(came('C_Login')).toBeGreaterThan(1);
  });

  test('a token that is really not there is looked for a few times, elsewhere once', async () => {
    fault.rules('absent');
    expect((await failure(open())).code).toBe('ERR_TOKEN_NOT_FOUND');
    expect([came('C_Initialize'), came('C_Finalize')]).toEqual([ATTEMPTS, ATTEMPTS]);
    fault.reset();
    fault.rules('absent', 'stranger');
    expect((await failure(open())).code).toBe('ERR_TOKEN_NOT_FOUND');
    expect([came('C_Initialize'), came('C_Finalize')]).toEqual([1, 1]);
    fault.reset();
    fault.rules('stranger', 'C_Login rv=0x5');
    expect((await failure(open())).code).toBe('ERR_TOKEN_FAILED');
    expect([came('C_Initialize'), came('C_Login')]).toEqual([1, 1]);
  });

  test('other errors are not tried again', async () => {
    fault.rules('C_Login rv=0x30');
    expect((await failure(open())).code).toBe('ERR_TOKEN_FAILED');
    expect((await failure(pkcs11.open(uri, { secret: 'a-wrong-one' }))).code).toBe('ERR_TOKEN_FAILED');
    expect([came('C_Initialize'), came('C_Login')]).toEqual([2, 2]);
  });

  test('whoever is interrupted does not go on', async () => {
    fault.rules('absent');
    const controller = new AbortController();
    const opening = failure(pkcs11.open(uri, { signal: controller.signal }));
    setTimeout(() => controller.abort(), 8);
    expect((await opening).code).toBe('ERR_INTERRUPTED');
    expect(came('C_Initialize')).toBeLessThan(ATTEMPTS);
  });

  test('12 processes that begin together all open the key, five times each', async () => {
    const env = { ...token.env, HOLDFAST_TEST_DIST: process.env.HOLDFAST_TEST_DIST };
    const children = Array.from({ length: 12 }, () => start([PROGRAM, '5', plain], { env, keepInput: true }));
    await Promise.all(children.map((child) => child.saw('ready')));
    for (const { child } of children) child.stdin?.end();
    const outcomes = await Promise.all(children.map(async ({ finished }) => (await finished).stdout.split('\n')[1]));
    expect(outcomes).toEqual(Array.from({ length: 12 }, () => '{"open":5}'));
  });

  test('holdfast: one command whose token is not there at first, and eight at once', async () => {
    const list = (key: string) => startCli(['list', '--login', key], { env: fault.env }).finished;
    fault.rules('C_GetTokenInfo rv=0x5 count=1');
    expect(await list(behind)).toMatchObject({ status: 0, stderr: '' });
    expect(came('C_Initialize')).toBe(2);
    for (const one of await Promise.all(Array.from({ length: 8 }, () => list(plain)))) {
      expect(one).toMatchObject({ status: 0, stderr: '' });
    }
  });
});
