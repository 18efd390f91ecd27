import { createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, verify } from 'node:crypto';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect } from '@jest/globals';
import type { OpenKey } from '../../src/stores/store.ts';

/** A directory of the test file's own. */
export interface Place {
  path(name: string): string;
  /** Write a file anew, mode 0600 unless another is asked whatever the umask, and return its path. */
  write(name: string, content: string | Uint8Array, mode?: number): Promise<string>;
}

export function place(): Place {
  let directory = '';
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'holdfast-'));
  });
  afterAll(async () => {
    await rm(directory, { recursive: true });
  });
  const path = (name: string): string => join(directory, name);
  return {
    path,
    write: async (name, content, mode = 0o600) => {
      await rm(path(name), { force: true });
      await writeFile(path(name), content);
      await chmod(path(name), mode);
      return path(name);
    },
  };
}

export const rsaKey = (modulusLength = 2048): KeyObject => generateKeyPairSync('rsa', { modulusLength }).privateKey;
export const ecKey = (namedCurve = 'P-256'): KeyObject => generateKeyPairSync('ec', { namedCurve }).privateKey;

/** Any bytes as PEM. */
export const pemOf = (label: string, der: Uint8Array): string =>
  `-----BEGIN ${label}-----\n${(
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? []
  ).join('\n')}\n-----END ${label}-----\n`;

/** The open key signs as this key would. Closes it. */
export async function expectSigns(opened: Promise<OpenKey>, key: KeyObject): Promise<void> {
  const open = await opened;
  const message = randomBytes(100);
  const signature = await open.sign(message);
  expect(verify('sha256', message, createPublicKey(key), signature)).toBe(true);
  await open.close();
}
