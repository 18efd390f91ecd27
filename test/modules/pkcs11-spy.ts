import { join } from 'node:path';
import { findLibrary } from './libraries.mjs';
import type { TestModule } from './module.ts';
import { softHsm } from './softhsm.ts';

/** SoftHSM behind OpenSC's pkcs11-spy. Its log holds the PIN of the test token. */
export async function spiedSoftHsm(): Promise<TestModule> {
  const token = await softHsm();
  return {
    ...token,
    modulePath: findLibrary('pkcs11-spy') as string,
    env: { ...token.env, PKCS11SPY: token.modulePath, PKCS11SPY_OUTPUT: join(token.dir, 'spy.log') },
  };
}
