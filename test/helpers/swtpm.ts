import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, createServer, type NetConnectOpts } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { ended } from '../modules/serve.ts';

/** A TPM in software of a test's own. */
export interface TestTpm {
  /** Empty at first, and removed with the TPM. */
  readonly dir: string;
  /** The query of a key URI that reaches it: `device=...` or `tcp=...`. */
  readonly query: string;
  /** For tpm2-tools. */
  readonly tcti: string;
  /** Where its control channel listens. */
  readonly control: NetConnectOpts;
  readonly child: ChildProcess;
  /** Run one of tpm2-tools against it, in `dir`. */
  tool(program: string, ...args: readonly string[]): Promise<string>;
  /** A secret as these take it without anybody seeing it: from a file in `dir`. */
  secret(text: string): Promise<string>;
  remove(): Promise<void>;
}

/** @param state where it keeps its state; default: in `dir` */
export async function startTpm(how: 'unix' | 'tcp' = 'unix', state?: string): Promise<TestTpm> {
  const dir = await mkdtemp(join(tmpdir(), 'holdfast-tpm-'));
  try {
    if (state === undefined) await mkdir(join(dir, 'state'));
    return how === 'unix'
      ? await onUnix(dir, state ?? join(dir, 'state'))
      : await onTcp(dir, state ?? join(dir, 'state'));
  } catch (error) {
    await rm(dir, { recursive: true, force: true });
    throw error;
  }
}

async function onUnix(dir: string, state: string): Promise<TestTpm> {
  const socket = join(dir, 's');
  const child = start(state, `type=unixio,path=${socket}`, `type=unixio,path=${socket}.ctrl`);
  // It serves one client at a time, and knocking would take a turn: look for the sockets only.
  await until(child, () => existsSync(socket) && existsSync(`${socket}.ctrl`));
  return testTpm(dir, child, `device=${socket}`, `swtpm:path=${socket}`, { path: `${socket}.ctrl` });
}

async function onTcp(dir: string, state: string): Promise<TestTpm> {
  for (let tries = 0; ; tries += 1) {
    const port = await freePort();
    const at = (number: number): string => `type=tcp,port=${number},bindaddr=127.0.0.1`;
    // tpm2-tools look for the control channel one port higher, which may be taken.
    const child = start(state, at(port), at(port + 1));
    await sleep(50);
    if (child.exitCode === null) {
      await until(child, () => answers(port + 1));
      return testTpm(dir, child, `tcp=127.0.0.1:${port}`, `swtpm:host=127.0.0.1,port=${port}`, {
        port: port + 1,
        host: '127.0.0.1',
      });
    }
    if (tries === 20) throw new Error('swtpm found no port');
  }
}

function start(state: string, server: string, control: string): ChildProcess {
  const channels = ['--server', server, '--ctrl', control, '--flags', 'not-need-init,startup-clear'];
  return spawn('swtpm', ['socket', '--tpm2', '--tpmstate', `dir=${state}`, ...channels], { stdio: 'ignore' });
}

async function until(child: ChildProcess, isReady: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; !(await isReady()); tries += 1) {
    if (tries === 200 || child.exitCode !== null) {
      await ended(child);
      throw new Error('swtpm did not start');
    }
    await sleep(25);
  }
}

async function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });

function testTpm(dir: string, child: ChildProcess, query: string, tcti: string, control: NetConnectOpts): TestTpm {
  const env = { ...process.env, TPM2TOOLS_TCTI: tcti, TPM2OPENSSL_TCTI: tcti, TSS2_LOG: 'all+NONE' };
  const run = promisify(execFile);
  return {
    dir,
    query,
    tcti,
    control,
    child,
    tool: async (program, ...args) => (await run(program, [...args], { env, cwd: dir })).stdout,
    async secret(text) {
      const name = `secret-${createHash('sha256').update(text).digest('hex').slice(0, 16)}`;
      await writeFile(join(dir, name), text, { mode: 0o600 });
      return `file:${name}`;
    },
    async remove() {
      await ended(child);
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/** Reset it, as a machine that is switched off and on: swtpm's CMD_INIT. Nobody starts it (TPM2_Startup) afterwards. */
export function resetTpm({ control }: TestTpm): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(control, () => socket.write(Buffer.from('0000000200000000', 'hex')));
    socket.on('error', reject);
    socket.on('data', (answer) => {
      socket.destroy();
      if (Buffer.from(answer).readUInt32BE(0) === 0) resolve();
      else reject(new Error('swtpm did not reset'));
    });
  });
}
