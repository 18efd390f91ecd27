import { execFile, spawn } from 'node:child_process';
import { createPublicKey, type KeyObject, randomBytes, verify } from 'node:crypto';
import { once } from 'node:events';
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { openKey } from '../../src/stores/index.ts';
import type { Notice, OpenKey } from '../../src/stores/store.ts';
import { readAddress } from '../../src/stores/tpm/address.ts';
import { deviceOf } from '../../src/stores/tpm/device.ts';
import { create, list, readPublic } from '../../src/stores/tpm/index.ts';
import { openAt } from '../../src/stores/tpm/open.ts';
import { LostError } from '../../src/stores/tpm/socket.ts';
import type { Connection } from '../../src/stores/tpm/transport.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { describeUnless } from '../helpers/exercised.ts';
import { resetTpm, startTpm, type TestTpm } from '../helpers/swtpm.ts';
import { loadedIn } from '../helpers/tpm-keys.ts';
import { failure } from '../stores/conformance.ts';

const describeTpm = await describeUnless('swtpm');
let tpm: TestTpm;
let uri: string;
let publicKey: KeyObject;

describeTpm('a TPM and its turns', () => {
  beforeAll(async () => {
    tpm = await startTpm();
    const made = await create(parseKeyUri(`tpm:file=${tpm.dir}/k.tpm?${tpm.query}`), { keyType: 'P-256' });
    uri = made.toString();
    publicKey = createPublicKey({ key: Buffer.from(await readPublic(made)), format: 'der', type: 'spki' });
  }, 60_000);
  afterAll(() => tpm?.remove());

  async function expectSigns(key: OpenKey): Promise<void> {
    const message = randomBytes(20);
    expect(verify('sha256', message, publicKey, await key.sign(message))).toBe(true);
  }

  test('an idle key leaves the TPM to others', async () => {
    const key = await openKey(uri);
    await expectSigns(key);
    expect(await loadedIn(tpm)).toBe('');
    await expectSigns(key);
    await key.close();
  });

  test('several open keys take turns, also while all are busy', async () => {
    const keys = await Promise.all(Array.from({ length: 5 }, () => openKey(uri)));
    await Promise.all(keys.flatMap((key) => Array.from({ length: 10 }, () => expectSigns(key))));
    await Promise.all(keys.map((key) => key.close()));
    expect(await loadedIn(tpm)).toBe('');
  });

  test('a busy key lets others in', async () => {
    const key = await openKey(uri);
    let stop = false;
    const signing = (async () => {
      while (!stop) await key.sign(randomBytes(3));
    })();
    expect(await tpm.tool('tpm2_getrandom', '--hex', '8')).toMatch(/^[0-9a-f]{16}$/);
    stop = true;
    await signing;
    await key.close();
  });

  test('what others left in a full TPM is flushed, and told', async () => {
    for (let left = 0; left < 3; left += 1)
      await tpm.tool('tpm2_createprimary', '-C', 'n', '-G', 'ecc256', '-c', 'left.ctx');
    const notices: Notice[] = [];
    const key = await openKey(uri, { notify: (notice) => notices.push(notice) });
    await expectSigns(key);
    await key.close();
    expect(notices).toEqual([
      expect.objectContaining({ kind: 'warning', message: expect.stringContaining('was full') }),
    ]);
    for (let left = 0; left < 3; left += 1) await tpm.tool('tpm2_startauthsession', '-S', 'left.ctx');
    await (await openKey(uri)).close();
    expect(await loadedIn(tpm)).toBe('');
  });

  test.each([1, 2, 3])('%d keys and sessions that others left do not hinder', async (count) => {
    for (let left = 0; left < count; left += 1) {
      await tpm.tool('tpm2_createprimary', '-C', 'n', '-G', 'ecc256', '-c', 'left.ctx');
      await tpm.tool('tpm2_startauthsession', '-S', 'left.ctx');
    }
    const key = await openKey(uri);
    await expectSigns(key);
    await key.close();
    await empty();
  });

  async function empty(): Promise<void> {
    await tpm.tool('tpm2_flushcontext', '-t');
    await tpm.tool('tpm2_flushcontext', '-l');
  }

  test('a TPM that is reset, or started anew by nobody', async () => {
    const key = await openKey(uri);
    await expectSigns(key);
    await resetTpm(tpm);
    await expectSigns(key);
    await resetTpm(tpm);
    await (await openKey(uri)).close();
    await resetTpm(tpm);
    expect(await list(parseKeyUri(`tpm:?${tpm.query}`), {})).toHaveLength(1);
    await key.close();
  });

  test('a reset between two signatures', async () => {
    const key = await openKey(uri);
    const first = key.sign(randomBytes(3));
    await resetTpm(tpm);
    await first;
    await expectSigns(key);
    await key.close();
  });

  describe('where a resource manager keeps programs apart', () => {
    /** Nothing here has one: swtpm stands in, and keeps what a kernel would flush. */
    async function managed(): Promise<{ connections: Connection[]; open: () => Promise<OpenKey> }> {
      const device = deviceOf(parseKeyUri(uri));
      const connections: Connection[] = [];
      const connect = async (signal: AbortSignal): Promise<Connection> => {
        const made = await device.connect(signal);
        connections.push(made);
        return made;
      };
      const address = { ...readAddress(parseKeyUri(uri), {}), device: { ...device, managed: true, connect } };
      return { connections, open: () => openAt(address, {}) };
    }

    test('an idle key stays loaded, on the same connection', async () => {
      const { connections, open } = await managed();
      const key = await open();
      await expectSigns(key);
      await new Promise((resolve) => setTimeout(resolve, 60));
      await expectSigns(key);
      await key.close();
      expect(connections).toHaveLength(1);
      // Nothing else hangs up here, and who hangs up wipes the session.
      const [closed] = connections;
      expect(await failure((closed as Connection).send(Buffer.from('80010000000c0000017b0008', 'hex')))).toBeInstanceOf(
        LostError,
      );
      await empty();
    });

    test('one that lost its connection gets another', async () => {
      const { connections, open } = await managed();
      const key = await open();
      connections[0]?.close();
      await expectSigns(key);
      expect(connections).toHaveLength(2);
      await key.close();
      await empty();
    });

    test('and one that was flushed is loaded again', async () => {
      const { connections, open } = await managed();
      const key = await open();
      await connections[0]?.send(Buffer.from('80010000000e0000016580000001', 'hex'));
      await expectSigns(key);
      await key.close();
      await empty();
    });
  });

  describe('a process that signs', () => {
    const signer = fileURLToPath(new URL('../helpers/tpm-signer.mjs', import.meta.url));

    test('killed in the middle, again and again: the next one finds its way, and nothing was counted', async () => {
      for (let kills = 0; kills < 8; kills += 1) {
        const child = spawn(process.execPath, [signer, uri], { stdio: ['ignore', 'pipe', 'inherit'] });
        const ended = once(child, 'exit');
        await once(child.stdout, 'data');
        child.kill('SIGKILL');
        expect((await ended)[1]).toBe('SIGKILL');
      }
      const key = await openKey(uri);
      await expectSigns(key);
      await key.close();
      expect(await tpm.tool('tpm2_getcap', 'properties-variable')).toMatch(/LOCKOUT_COUNTER: 0x0\n/);
    });

    test('and ends without closing its key: it does end, and leaves nothing', async () => {
      await empty();
      const { stdout } = await promisify(execFile)(process.execPath, [signer, uri, 'once'], { timeout: 30_000 });
      expect(stdout).toBe('signing\n');
      expect(await loadedIn(tpm)).toBe('');
    });
  });

  describe('a TPM that does not answer', () => {
    test('because another program has it: the deadline, and nothing is left', async () => {
      const socket = connect(tpm.query.slice('device='.length));
      await new Promise((resolve) => socket.once('connect', resolve));
      // Only who speaks is served.
      socket.write(Buffer.from('80010000000c0000017b0008', 'hex'));
      await new Promise((resolve) => socket.once('data', resolve));
      const error = await failure(openKey(uri, { deadline: 100 }));
      expect(error).toMatchObject({ code: 'ERR_SIGNING_TIMEOUT' });
      socket.destroy();
      await (await openKey(uri)).close();
    });

    test('because it is not there', async () => {
      const missing = await failure(openKey(`tpm:handle=0x81010001?device=${tpm.dir}/nothing`));
      expect(missing).toMatchObject({ code: 'ERR_TOKEN_NOT_FOUND', message: expect.stringContaining('(ENOENT)') });
      const refused = await failure(openKey('tpm:handle=0x81010001?tcp=127.0.0.1:1'));
      expect(refused).toMatchObject({
        code: 'ERR_TOKEN_NOT_FOUND',
        message: expect.stringContaining('(ECONNREFUSED)'),
      });
    });

    test('because it is no TPM', async () => {
      const path = join(tpm.dir, 'file');
      await writeFile(path, 'not a TPM');
      await chmod(path, 0o600);
      const error = await failure(openKey(`tpm:handle=0x81010001?device=${path}`, { deadline: 2000 }));
      expect(error.code).toBe('ERR_TOKEN_NOT_FOUND');
      expect(await readFile(path, 'utf8')).toBe('not a TPM');
    });
  });
});
