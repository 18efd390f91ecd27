import { verify } from 'node:crypto';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import * as pkcs11 from '../../src/stores/pkcs11/in-place.ts';
import type { LimitedKey } from '../../src/stores/pkcs11/open.ts';
import type { OpenKey, OpenOptions } from '../../src/stores/store.ts';
import { type KeyUri, parseKeyUri } from '../../src/uri.ts';
import { describeFaulty, type FaultModule, faultOn } from '../helpers/fault-module.ts';
import { makeToken, type TestToken } from '../helpers/softhsm.ts';
import { failure } from '../stores/conformance.ts';

const message = Buffer.from('message');
const verifies = (key: OpenKey, signature: Uint8Array): boolean =>
  verify('sha256', message, { key: Buffer.from(key.publicKey as Uint8Array), format: 'der', type: 'spki' }, signature);

describeFaulty('signal and deadline, while a lost key is had again', () => {
  let token: TestToken;
  let fault: FaultModule;
  let uri: KeyUri;
  let open: OpenKey[] = [];

  const opened = async (options: OpenOptions = {}): Promise<LimitedKey> => {
    const key = await pkcs11.open(uri, { secret: token.pin, ...options });
    open.push(key);
    fault.reset();
    return key;
  };
  const came = (...names: readonly string[]): number[] => names.map((name) => fault.calls(name).came);

  beforeAll(async () => {
    token = await makeToken();
    fault = faultOn(token);
    const behind = token.uri({ object: 'web' }).replace(/module-path=[^&]+/, () => `module-path=${fault.modulePath}`);
    uri = await pkcs11.create(parseKeyUri(behind), { keyType: 'P-256', secret: token.pin });
  });
  afterAll(() => token.remove());
  afterEach(async () => {
    fault.rules();
    for (const key of open) await key.close();
    open = [];
    fault.reset();
  });

  /** Answers at the first open, and then only when it is told to. */
  const slowSecret = (): { secret: () => Promise<string>; asked: () => number; answer: () => void } => {
    let asked = 0;
    let answer = (): void => {};
    const secret = (): Promise<string> => {
      asked += 1;
      if (asked === 1) return Promise.resolve(token.pin);
      return new Promise((resolve) => {
        answer = () => resolve(token.pin);
      });
    };
    return { secret, asked: () => asked, answer: () => answer() };
  };
  const until = async (is: () => boolean): Promise<void> => {
    for (let tries = 0; !is() && tries < 2000; tries += 1) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(is()).toBe(true);
  };

  test('the deadline passes while the key is had again: the error says so', async () => {
    const { secret, asked, answer } = slowSecret();
    const key = await opened({ secret, deadline: 300 });
    fault.rules('C_Sign rv=0x30 count=1');
    const error = await failure(key.sign(message));
    expect(error.code).toBe('ERR_SIGNING_TIMEOUT');
    expect(error.message).toMatch(/it was lost \(CKR_DEVICE_ERROR\) and was to be had again meanwhile$/);
    expect(came('C_Login')).toEqual([0]);
    const again = key.sign(message, 'SHA-256', {});
    await until(() => asked() === 3);
    answer();
    expect(verifies(key, await again)).toBe(true);
  });

  test('one of two who wait goes: the other one gets its signature', async () => {
    const { secret, asked, answer } = slowSecret();
    const key = await opened({ secret });
    const stop = new AbortController();
    fault.rules('C_Sign rv=0x30 count=2 delay=20');
    const going = failure(key.sign(message, 'SHA-256', { signal: stop.signal }));
    const staying = key.sign(message);
    await until(() => asked() === 2);
    stop.abort();
    expect((await going).code).toBe('ERR_INTERRUPTED');
    answer();
    expect(verifies(key, await staying)).toBe(true);
    expect([asked(), ...came('C_Login')]).toEqual([2, 1]);
  });

  test('all who wait go: it can be closed, and whoever comes before is not theirs to fail', async () => {
    const { secret, asked, answer } = slowSecret();
    const key = await opened({ secret });
    const stop = new AbortController();
    fault.rules('C_Sign rv=0x30 count=2');
    const going = failure(key.sign(message, 'SHA-256', { signal: stop.signal }));
    await until(() => asked() === 2);
    stop.abort();
    expect((await going).code).toBe('ERR_INTERRUPTED');
    const coming = key.sign(message);
    await until(() => asked() === 3);
    answer();
    await until(() => asked() === 4); // the second failure of C_Sign
    answer();
    expect(verifies(key, await coming)).toBe(true);
    await key.close();
  });

  test('a call that hangs: nothing is ended under it', async () => {
    const key = await opened();
    fault.rules('C_Sign delay=700 count=1', 'C_Sign rv=0x30 after=1 count=1');
    const [hanging, failing] = [key.sign(message), failure(key.sign(message, 'SHA-256', { deadline: 200 }))];
    expect((await failing).code).toBe('ERR_SIGNING_TIMEOUT');
    expect(came('C_Login', 'C_Initialize')).toEqual([0, 0]);
    expect(verifies(key, await hanging)).toBe(true);
    expect(verifies(key, await key.sign(message))).toBe(true);
    expect(came('C_Login', 'C_Initialize')).toEqual([1, 0]);
  });
});
