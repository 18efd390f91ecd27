import { generateKeyPairSync } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { makeToken } from '../helpers/softhsm.ts';
import { idOf, runner, type TestModule } from './module.ts';

/** SoftHSM itself, and the directory of its own that what wraps it may use. */
export async function softHsm(): Promise<TestModule & { readonly dir: string }> {
  const token = await makeToken();
  const { modulePath, tokenLabel, pin, env, dir } = token;
  const run = runner(env);
  return {
    modulePath,
    tokenLabel,
    pin,
    env,
    dir,
    query: {},
    /** A key pair made by Node and imported, so that its public half is known from elsewhere. */
    async makeKey(type) {
      const { privateKey, publicKey } = type.startsWith('RSA')
        ? generateKeyPairSync('rsa', { modulusLength: Number(type.slice(4)) })
        : generateKeyPairSync('ec', { namedCurve: type });
      const file = join(dir, `${type}.pem`);
      await writeFile(file, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
      const id = idOf(type);
      const access = ['--module', modulePath, '--token', tokenLabel, '--pin', pin];
      await run('softhsm2-util', [...access, '--import', file, '--label', type, '--id', id.toString('hex')]);
      await rm(file);
      return { path: { object: type, id }, publicKey };
    },
    remove: () => token.remove(),
  };
}
