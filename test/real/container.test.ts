import { execFile } from 'node:child_process';
import { createPublicKey, verify } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from '@jest/globals';
import { p11KitClient, type RemoteToken, startSoftHsmContainer, startSoftHsmServer } from '../containers/softhsm.ts';
import { testUnless } from '../helpers/exercised.ts';
import { softhsmModule } from '../helpers/softhsm.ts';

const run = promisify(execFile);
const script = fileURLToPath(new URL('../containers/sign.mjs', import.meta.url));

/** The client module keeps its connection for the life of the process: each use gets a process of its own. */
async function signs(token: RemoteToken): Promise<void> {
  try {
    const running = run(process.execPath, [script, token.uri({ object: 'web' }), 'a message'], {
      env: { ...process.env, ...token.env },
    });
    running.child.stdin?.end(token.pin);
    const { stdout } = await running;
    const printed = JSON.parse(stdout) as { publicKey: string; signature: string };
    const key = createPublicKey({ key: Buffer.from(printed.publicKey, 'hex'), type: 'spki', format: 'der' });
    const check = (message: string): boolean =>
      verify('sha256', Buffer.from(message), key, Buffer.from(printed.signature, 'hex'));
    expect(check('a message')).toBe(true);
    expect(check('another message')).toBe(false);
  } finally {
    await token.stop();
  }
}

const isInstalled = softhsmModule() !== undefined && p11KitClient() !== undefined;

(isInstalled ? test : test.skip)(
  `a key made and used in a SoftHSM behind p11-kit server${isInstalled ? '' : ' (skipped: not installed)'}`,
  async () => {
    await signs(await startSoftHsmServer());
  },
  60_000,
);

const engineTest = await testUnless('docker');

engineTest(
  'a key made and used in a SoftHSM in a container',
  async () => {
    await signs(await startSoftHsmContainer());
  },
  300_000,
);
