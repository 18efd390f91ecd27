import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { openKey } from '../../src/stores/index.ts';
import type { OpenKey } from '../../src/stores/store.ts';
import { readAddress } from '../../src/stores/tpm/address.ts';
import { CC } from '../../src/stores/tpm/constants.ts';
import { create } from '../../src/stores/tpm/index.ts';
import { openAt } from '../../src/stores/tpm/open.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { describeUnless } from '../helpers/exercised.ts';
import { startTpm, type TestTpm } from '../helpers/swtpm.ts';
import { loadedIn } from '../helpers/tpm-keys.ts';
import { type TpmProxy, tpmProxy } from '../helpers/tpm-proxy.ts';
import { failure } from '../stores/conformance.ts';

const describeTpm = await describeUnless('swtpm');
const SECRET = 'the authValue';
const message = randomBytes(20);
let tpm: TestTpm;
let proxy: TpmProxy;
let uri: string;

describeTpm('somebody between us and the TPM', () => {
  beforeAll(async () => {
    tpm = await startTpm();
    const swtpm = tpm.query.slice('device='.length);
    await create(parseKeyUri(`tpm:file=${tpm.dir}/k.tpm?${tpm.query}&pin-value=${encodeURIComponent(SECRET)}`), {
      keyType: 'P-256',
    });
    proxy = await tpmProxy(swtpm, join(tpm.dir, 'tpmrm0'));
    uri = `tpm:file=${tpm.dir}/k.tpm?${proxy.query}&pin-value=${encodeURIComponent(SECRET)}`;
  }, 60_000);
  afterEach(() => {
    proxy.answer = (answer) => answer;
  });
  afterAll(async () => {
    await proxy?.close();
    await tpm?.remove();
  });

  const counted = async (): Promise<string | undefined> =>
    /LOCKOUT_COUNTER: (\S+)/.exec(await tpm.tool('tpm2_getcap', 'properties-variable'))?.[1];

  /** Flush what a kernel would have flushed, and what was cut off. */
  async function empty(): Promise<void> {
    for (const kind of ['-t', '-l']) await tpm.tool('tpm2_flushcontext', kind);
  }

  describe.each([false, true])('who damages one answer to a signature, resource manager: %s', (managed) => {
    const open = (): Promise<OpenKey> => {
      const address = readAddress(parseKeyUri(uri), {});
      return openAt({ ...address, device: { ...address.device, managed } }, {});
    };

    test.each([
      ['its HMAC', (answer: Buffer) => answer.writeUInt8(answer.readUInt8(answer.length - 1) ^ 1, answer.length - 1)],
      ['its code', (answer: Buffer) => answer.writeUInt32BE(0x101, 6)],
    ])('in %s: the others are right, and nothing is counted', async (_, damage) => {
      const key = await open();
      let damaged = 0;
      proxy.answer = (answer, code) => {
        if (code === CC.Sign && damaged++ === 0) damage(answer);
        return answer;
      };
      const all = await Promise.allSettled(Array.from({ length: 4 }, () => key.sign(message)));
      expect(all.map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'fulfilled', 'fulfilled']);
      await key.close();
      expect(await counted()).toBe('0x0');
      await empty();
    });
  });

  test('who withholds the answer to a signature: the next ones are not kept waiting', async () => {
    const address = readAddress(parseKeyUri(uri), {});
    const key = await openAt({ ...address, device: { ...address.device, managed: false } }, { deadline: 3000 });
    let withheld = 0;
    proxy.answer = (answer, code) => (code === CC.Sign && withheld++ === 0 ? undefined : answer);
    expect(await failure(key.sign(message))).toMatchObject({ code: 'ERR_SIGNING_TIMEOUT' });
    await key.sign(message);
    await key.sign(message);
    await key.close();
    expect(withheld).toBe(3);
    expect(await counted()).toBe('0x0');
    await empty();
  });

  test('whose socket is called as a device with a resource manager: it is none', async () => {
    const key = await openKey(uri);
    await key.sign(message);
    await key.close();
    expect(await loadedIn(tpm)).toBe('');
  });
});
