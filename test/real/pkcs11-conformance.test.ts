import { execFile } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import * as pkcs11 from '../../src/stores/pkcs11/index.ts';
import type { KeySpec } from '../../src/stores/store.ts';
import { describeSoftHsm, makeToken, setRealEnvironment, type TestToken } from '../helpers/softhsm.ts';
import { conformance, type TestKey } from '../stores/conformance.ts';

const run = promisify(execFile);

describeSoftHsm('a SoftHSM token', () => {
  let token: TestToken;
  const keys = new Map<KeySpec, Promise<TestKey>>();
  const types: readonly KeySpec[] = ['RSA-2048', 'RSA-3072', 'RSA-4096', 'P-256', 'P-384', 'P-521'];

  /** A key pair made by Node and imported, so that its public half is known from elsewhere. */
  async function importKey(type: KeySpec): Promise<TestKey> {
    const { privateKey, publicKey } = type.startsWith('RSA')
      ? generateKeyPairSync('rsa', { modulusLength: Number(type.slice(4)) })
      : generateKeyPairSync('ec', { namedCurve: type });
    const file = join(token.dir, `${type}.pem`);
    await writeFile(file, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
    const id = Buffer.of(types.indexOf(type) + 1);
    const names = ['--label', type, '--id', id.toString('hex')];
    const access = ['--module', token.modulePath, '--token', token.tokenLabel, '--pin', token.pin];
    await run('softhsm2-util', [...access, '--import', file, ...names], { env: { ...process.env, ...token.env } });
    await rm(file);
    return { uri: token.uri({ object: type, id }), publicKey, secret: token.pin };
  }

  const key = (type: KeySpec): Promise<TestKey> => {
    const known = keys.get(type) ?? importKey(type);
    keys.set(type, known);
    return known;
  };

  conformance('pkcs11', {
    before: async () => {
      token = await makeToken();
      setRealEnvironment(token.env);
      for (const type of types) await key(type);
    },
    after: () => token.remove(),
    store: async () => pkcs11,
    keyTypes: types,
    key,
    protectedKey: async () => ({ ...(await key('P-256')), secret: token.pin }),
    missingKey: async () => ({ uri: token.uri({ object: 'nobody' }), secret: token.pin }),
    ambiguousKey: async () => ({ uri: token.uri(), secret: token.pin }),
  });
});
