import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach } from '@jest/globals';
import type { RolesAnywhereInit } from '../../src/provider.ts';
import { type CacheKey, cacheKeyOf, type SharedSessionOptions, sharedSession } from '../../src/serve/index.ts';
import type { Credentials } from '../../src/session-answer.ts';
import { ARNS } from './create-session.ts';

// Elsewhere there is no directory that is private and in memory.
export const MINUTE = 60_000;
export const NOW: number = Date.parse('2026-01-01T00:00:00Z');

/** Made anew for each test. */
export const world = { dir: '', certificate: '', bought: 0, now: NOW, steady: 0, told: [] as string[] };

/** Time goes by, as both clocks have it. */
export function pass(milliseconds: number): void {
  world.now += milliseconds;
  world.steady += milliseconds;
}

/** For a test file: before each test, and after it. */
export function makeWorld(): void {
  beforeEach(() => {
    const dir = mkdtempSync(join(tmpdir(), 'holdfast-cache-'));
    Object.assign(world, { dir, certificate: join(dir, 'certificate.pem'), bought: 0, now: NOW, steady: 0, told: [] });
    writeFileSync(world.certificate, 'A'.repeat(200)); // nobody looks into it here
  });
  afterEach(() => rmSync(world.dir, { recursive: true, force: true }));
}

export function keyOf(changes: Partial<RolesAnywhereInit> = {}): CacheKey {
  const key = cacheKeyOf({ ...ARNS, key: 'pkcs11:token=prod;object=web', certificate: world.certificate, ...changes });
  if (typeof key === 'string') throw new Error(key);
  return key;
}

/** A session, and how many were bought for it. */
export async function session(
  changes: Partial<SharedSessionOptions> & { life?: number; key?: CacheKey; skew?: number } = {},
): Promise<Credentials> {
  const { life = 60 * MINUTE, key = keyOf(), skew = 0, ...rest } = changes;
  return sharedSession(key, {
    buy: async () => {
      world.bought += 1;
      const credentials = {
        accessKeyId: `ASIA${world.bought}`,
        secretAccessKey: 'secret',
        sessionToken: 'token',
        accountId: '111122223333',
        expiration: new Date(world.now + skew + life),
      };
      return { credentials, skew };
    },
    signal: new AbortController().signal,
    tell: (label, message) => world.told.push(`${label}: ${message}`),
    clock: { now: () => world.now, steady: () => world.steady },
    ...rest,
  });
}

export const runtime = (): string => join(process.env.XDG_RUNTIME_DIR as string, 'holdfast');
export const names = (): string[] => readdirSync(runtime());
export const entry = (): string => {
  const [name, ...more] = names();
  if (name === undefined || more.length > 0) throw new Error(`not one entry: ${names().join(' ')}`);
  return join(runtime(), name);
};
