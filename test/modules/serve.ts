import { type ChildProcess, spawn } from 'node:child_process';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TestToken } from '../helpers/softhsm.ts';

export interface TokenServer {
  readonly socket: string;
  stop(): Promise<void>;
  /** As a crash: the server and its process for each connection. */
  kill(): Promise<void>;
}

/** A `p11-kit server` of our own for one token, with its socket in the token's directory. */
export async function serve({
  dir,
  modulePath,
  tokenLabel,
  env,
}: Pick<TestToken, 'dir' | 'modulePath' | 'tokenLabel' | 'env'>): Promise<TokenServer> {
  const socket = join(dir, 'p11.sock');
  const provider = ['--provider', modulePath, `pkcs11:token=${tokenLabel}`];
  const server = spawn('p11-kit', ['server', '--foreground', '--name', socket, ...provider], {
    env: { ...process.env, ...env },
    stdio: 'ignore',
    detached: true, // in a group of its own, with its process for each connection
  });
  try {
    await answers(socket);
  } catch (error) {
    await ended(server);
    throw error;
  }
  const kill = (): Promise<void> => {
    const gone = ended(server);
    process.kill(-(server.pid as number), 'SIGKILL');
    return gone;
  };
  return { socket, stop: () => ended(server), kill };
}

/** Wait until a socket takes connections, ten seconds at most. */
export async function answers(path: string): Promise<void> {
  for (let tries = 0; ; tries += 1) {
    const thrown = await new Promise<Error | undefined>((resolve) => {
      const socket = connect(path, () => resolve(void socket.destroy()));
      socket.on('error', resolve);
    });
    if (thrown === undefined) return;
    if (tries === 100) throw new Error(`nothing answers at ${path}`, { cause: thrown });
    await sleep(100);
  }
}

/** End a program and wait until it has. */
export const ended = (child: ChildProcess): Promise<void> =>
  new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) {
      resolve();
      return;
    }
    child.on('exit', () => resolve());
    child.kill('SIGTERM');
  });
