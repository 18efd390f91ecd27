import { chmod, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import * as pkcs11 from '../../src/stores/pkcs11/in-place.ts';
import type { Notice, OpenOptions } from '../../src/stores/store.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { rawPkcs11 } from '../helpers/raw-pkcs11.ts';
import { describeSoftHsm, makeToken, setRealEnvironment, type TestToken } from '../helpers/softhsm.ts';
import { everythingOf } from '../helpers/thrown.ts';
import { failure } from '../stores/conformance.ts';

describeSoftHsm('a key, by everything that RFC 7512 has', () => {
  let token: TestToken;
  let library: { manufacturer: string; description: string; version: string };
  let slot: { id: string; description: string; manufacturer: string };

  const opens = async (rest: string, options: OpenOptions = {}): Promise<string> => {
    const key = await pkcs11.open(parseKeyUri(`pkcs11:${rest}`), options);
    await key.close();
    return key.description;
  };
  const module = (): string => `module-path=${token.modulePath}`;
  const withPin = (path: string): string => `${path}?${module()}&pin-value=${token.pin}`;
  const encoded = (text: string): string => encodeURIComponent(text.trimEnd());

  beforeAll(async () => {
    token = await makeToken({ tokenLabel: 'prod' });
    setRealEnvironment(token.env);
    await pkcs11.create(parseKeyUri(token.uri({ object: 'web' })), { keyType: 'P-256', secret: token.pin });
    const raw = rawPkcs11(token);
    const info = raw.pkcs11.C_GetInfo();
    const { major, minor } = info.libraryVersion;
    library = {
      manufacturer: encoded(info.manufacturerID),
      description: encoded(info.libraryDescription),
      version: `${major}.${minor}`,
    };
    const handle = raw.pkcs11
      .C_GetSlotList(true)
      .find((one) => raw.pkcs11.C_GetTokenInfo(one).label.trimEnd() === 'prod') as Buffer;
    const { slotDescription, manufacturerID } = raw.pkcs11.C_GetSlotInfo(handle);
    slot = {
      id: String(handle.readBigUInt64LE()),
      description: encoded(slotDescription),
      manufacturer: encoded(manufacturerID),
    };
    raw.close();
    raw.finalise();
  });
  afterAll(() => token.remove());

  test('library-*, slot-* and slot-id that are its own', async () => {
    const own = [
      `library-manufacturer=${library.manufacturer}`,
      `library-description=${library.description}`,
      `library-version=${library.version}`,
      `slot-id=${slot.id}`,
      `slot-description=${slot.description}`,
      `slot-manufacturer=${slot.manufacturer}`,
    ];
    for (const one of [...own, own.join(';')]) expect(await opens(withPin(`token=prod;${one}`))).toContain('"web"');
  });

  test.each([
    ['library-manufacturer=nobody', /the PKCS#11 module .* is not the one/],
    ['library-description=', /is not the one/],
    ['library-version=255.255', /is not the one/],
    ['slot-description=elsewhere', /no token in .* fits/],
    ['slot-manufacturer=', /no token in .* fits/],
    ['slot-id=0', /no token in .* fits/],
  ])('%s, which it is not: ERR_TOKEN_NOT_FOUND, and the PIN stays here', async (attribute, message) => {
    const error = await failure(opens(withPin(`token=prod;${attribute}`)));
    expect(error.code).toBe('ERR_TOKEN_NOT_FOUND');
    expect(error.message).toMatch(message);
    expect(everythingOf(error)).not.toContain(token.pin);
  });

  test('library-* alone names no token', async () => {
    const error = await failure(opens(withPin(`library-version=${library.version}`)));
    expect(error.code).toBe('ERR_TOKEN_AMBIGUOUS');
  });

  test('a PIN before the "?": it opens, with a warning', async () => {
    const notices: Notice[] = [];
    await opens(`token=prod;pin-value=${token.pin}?${module()}`, { notify: (notice) => notices.push(notice) });
    expect(notices).toEqual([
      { kind: 'warning', message: expect.stringContaining('pin-value'), hint: expect.any(String) },
    ]);
    expect(JSON.stringify(notices)).not.toContain(token.pin);
  });

  test('module-path of a directory, and module-name in it', async () => {
    const folder = dirname(token.modulePath);
    const name = basename(token.modulePath).replace(/^lib/, '').replace(/\..*$/, '');
    await opens(`token=prod?module-path=${folder}&module-name=${name}&pin-value=${token.pin}`);
    const error = await failure(opens(`token=prod?module-path=${folder}&module-name=nothing&pin-value=${token.pin}`));
    expect(error).toMatchObject({ code: 'ERR_MODULE_NOT_FOUND', hint: expect.stringContaining(`${folder}/*`) });
  });

  test('another x-init-reserved while the module is in use: refused; what is in use goes on', async () => {
    const key = await pkcs11.open(parseKeyUri(`pkcs11:${withPin('token=prod')}`), {});
    const error = await failure(opens(`${withPin('token=prod')}&x-init-reserved=other`));
    expect(error).toMatchObject({ code: 'ERR_MODULE_FAILED', message: expect.stringContaining('x-init-reserved') });
    expect(await key.sign(Buffer.from('message'))).toBeInstanceOf(Uint8Array);
    await key.close();
  });

  describe('the PIN', () => {
    afterEach(() => {
      delete process.env.CREDENTIALS_DIRECTORY;
    });
    const from = (source: string, options: OpenOptions = {}): Promise<string> =>
      opens(`token=prod?${module()}&pin-source=${source}`, options);

    test('from a variable, which is gone then, at each refresh', async () => {
      process.env.HOLDFAST_TEST_PIN = token.pin;
      await from('env:HOLDFAST_TEST_PIN');
      expect(process.env.HOLDFAST_TEST_PIN).toBeUndefined();
      await from('env:HOLDFAST_TEST_PIN');
    });

    test('from a credential of systemd', async () => {
      process.env.CREDENTIALS_DIRECTORY = token.dir;
      await writeFile(join(token.dir, 'token-pin'), `${token.pin}\n`, { mode: 0o600 });
      await from('credential:token-pin');
    });

    test('from a command, where that is allowed', async () => {
      const program = join(token.dir, 'ask');
      await writeFile(program, `#!/bin/sh\necho "$1$2"\n`);
      await chmod(program, 0o700);
      const source = `|${program}%20${token.pin.slice(0, 2)}%20${token.pin.slice(2)}`;
      expect((await failure(from(source))).code).toBe('ERR_URI_INVALID');
      await from(source, { allowCommands: true });
    });
  });
});
