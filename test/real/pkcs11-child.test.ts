import { execFile, spawn } from 'node:child_process';
import { createPublicKey, randomBytes, verify } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { askPerson } from '../../src/secret.ts';
import * as pkcs11 from '../../src/stores/pkcs11/index.ts';
import type { OpenKey, OpenOptions } from '../../src/stores/store.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { shown } from '../helpers/canaries.ts';
import { childrenOf, isThere, whenGone } from '../helpers/children.ts';
import { CHILD, inChild } from '../helpers/in-child.ts';
import { describeSoftHsm, makeToken, setRealEnvironment, type TestToken } from '../helpers/softhsm.ts';
import { failure } from '../stores/conformance.ts';

const run = promisify(execFile);
const LIBRARY = pathToFileURL(fileURLToPath(new URL('../../dist/index.js', import.meta.url))).href;

describeSoftHsm('a PKCS#11 module in a child process', () => {
  let token: TestToken;
  let uri: string;
  let pinFile: string;

  const openKey = (options: OpenOptions = {}): Promise<OpenKey> => inChild.open(parseKeyUri(uri), options);
  const onlyChild = (): number => {
    const [pid, ...others] = childrenOf(process.pid);
    expect([pid, others]).toEqual([expect.any(Number), []]);
    return pid as number;
  };
  const signs = async (key: OpenKey): Promise<boolean> => {
    const message = randomBytes(32);
    const publicKey = createPublicKey({ key: Buffer.from(key.publicKey as Uint8Array), format: 'der', type: 'spki' });
    return verify('sha256', message, publicKey, await key.sign(message));
  };
  /** A program of its own, which uses the built library. */
  const program = (code: string): string[] => [
    '--no-warnings',
    '--input-type=module',
    '--eval',
    `import { openKey } from '${LIBRARY}'; const uri = process.env.TEST_URI; ${code}`,
  ];
  const environment = (): NodeJS.ProcessEnv => ({ ...process.env, ...token.env, TEST_URI: uri });

  beforeAll(async () => {
    token = await makeToken({ pin: shown });
    setRealEnvironment(token.env);
    pinFile = join(token.dir, 'pin');
    writeFileSync(pinFile, token.pin, { mode: 0o600 });
    uri = token.uri({ object: 'key' }, { 'pin-source': `file:${pinFile}` });
    await inChild.create(parseKeyUri(uri), { keyType: 'P-256' });
  });
  afterAll(() => token.remove());

  test('it is there from open to close', async () => {
    expect(childrenOf(process.pid)).toEqual([]);
    const key = await openKey();
    const pid = onlyChild();
    expect(await signs(key)).toBe(true);
    await key.close();
    expect(isThere(pid)).toBe(false);
  });

  test('each call of the store has one, which ends with it', async () => {
    const key = parseKeyUri(uri);
    expect(await inChild.list(key, { login: true })).toHaveLength(1);
    expect(await inChild.readCertificates(key, {})).toEqual([]);
    expect(await inChild.retryPin(key, {})).toMatchObject({ forgotten: [] });
    expect((await failure(inChild.create(key, { keyType: 'P-256' }))).code).toBe('ERR_KEY_EXISTS');
    expect((await failure(inChild.removeCertificate(key, {}))).code).toBe('ERR_CERTIFICATE_REQUIRED');
    for (const pid of childrenOf(process.pid)) await whenGone(pid);
  });

  test.each(['SIGKILL', 'SIGSEGV', 'SIGABRT'] as const)(
    '%s: what was under way is signed by one new process, which is opened once',
    async (signal) => {
      let asked = 0;
      const secret = (): string => {
        asked += 1;
        return token.pin;
      };
      const key = await openKey({ secret });
      const pid = onlyChild();
      process.kill(pid, 'SIGSTOP');
      const pending = [signs(key), signs(key), signs(key)];
      process.kill(pid, signal);
      process.kill(pid, 'SIGCONT');
      expect(await Promise.all(pending)).toEqual([true, true, true]);
      expect(onlyChild()).not.toBe(pid);
      expect(asked).toBe(2);
      expect(await signs(key)).toBe(true);
      await key.close();
      expect(childrenOf(process.pid)).toEqual([]);
    },
  );

  test('killed, and no new process can have the key: the error says both', async () => {
    let asked = 0;
    const secret = (): string => {
      asked += 1;
      return asked === 1 ? token.pin : 'not-the-pin-any-more';
    };
    const key = await openKey({ secret });
    process.kill(onlyChild(), 'SIGKILL');
    const error = await failure(key.sign(randomBytes(32)));
    expect(error.code).toBe('ERR_SECRET_WRONG');
    expect(error.message).toMatch(
      /^key "key" .* was lost \(ERR_STORE_CRASHED\) and did not come back with a new process: the token "test" refused/,
    );
    await key.close();
    for (const pid of childrenOf(process.pid)) await whenGone(pid);
    await (await openKey()).close(); // all tries are back
  });

  test('one that hangs while it signs: the deadline holds, its process is ended, and the next has a new one', async () => {
    const key = await openKey({ deadline: 3000 });
    const pid = onlyChild();
    process.kill(pid, 'SIGSTOP');
    expect((await failure(key.sign(randomBytes(32)))).code).toBe('ERR_SIGNING_TIMEOUT');
    await whenGone(pid);
    expect(await signs(key)).toBe(true);
    await key.close();
    expect(childrenOf(process.pid)).toEqual([]);
  });

  test('one that hangs while it is opened, and one that hangs when it is closed', async () => {
    const stopping = (): string => {
      process.kill(onlyChild(), 'SIGSTOP');
      return token.pin;
    };
    expect((await failure(openKey({ secret: stopping, deadline: 3000 }))).code).toBe('ERR_SIGNING_TIMEOUT');
    await whenGone(onlyChild());

    const key = await openKey();
    const pid = onlyChild();
    process.kill(pid, 'SIGSTOP');
    await key.close();
    expect(isThere(pid)).toBe(false);
  });

  test('an abort answers at once, though the child does not', async () => {
    const controller = new AbortController();
    const key = await openKey({ signal: controller.signal });
    const pid = onlyChild();
    process.kill(pid, 'SIGSTOP');
    const pending = failure(key.sign(randomBytes(32)));
    controller.abort();
    expect((await pending).code).toBe('ERR_INTERRUPTED');
    expect(isThere(pid)).toBe(true);
    await key.close();
    expect(isThere(pid)).toBe(false);
  });

  test('signals to the group are the parent’s', async () => {
    const key = await openKey();
    for (const signal of ['SIGINT', 'SIGHUP', 'SIGTERM'] as const) process.kill(onlyChild(), signal);
    expect(await signs(key)).toBe(true);
    await key.close();
  });

  describe('with a parent of its own', () => {
    test('killed: nothing stays behind', async () => {
      const parent = spawn(
        process.execPath,
        program(`const key = await openKey(uri); console.log('open'); setInterval(() => {}, 1000);`),
        { env: environment(), stdio: ['ignore', 'pipe', 'inherit'] },
      );
      await new Promise((resolve) => parent.stdout.once('data', resolve));
      const [child] = childrenOf(parent.pid as number);
      expect(child).toEqual(expect.any(Number));
      parent.kill('SIGKILL');
      await whenGone(child as number);
    });

    test('it can end while a key is open', async () => {
      const { stdout } = await run(
        process.execPath,
        program(`const key = await openKey(uri); await key.sign(Buffer.from('')); console.log('signed');`),
        { env: environment() },
      );
      expect(stdout).toBe('signed\n');
    });

    test('it has neither the module nor the driver, and what is printed there goes to stderr', async () => {
      const code = `const key = await openKey(uri); await key.sign(Buffer.from(''));
        process.report.excludeNetwork = true;
        console.log(process.report.getReport().sharedObjects.filter((path) => /softhsm|[.]node$/.test(path)).length);
        await key.close();
        const { code } = await openKey(uri, { childPath: ${JSON.stringify(join(token.dir, 'loud.mjs'))} }).catch((error) => error);
        console.log(code);`;
      writeFileSync(join(token.dir, 'loud.mjs'), `console.log('from the driver'); process.disconnect();`);
      const { stdout, stderr } = await run(process.execPath, program(code), { env: environment() });
      expect(stdout).toBe('0\nERR_STORE_CRASHED\n');
      expect(stderr).toContain('from the driver');
    });

    test('a PIN that the URI names is never in it', async () => {
      const code = (secret: string): string => `
        import { writeHeapSnapshot } from 'node:v8';
        const key = await openKey(uri, ${secret});
        await key.sign(Buffer.from(''));
        writeHeapSnapshot(${JSON.stringify(join(token.dir, 'heap'))});
        await key.close();`;
      const hasPin = async (secret: string, env: NodeJS.ProcessEnv): Promise<boolean> => {
        await run(process.execPath, program(code(secret)), { env });
        return readFileSync(join(token.dir, 'heap'), 'utf8').includes(token.pin);
      };
      expect(await hasPin('{}', environment())).toBe(false);
      expect(await hasPin('{ secret: process.env.TEST_PIN }', { ...environment(), TEST_PIN: token.pin })).toBe(true);
    });

    test('a worker thread may have one, but no module in place', async () => {
      const code = `import { Worker } from 'node:worker_threads';
        new Worker(\`import('${LIBRARY}').then(async ({ openKey }) => {
          const key = await openKey(process.env.TEST_URI);
          await key.sign(Buffer.from(''));
          await key.close();
          const { code } = await openKey(process.env.TEST_URI, { isolation: 'in-place' }).catch((error) => error);
          console.log('signed', code);
        })\`, { eval: true });`;
      const { stdout } = await run(process.execPath, program(code), { env: environment() });
      expect(stdout).toBe('signed ERR_OPTION_INVALID\n');
    });
  });

  test('a variable that is the PIN is taken from the environment, and the child never has it', async () => {
    process.env.TEST_CHILD_PIN = token.pin;
    const from = token.uri({ object: 'key' }, { 'pin-source': 'env:TEST_CHILD_PIN' });
    for (let times = 0; times < 2; times += 1) {
      const key = await inChild.open(parseKeyUri(from), {});
      expect(process.env.TEST_CHILD_PIN).toBeUndefined();
      if (process.platform === 'linux') {
        expect(readFileSync(`/proc/${onlyChild()}/environ`, 'latin1')).not.toContain(token.pin);
      }
      expect(await signs(key)).toBe(true);
      await key.close();
    }
  });

  test('a PIN that a person typed and the token refused is not sent by the next child', async () => {
    const secret = askPerson(() => `wrong${token.pin.slice(5)}`);
    expect((await failure(openKey({ secret }))).message).toContain('CKR_PIN_INCORRECT');
    expect((await failure(openKey({ secret }))).message).toContain('has refused this PIN before');
    await (await openKey()).close();
  });

  test('what a function of the caller throws comes back as it was', async () => {
    const abort = new DOMException('not now', 'AbortError');
    const secret = (): never => {
      throw abort;
    };
    await expect(openKey({ secret })).rejects.toBe(abort);
    const own = new Error('no safe');
    const error = await failure(
      openKey({
        secret: () => {
          throw own;
        },
      }),
    );
    expect(error.code).toBe('ERR_SECRET_UNREADABLE');
    expect(error.cause).toBe(own);
  });

  test('warnings of the child are told here', async () => {
    const told: string[] = [];
    const odd = parseKeyUri(`${uri}&x-other=1`);
    await (await inChild.open(odd, { notify: ({ message }) => told.push(message) })).close();
    expect(told).toEqual([expect.stringContaining('x-other')]);
  });

  test('a program that is not there, and one that is another', async () => {
    const key = parseKeyUri(uri);
    const absent = await failure(pkcs11.open(key, { childPath: join(token.dir, 'nowhere.js') }));
    expect(absent.code).toBe('ERR_CHILD_MISSING');
    for (const word of ['childPath', "isolation: 'in-place'"]) expect(absent.hint).toContain(word);
    expect((await failure(pkcs11.open(key, {}))).code).toBe('ERR_CHILD_MISSING'); // there is none in src/

    writeFileSync(join(token.dir, 'other.mjs'), 'process.exit(7);');
    const other = await failure(pkcs11.open(key, { childPath: join(token.dir, 'other.mjs') }));
    expect(other).toMatchObject({ code: 'ERR_STORE_CRASHED', message: expect.stringContaining('exit status 7') });
    expect(CHILD).toContain('holdfast-child.js');
  });
});
