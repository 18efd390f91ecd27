import { findLibrary } from './libraries.mjs';
import type { TestModule } from './module.ts';
import { serve } from './serve.ts';
import { softHsm } from './softhsm.ts';

/** SoftHSM in another process, behind `p11-kit server` on a socket of its own. */
export async function servedSoftHsm(): Promise<TestModule> {
  const token = await softHsm();
  const server = await serve(token);
  return {
    ...token,
    modulePath: findLibrary('p11-kit-client') as string,
    // The client must not find the token by another way than the server.
    env: { P11_KIT_SERVER_ADDRESS: `unix:path=${server.socket}` },
    async remove() {
      await server.stop();
      await token.remove();
    },
  };
}
