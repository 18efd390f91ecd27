import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { formatKeyUri } from '../../src/uri.ts';
import { makeToken } from '../helpers/softhsm.ts';

const CLIENTS = [
  '/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so',
  '/usr/lib/aarch64-linux-gnu/pkcs11/p11-kit-client.so',
  '/usr/lib64/pkcs11/p11-kit-client.so',
];

/** The module through which a remote token is reached; undefined where p11-kit-modules is not installed. */
export const p11KitClient = (): string | undefined => CLIENTS.find((path) => existsSync(path));

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
  const socket = join(token.dir, 'p11.sock');
  const provider = ['--provider', token.modulePath, `pkcs11:token=${token.tokenLabel}`];
  const server = spawn('p11-kit', ['server', '--foreground', '--name', socket, ...provider], {
    env: { ...process.env, ...token.env },
    stdio: 'ignore',
  });
  const stop = async (): Promise<void> => {
    await ended(server);
    await token.remove();
  };
  return reachable(socket, token.tokenLabel, token.pin, stop);
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

/** Wait until a socket takes connections, ten seconds at most. */
async function answers(path: string): Promise<void> {
  for (let tries = 0; ; tries += 1) {
    const thrown = await new Promise<Error | undefined>((resolve) => {
      const socket = connect(path, () => resolve(void socket.destroy()));
      socket.on('error', resolve);
    });
    if (thrown === undefined) return;
    if (tries === 100) throw new Error(`no p11-kit server at ${path}`, { cause: thrown });
    await sleep(100);
  }
}

const ended = (child: ChildProcess): Promise<void> =>
  new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) {
      resolve();
      return;
    }
    child.on('exit', () => resolve());
    child.kill('SIGTERM');
  });
