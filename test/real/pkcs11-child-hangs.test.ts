import { verify } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import pkcs11js from 'pkcs11js';
import { askPerson } from '../../src/secret.ts';
import * as pkcs11 from '../../src/stores/pkcs11/index.ts';
import { registry } from '../../src/stores/pkcs11/modules.ts';
import type { OpenKey, OpenOptions } from '../../src/stores/store.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { childrenOf, isThere, whenGone } from '../helpers/children.ts';
import { driveElsewhere } from '../helpers/drive-elsewhere.ts';
import { describeFaulty, type FaultModule, faultOn } from '../helpers/fault-module.ts';
import { inChild } from '../helpers/in-child.ts';
import { makeToken, type TestToken } from '../helpers/softhsm.ts';
import { failure } from '../stores/conformance.ts';

const message = Buffer.from('message');
const FATAL = ['SIGKILL', 'SIGSEGV', 'SIGABRT'] as const;

describeFaulty('a child process that hangs or is killed', () => {
  let token: TestToken;
  let fault: FaultModule;
  let pinFile: string;

  const uriOf = (object: string): string =>
    token
      .uri({ object }, { 'pin-source': `file:${pinFile}` })
      .replace(/module-path=[^&]+/, () => `module-path=${fault.modulePath}`);
  const open = (options: OpenOptions = {}, object = 'web'): Promise<OpenKey> =>
    inChild.open(parseKeyUri(uriOf(object)), options);
  const newestChild = (): number => childrenOf(process.pid).at(-1) as number;
  const signs = async (key: OpenKey): Promise<boolean> => {
    const publicKey = { key: Buffer.from(key.publicKey as Uint8Array), format: 'der', type: 'spki' } as const;
    return verify('sha256', message, publicKey, await key.sign(message));
  };
  const came = async (name: string, times = 1): Promise<void> => {
    while (fault.calls(name).came < times) await sleep(5);
  };

  beforeAll(async () => {
    token = await makeToken();
    pinFile = join(token.dir, 'pin');
    writeFileSync(pinFile, token.pin, { mode: 0o600 });
    fault = faultOn(token);
    await inChild.create(parseKeyUri(uriOf('web')), { keyType: 'P-256' });
    fault.reset();
  });
  afterAll(() => token.remove());
  afterEach(async () => {
    fault.rules();
    for (const pid of childrenOf(process.pid)) await whenGone(pid);
    fault.reset();
    registry().failing.clear(); // each failure here is meant
  });

  test.each(FATAL)('%s while the key is opened: the error names it', async (signal) => {
    const secret = (): string => {
      process.kill(newestChild(), signal);
      return token.pin;
    };
    const error = await failure(open({ secret }));
    expect(error.code).toBe('ERR_STORE_CRASHED');
    expect(error.message).toMatch(new RegExp(`is gone: the process of the PKCS#11 module was ended by ${signal}$`));
  });

  test.each(FATAL)(
    '%s while it signs, and again while a new process opens the key: the error names both',
    async (signal) => {
      let asked = 0;
      const secret = (): string => {
        asked += 1;
        if (asked > 1) process.kill(newestChild(), signal);
        return token.pin;
      };
      const key = await open({ secret });
      fault.rules('C_Sign delay=60000');
      const pending = failure(key.sign(message));
      await came('C_Sign');
      process.kill(newestChild(), signal);
      const error = await pending;
      expect(error.code).toBe('ERR_STORE_CRASHED');
      expect(error.message).toMatch(
        /^key "web" .* was lost \(ERR_STORE_CRASHED\) and did not come back with a new process: /,
      );
      expect(error.message).toMatch(new RegExp(`ended by ${signal}$`));
      expect(asked).toBe(2);
      await key.close();
    },
  );

  test.each(FATAL)(
    '%s while a key signs that needs a person: the error names it, and nothing signs again',
    async (signal) => {
      const object = `strict-${signal}`;
      driveElsewhere(
        token,
        `const common = [{ type: ${pkcs11js.CKA_TOKEN}, value: true },
        { type: ${pkcs11js.CKA_LABEL}, value: '${object}' }, { type: ${pkcs11js.CKA_ID}, value: Buffer.from('${object}') }];
      driver.C_GenerateKeyPair(session, { mechanism: ${pkcs11js.CKM_EC_KEY_PAIR_GEN} },
        [...common, { type: ${pkcs11js.CKA_EC_PARAMS}, value: Buffer.from('06082a8648ce3d030107', 'hex') }],
        [...common, { type: ${pkcs11js.CKA_PRIVATE}, value: true },
          { type: ${pkcs11js.CKA_ALWAYS_AUTHENTICATE}, value: true }]);`,
      );
      const key = await open({}, object);
      expect(key.attended).toBe(true);
      fault.rules('C_Sign delay=60000 count=1');
      const pending = failure(key.sign(message));
      await came('C_Sign');
      process.kill(newestChild(), signal);
      const error = await pending;
      expect(error.code).toBe('ERR_STORE_CRASHED');
      expect(error.message).toContain(`ended by ${signal}`);
      expect(error.hint).toContain('sign again yourself');
      expect(fault.calls('C_Sign').came).toBe(1);
      fault.rules();
      expect(await signs(key)).toBe(true);
      await key.close();
    },
  );

  test('after three failures in a row what opens and reads leaves the token alone, and what writes does not', async () => {
    const childPath = join(token.dir, 'dies.mjs');
    writeFileSync(childPath, `process.kill(process.pid, 'SIGKILL');`);
    const uri = parseKeyUri(uriOf('web'));
    const codes = async (...calls: readonly (() => Promise<unknown>)[]): Promise<string[]> => {
      const all: string[] = [];
      for (const call of calls) all.push((await failure(call())).code);
      return all;
    };
    const reads = [() => pkcs11.readCertificates(uri, { childPath }), () => pkcs11.list(uri, { childPath })];
    const opens = () => pkcs11.open(uri, { childPath });
    expect(await codes(...reads, opens)).toEqual(Array(3).fill('ERR_STORE_CRASHED'));
    expect(await codes(...reads, opens)).toEqual(Array(3).fill('ERR_TOKEN_RESTING'));
    const writes = () => pkcs11.create(uri, { childPath, keyType: 'P-256' });
    expect(await codes(writes)).toEqual(['ERR_STORE_CRASHED']);
  });

  test('one that hangs is ended soon, unless it writes: what it does to the token may be half done', async () => {
    const stop = new AbortController();
    const key = await open({ signal: stop.signal });
    const signing = newestChild();
    process.kill(signing, 'SIGSTOP');
    let writing: number | undefined;
    const secret = (): string => {
      writing = childrenOf(process.pid).find((pid) => pid !== signing) as number;
      process.kill(writing, 'SIGSTOP');
      setImmediate(() => stop.abort());
      return token.pin;
    };
    const creating = failure(
      inChild.create(parseKeyUri(uriOf('other')), { keyType: 'P-256', secret, signal: stop.signal }),
    );
    const pending = failure(key.sign(message));
    expect([(await creating).code, (await pending).code]).toEqual(['ERR_INTERRUPTED', 'ERR_INTERRUPTED']);
    await whenGone(signing);
    expect(isThere(writing as number)).toBe(true);
    await whenGone(writing as number);
    await key.close();
  });

  test('a login is not ended with its caller: the PIN that the token refused is not sent again', async () => {
    fault.rules('C_Login delay=1000', 'tries 3');
    const stop = new AbortController();
    const secret = askPerson(() => `wrong${token.pin.slice(5)}`);
    const opening = failure(open({ secret, signal: stop.signal }));
    await came('C_Login');
    const pid = newestChild();
    stop.abort();
    expect((await opening).code).toBe('ERR_INTERRUPTED');
    await whenGone(pid);
    expect((await failure(open({ secret }))).message).toContain('has refused this PIN before');
    expect(fault.wrongPins()).toBe(1);
    await (await open()).close();
  });

  describe('what becomes of a PIN is known to the next process before it sends its own', () => {
    const wrong = (): string => `wrong${token.pin.slice(5)}`;
    const asked = askPerson(wrong); // other processes of the user do not hear of it

    test('also while the login of somebody who has gone is under way', async () => {
      fault.rules('C_Login delay=1000', 'tries 3');
      const stop = new AbortController();
      const opening = failure(open({ secret: asked, signal: stop.signal }));
      await came('C_Login');
      stop.abort();
      const next = failure(open({ secret: asked }));
      expect((await opening).code).toBe('ERR_INTERRUPTED');
      expect((await next).message).toContain('has refused this PIN before');
      expect([fault.calls('C_Login').came, fault.wrongPins()]).toEqual([1, 1]);
      await (await open()).close();
    });

    test('of many that begin together one sends it', async () => {
      fault.rules('C_Login delay=100', 'tries 9');
      const errors = await Promise.all(Array.from({ length: 4 }, () => failure(open({ secret: asked }))));
      expect(new Set(errors.map(({ code }) => code))).toEqual(new Set(['ERR_SECRET_WRONG']));
      expect([fault.calls('C_Login').came, fault.wrongPins()]).toEqual([1, 1]);
      await (await open()).close();
    });

    test('one that waits for its secret, and one that is gone in a login, keep nobody away', async () => {
      const stop = new AbortController();
      const waiting = failure(open({ secret: () => new Promise(() => {}), signal: stop.signal }));
      await (await open({ deadline: 8000 })).close();
      fault.rules('C_Login delay=60000');
      const dying = failure(open());
      await came('C_Login', 2);
      const pid = newestChild();
      fault.rules();
      const next = open({ deadline: 8000 });
      process.kill(pid, 'SIGKILL');
      expect((await dying).code).toBe('ERR_STORE_CRASHED');
      await (await next).close();
      stop.abort();
      expect((await waiting).code).toBe('ERR_INTERRUPTED');
    });
  });
});
