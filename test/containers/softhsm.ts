import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { formatKeyUri } from '../../src/uri.ts';
import { makeToken } from '../helpers/softhsm.ts';
import { findLibrary } from '../modules/libraries.mjs';
import { answers, serve } from '../modules/serve.ts';

/** The module through which a remote token is reached; undefined where p11-kit-modules is not installed. */
export const p11KitClient = (): string | undefined => findLibrary('p11-kit-client');

/** A SoftHSM token that another process, or another machine, holds. */
export interface RemoteToken {
  readonly pin: string;
  /** For child processes: `{ ...process.env, ...token.env }`. */
  readonly env: Readonly<Record<string, string>>;
  /** A key URI on this token, without the PIN. */
  uri(path?: Record<string, string>): string;
  stop(): Promise<void>;
}

/** SoftHSM in a Debian container. Needs a container engine, see engine.mjs. */
export async function startSoftHsmContainer(): Promise<RemoteToken> {
  const { GenericContainer } = await import('testcontainers');
  const dir = await mkdtemp(join(tmpdir(), 'holdfast-container-'));
  const token = { TOKEN: 'boxed', PIN: randomBytes(6).toString('hex'), SO_PIN: randomBytes(6).toString('hex') };
  try {
    const here = fileURLToPath(new URL('.', import.meta.url));
    const image = await GenericContainer.fromDockerfile(here, 'softhsm.Dockerfile').build('holdfast-test-softhsm', {
      deleteOnExit: false,
    });
    const container = await image
      .withBindMounts([{ source: dir, target: '/share' }])
      .withEnvironment(token)
      .start();
    const stop = async (): Promise<void> => {
      await container.stop();
      await rm(dir, { recursive: true, force: true });
    };
    return await reachable(join(dir, 'p11.sock'), token.TOKEN, token.PIN, stop);
  } catch (error) {
    await rm(dir, { recursive: true, force: true });
    throw error;
  }
}

/** The locally installed SoftHSM behind a `p11-kit server` of our own. */
export async function startSoftHsmServer(): Promise<RemoteToken> {
  const token = await makeToken({ tokenLabel: 'served' });
  const server = await serve(token);
  const stop = async (): Promise<void> => {
    await server.stop();
    await token.remove();
  };
  return reachable(server.socket, token.tokenLabel, token.pin, stop);
}

async function reachable(
  socket: string,
  tokenLabel: string,
  pin: string,
  stop: () => Promise<void>,
): Promise<RemoteToken> {
  const module = p11KitClient();
  try {
    if (module === undefined) throw new Error('p11-kit-client.so is not installed (apt: p11-kit-modules)');
    await answers(socket);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    pin,
    env: { P11_KIT_SERVER_ADDRESS: `unix:path=${socket}` },
    uri: (path = {}) =>
      formatKeyUri({
        scheme: 'pkcs11',
        path: [['token', tokenLabel], ...Object.entries(path)],
        query: [['module-path', module]],
      }),
    stop,
  };
}
