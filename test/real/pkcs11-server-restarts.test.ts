import { verify } from 'node:crypto';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import * as inPlace from '../../src/stores/pkcs11/in-place.ts';
import type { KeyStore, OpenKey } from '../../src/stores/store.ts';
import { type KeyUri, parseKeyUri } from '../../src/uri.ts';
import { describeUnless } from '../helpers/exercised.ts';
import { inChild } from '../helpers/in-child.ts';
import { setRealEnvironment } from '../helpers/softhsm.ts';
import { findLibrary } from '../modules/libraries.mjs';
import { uriOn } from '../modules/module.ts';
import { serve, type TokenServer } from '../modules/serve.ts';
import { softHsm } from '../modules/softhsm.ts';
import { failure } from '../stores/conformance.ts';

const describeServed = await describeUnless('p11-kit-server');
const message = Buffer.from('message');
const verifies = (key: OpenKey, signature: Uint8Array): boolean =>
  verify('sha256', message, { key: Buffer.from(key.publicKey as Uint8Array), format: 'der', type: 'spki' }, signature);

describeServed('the server of a token is killed and comes back', () => {
  let token: Awaited<ReturnType<typeof softHsm>>;
  let server: TokenServer;
  let uri: KeyUri;

  const start = async (): Promise<void> => {
    rmSync(join(token.dir, 'p11.sock'), { force: true });
    server = await serve(token);
  };

  beforeAll(async () => {
    token = await softHsm();
    const { path } = await token.makeKey('P-256');
    await start();
    setRealEnvironment({ P11_KIT_SERVER_ADDRESS: `unix:path=${server.socket}` });
    uri = parseKeyUri(uriOn({ ...token, modulePath: findLibrary('p11-kit-client') as string }, path));
  });
  afterAll(async () => {
    await server.stop();
    await token.remove();
  });

  test.each<[string, Pick<KeyStore, 'open'>]>([
    ['in place', inPlace],
    ['in a child process', inChild],
  ])('%s: an open key signs again, several at a time; while it is away the error says so', async (_how, store) => {
    const key = await store.open(uri, { secret: token.pin });
    try {
      for (let times = 0; times < 3; times += 1) {
        await server.kill();
        if (times === 1) {
          const error = await failure(key.sign(message));
          expect(error.code).toBe('ERR_TOKEN_NOT_FOUND');
          expect(error.message).toMatch(/^key "P-256" .* was lost \([A-Z_]+\) and did not come back with a new /);
        }
        await start();
        const signatures = await Promise.all(Array.from({ length: 5 }, () => key.sign(message)));
        expect(signatures.filter((one) => verifies(key, one))).toHaveLength(5);
      }
    } finally {
      await key.close();
    }
  });
});
