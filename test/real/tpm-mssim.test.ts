import { execFile } from 'node:child_process';
import { createPublicKey, randomBytes, verify } from 'node:crypto';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { openKey } from '../../src/stores/index.ts';
import { create, readPublic } from '../../src/stores/tpm/index.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { describeUnless } from '../helpers/exercised.ts';
import { type Bridge, mssimBridge } from '../helpers/mssim-bridge.ts';
import { startTpm, type TestTpm } from '../helpers/swtpm.ts';

const describeTpm = await describeUnless('swtpm');

describeTpm('the protocol of the reference simulator', () => {
  let tpm: TestTpm;
  let bridge: Bridge;
  beforeAll(async () => {
    tpm = await startTpm();
    bridge = await mssimBridge(tpm.query.slice('device='.length));
  });
  afterAll(async () => {
    await bridge?.close();
    await tpm?.remove();
  });

  // The bridge is ours: that it speaks as the simulator does is what this client says, which is not.
  test('tpm2-tools speak it through the bridge', async () => {
    const env = { ...process.env, TPM2TOOLS_TCTI: `mssim:host=127.0.0.1,port=${bridge.port}`, TSS2_LOG: 'all+NONE' };
    const { stdout } = await promisify(execFile)('tpm2_getrandom', ['--hex', '8'], { env });
    expect(stdout).toMatch(/^[0-9a-f]{16}$/);
    expect(bridge.signals.slice(0, 2)).toEqual([1, 11]);
  });

  test('and so do we: make a key, sign, hang up', async () => {
    const before = bridge.farewells();
    const uri = await create(parseKeyUri(`tpm:file=${tpm.dir}/k.tpm?mssim=127.0.0.1:${bridge.port}`), {
      keyType: 'P-256',
    });
    const key = await openKey(uri);
    const message = randomBytes(20);
    const signature = await key.sign(message);
    await key.close();
    const publicKey = createPublicKey({ key: Buffer.from(await readPublic(uri)), format: 'der', type: 'spki' });
    expect(verify('sha256', message, publicKey, signature)).toBe(true);
    for (let tries = 0; bridge.farewells() === before && tries < 100; tries += 1) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    expect(bridge.farewells()).toBeGreaterThan(before);
  });

  test('TPM2TOOLS_TCTI is understood', async () => {
    process.env.TPM2TOOLS_TCTI = `mssim:host=127.0.0.1,port=${bridge.port}`;
    try {
      const key = await openKey(`tpm:file=${tpm.dir}/k.tpm`);
      await key.sign(randomBytes(3));
      await key.close();
    } finally {
      delete process.env.TPM2TOOLS_TCTI;
    }
  });
});
