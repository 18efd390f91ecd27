import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { findLibrary } from './libraries.mjs';
import type { TestModule } from './module.ts';
import { softHsm } from './softhsm.ts';

/** SoftHSM as the only module of p11-kit's proxy, by a configuration of our own, which root would not be given. */
export async function proxiedSoftHsm(): Promise<TestModule> {
  const token = await softHsm();
  const config = join(token.dir, 'pkcs11');
  await mkdir(join(config, 'modules'), { recursive: true });
  await writeFile(join(config, 'pkcs11.conf'), 'user-config: only\n');
  await writeFile(join(config, 'modules', 'softhsm.module'), `module: ${token.modulePath}\n`);
  return {
    ...token,
    modulePath: findLibrary('p11-kit-proxy') as string,
    env: { ...token.env, XDG_CONFIG_HOME: token.dir },
  };
}
