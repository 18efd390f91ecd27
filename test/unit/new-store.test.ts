import { sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { afterEach, expect, jest, test } from '@jest/globals';
import { fromRolesAnywhere } from '../../src/index.ts';
import { startLocalRolesAnywhere } from '../../src/local/index.ts';
import { makeKeyPair } from '../helpers/certificates.ts';
import { credentials, signer } from '../helpers/new-store-example.ts';

const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

afterEach(() => {
  jest.restoreAllMocks();
});

test('the example of docs/new-store.md is the one that is compiled and run here, and short', () => {
  const [, example = ''] = /```ts\n(import \{ fromRolesAnywhere.*?)```/s.exec(read('docs/new-store.md')) ?? [];
  expect(read('test/helpers/new-store-example.ts')).toBe(example.replace("'holdfast'", "'../../src/index.ts'"));
  expect(example.split('\n').length).toBeLessThanOrEqual(24);
});

test('its signer buys credentials', async () => {
  const { privateKey, publicKey } = makeKeyPair();
  const asked: string[] = [];
  jest.spyOn(globalThis, 'fetch').mockImplementation(async (url, init) => {
    asked.push(new Request(url).url);
    return new Response(new Uint8Array(sign('sha256', init?.body as Uint8Array, privateKey)));
  });
  const service = await startLocalRolesAnywhere();
  try {
    const issued = await service.issue({ publicKey, commonName: 'example', intermediates: 1 });
    const { endpoint, trustAnchorArn, profileArn, roleArn } = service;
    const arns = { trustAnchorArn, profileArn, roleArn };
    const { accessKeyId } = await fromRolesAnywhere({ signer, ...issued, ...arns, endpoint })();
    expect(accessKeyId).toMatch(/^ASIA/);
    expect(asked).toEqual(['https://signer.example.com/keys/web?hash=SHA-256']);
  } finally {
    await service.close();
  }
});

test('its provider says which file it misses, and a service that refuses is an error', async () => {
  await expect(credentials()).rejects.toMatchObject({ code: 'ERR_FILE_NOT_FOUND' });
  jest.spyOn(globalThis, 'fetch').mockResolvedValue(new Response('', { status: 403 }));
  await expect(signer.sign(Buffer.from('message'))).rejects.toThrow('the signing service answered 403');
});
