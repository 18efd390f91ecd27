import { createPublicKey, randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { canaries } from '../helpers/canaries.ts';
import { findLibrary } from './libraries.mjs';
import { runner, type TestModule } from './module.ts';

/** NSS softokn on a database of its own; keys and their certificates are made by certutil. */
export async function nss(): Promise<TestModule> {
  const dir = await mkdtemp(join(tmpdir(), 'holdfast-nss-'));
  const { pin } = canaries;
  const secrets = { pin: join(dir, 'pin'), noise: join(dir, 'noise') };
  await writeFile(secrets.pin, pin, { mode: 0o600 });
  await writeFile(secrets.noise, randomBytes(64));
  // NSS derives a key from the PIN again for each secret number of a key, 10,000 rounds each: RSA would sign 30 a second.
  const env = { NSS_MIN_MP_PBE_ITERATION_COUNT: '100', NSS_MAX_MP_PBE_ITERATION_COUNT: '100' };
  const run = runner(env);
  const on = ['-d', `sql:${dir}`, '-f', secrets.pin];
  await run('certutil', ['-N', ...on]);
  const initReserved = `configdir='sql:${dir}'`;
  return {
    modulePath: findLibrary('nss') as string,
    tokenLabel: 'NSS Certificate DB',
    pin,
    env,
    query: { 'x-init-reserved': initReserved },
    initReserved,
    async makeKey(type) {
      const size = type.split('-')[1] as string;
      const kind = type.startsWith('RSA') ? ['-k', 'rsa', '-g', size] : ['-k', 'ec', '-q', `nistp${size}`];
      await run('certutil', [
        '-S',
        ...on,
        '-z',
        secrets.noise,
        ...kind,
        '-n',
        type,
        '-s',
        `CN=${type}`,
        '-x',
        '-t',
        ',,',
      ]);
      const listed = await run('certutil', ['-K', ...on]);
      const id = new RegExp(`\\b([0-9a-f]{40})\\s.*:${type}$`, 'm').exec(listed)?.[1];
      if (id === undefined) throw new Error(`certutil lists no ${type} key: ${listed}`);
      const publicKey = createPublicKey(await run('certutil', ['-L', ...on, '-n', type, '-a']));
      return { path: { id: Buffer.from(id, 'hex') }, publicKey };
    },
    remove: () => rm(dir, { recursive: true, force: true }),
  };
}
