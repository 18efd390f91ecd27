import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { getCredentials } from '../../src/index.ts';
import { type LocalRolesAnywhere, startLocalRolesAnywhere } from '../../src/local/index.ts';
import * as pkcs11 from '../../src/stores/pkcs11/in-place.ts';
import type { KeySpec } from '../../src/stores/store.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { vend } from '../helpers/canaries.ts';
import { CHILD } from '../helpers/in-child.ts';
import { describeSoftHsm, makeToken, setRealEnvironment, type TestToken } from '../helpers/softhsm.ts';

/** The whole way, for every kind of key in every place: key, certificate, chain, signature, session. */
const TYPES: readonly KeySpec[] = ['RSA-2048', 'RSA-3072', 'RSA-4096', 'P-256', 'P-384', 'P-521'];
const DEPTHS = [0, 1, 2, 3, 4];

let service: LocalRolesAnywhere;
let dir: string;

beforeAll(async () => {
  service = await startLocalRolesAnywhere({ vend });
  dir = await mkdtemp(join(tmpdir(), 'holdfast-matrix-'));
});

afterAll(async () => {
  await service.close();
  await rm(dir, { recursive: true, force: true });
});

interface Made {
  readonly key: string;
  readonly publicKey: Uint8Array;
  readonly secret?: string;
}

/** Every other certificate first, then the rest backwards, and the anchor, which has no business there, in between. */
function shuffled(chain: string): string {
  const blocks = [...chain.matchAll(/-----BEGIN[\s\S]*?-----END CERTIFICATE-----\n?/g)].map(([block]) => block);
  const odd = blocks.filter((_, index) => index % 2 === 1);
  const even = blocks.filter((_, index) => index % 2 === 0);
  return [...odd, service.anchor, ...even.reverse()].join('\n');
}

async function buysSessions({ key, publicKey, secret }: Made): Promise<void> {
  for (const intermediates of DEPTHS) {
    const { certificate, chain } = await service.issue({ publicKey, intermediates });
    const { trustAnchorArn, profileArn, roleArn, endpoint } = service;
    const arns = { trustAnchorArn, profileArn, roleArn, endpoint };
    const got = await getCredentials({ ...arns, childPath: CHILD, key, secret, certificate, chain: shuffled(chain) });
    expect(got.accountId).toBe(service.accountId);
    expect(service.requests.at(-1)).toMatchObject({ path: '/sessions', status: 201, warnings: [] });
  }
}

describe('a key in a file', () => {
  test.each(TYPES)('%s, behind 0 to 4 shuffled intermediates', async (type) => {
    const { privateKey, publicKey } = type.startsWith('RSA')
      ? generateKeyPairSync('rsa', { modulusLength: Number(type.slice(4)) })
      : generateKeyPairSync('ec', { namedCurve: type });
    const key = join(dir, `${type}.pem`);
    await writeFile(key, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
    await buysSessions({ key, publicKey: publicKey.export({ type: 'spki', format: 'der' }) });
  });
});

describeSoftHsm('a key made in a SoftHSM token', () => {
  let token: TestToken;

  beforeAll(async () => {
    token = await makeToken();
    setRealEnvironment(token.env);
  });
  afterAll(() => token.remove());

  test.each(TYPES)('%s, behind 0 to 4 shuffled intermediates', async (type) => {
    const secret = token.pin;
    const made = await pkcs11.create(parseKeyUri(token.uri({ object: type })), { keyType: type, secret });
    const opened = await pkcs11.open(made, { secret });
    const publicKey = opened.publicKey as Uint8Array;
    await opened.close();
    await buysSessions({ key: token.uri({ object: type }), publicKey, secret });
  });
});
