import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Secret } from '../../src/secret.ts';
import type { OpenKey } from '../../src/stores/store.ts';
import { readAddress } from '../../src/stores/tpm/address.ts';
import { startSession } from '../../src/stores/tpm/commands.ts';
import { deviceOf } from '../../src/stores/tpm/device.ts';
import type { Session } from '../../src/stores/tpm/execute.ts';
import { holdOn, visit } from '../../src/stores/tpm/hold.ts';
import { create } from '../../src/stores/tpm/index.ts';
import { openAt } from '../../src/stores/tpm/open.ts';
import { makeSalt } from '../../src/stores/tpm/salt.ts';
import { endSession, throwAwaySession, throwAwayStorage } from '../../src/stores/tpm/storage.ts';
import type { Device } from '../../src/stores/tpm/transport.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { describeUnless } from '../helpers/exercised.ts';
import { startTpm, type TestTpm } from '../helpers/swtpm.ts';
import { flush } from '../helpers/tpm-keys.ts';
import { failure } from '../stores/conformance.ts';

const describeTpm = await describeUnless('swtpm');
let tpm: TestTpm;
let uri: string;

describeTpm('what a session with a TPM is made of is wiped', () => {
  beforeAll(async () => {
    tpm = await startTpm();
    const made = await create(parseKeyUri(`tpm:file=${tpm.dir}/k.tpm?${tpm.query}`), { keyType: 'P-256' });
    uri = made.toString();
  }, 60_000);
  afterAll(() => tpm?.remove());

  const device = (): Device => deviceOf(parseKeyUri(uri));
  const { signal } = new AbortController();
  const isWiped = (bytes: Uint8Array | undefined): boolean => bytes?.length === 32 && bytes.every((one) => one === 0);

  test('when loading fails, and at the end of a visit', async () => {
    let session: Session | undefined;
    const failing = visit(
      device(),
      async (tpm) => {
        session = await throwAwaySession(tpm);
        expect(isWiped(session.key)).toBe(false);
        throw new Error('no');
      },
      signal,
    );
    await expect(failing).rejects.toThrow('no');
    expect(isWiped(session?.key)).toBe(true);
    expect(isWiped((await visit(device(), throwAwaySession, signal)).key)).toBe(true);
  });

  test.each([false, true])('when a hold is closed, and not before; resource manager: %s', async (managed) => {
    const hold = holdOn({ ...device(), managed }, throwAwaySession);
    const { key } = await hold.use(async (session) => session, signal);
    if (managed) expect(isWiped(key)).toBe(false);
    await hold.close();
    expect(isWiped(key)).toBe(true);
    await flush(tpm);
  });

  test('when it ends before the visit does', async () => {
    await visit(
      device(),
      async (tpm) => {
        const session = await throwAwaySession(tpm);
        await endSession(tpm, session);
        expect(isWiped(session.key)).toBe(true);
      },
      signal,
    );
  });

  test('when the TPM starts none', async () => {
    const salt = await visit(
      device(),
      async (tpm) => {
        const made = makeSalt(await throwAwayStorage(tpm), tpm.random);
        expect(isWiped(made.bytes)).toBe(false);
        const broken = { ...made, encrypted: made.encrypted.subarray(1) };
        expect(await failure(startSession(tpm, 'HMAC', undefined, broken))).toMatchObject({ name: 'TpmError' });
        return broken;
      },
      signal,
    );
    expect(isWiped(salt.bytes)).toBe(true);
  });

  test('and so is the authValue of the parent, when the key is closed or cannot be opened', async () => {
    const open = async (from: string, secret: Secret): Promise<OpenKey> =>
      openAt({ ...readAddress(parseKeyUri(from), {}), parentSecret: () => secret }, {});
    // Zeros are no authValue, but they can be wiped.
    const [one, other] = [new Secret('\0\0\0'), new Secret('\0\0\0')];
    const key = await open(uri, one);
    await key.sign(randomBytes(3));
    expect(one.bytes).toHaveLength(3);
    await key.close();
    expect(await failure(open(`${uri}&pin-value=wrong`, other))).toMatchObject({ code: 'ERR_SECRET_WRONG' });
    expect([one.bytes.length, other.bytes.length]).toEqual([0, 0]);
  });
});
