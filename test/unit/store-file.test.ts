import { createPublicKey } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KeySpec } from '../../src/stores/store.ts';
import { canaries } from '../helpers/canaries.ts';
import { makeKeyPair } from '../helpers/certificates.ts';
import { conformance, type TestKey } from '../stores/conformance.ts';

let directory: string;
const keys = new Map<KeySpec, Promise<TestKey>>();

const make = async (type: KeySpec): Promise<TestKey> => {
  const { pem, privateKey } = makeKeyPair(type);
  const uri = `file:${directory}/${type}.pem`;
  await writeFile(join(directory, `${type}.pem`), pem, { mode: 0o600 });
  return { uri, publicKey: createPublicKey(privateKey) };
};

conformance('file', {
  before: async () => {
    directory = await mkdtemp(join(tmpdir(), 'holdfast-'));
  },
  after: async () => {
    await rm(directory, { recursive: true });
  },
  store: async () => import('../../src/stores/file/index.ts'),
  keyTypes: ['RSA-2048', 'RSA-3072', 'RSA-4096', 'P-256', 'P-384', 'P-521'],
  key: async (type) => {
    const key = keys.get(type) ?? make(type);
    keys.set(type, key);
    return key;
  },
  protectedKey: async () => {
    const { privateKey } = makeKeyPair();
    const secret = `gr\u00fcne Gurken ${canaries.passphrase}`;
    const pem = privateKey.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: secret });
    await writeFile(join(directory, 'protected.pem'), pem, { mode: 0o600 });
    return { uri: `file:${directory}/protected.pem`, publicKey: createPublicKey(privateKey), secret };
  },
  missingKey: async () => ({ uri: `file:${directory}/missing.pem` }),
});
