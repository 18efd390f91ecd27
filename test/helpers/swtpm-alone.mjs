// A TPM in software for what runs outside of jest: the long suites and the measurements.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { promisify } from 'node:util';
import { onPath } from '../modules/libraries.mjs';

export const skipped = ['swtpm', 'tpm2_getcap'].every(onPath) ? undefined : 'swtpm or tpm2-tools is not installed';

/** On a Unix socket, with a directory of its own that goes with it. It has no resource manager. */
export async function startAlone() {
  const dir = mkdtempSync(join(tmpdir(), 'holdfast-swtpm-'));
  const [state, socket] = [join(dir, 'state'), join(dir, 's')];
  mkdirSync(state);
  // The records of refused authValues, which are kept in memory: those of whoever runs this must not be touched.
  const runtime = existsSync('/dev/shm') ? mkdtempSync('/dev/shm/holdfast-swtpm-') : dir;
  const channels = ['--server', `type=unixio,path=${socket}`, '--ctrl', `type=unixio,path=${socket}.ctrl`];
  const flags = ['--tpmstate', `dir=${state}`, ...channels, '--flags', 'not-need-init,startup-clear'];
  const child = spawn('swtpm', ['socket', '--tpm2', ...flags], { stdio: 'ignore' });
  for (let tries = 0; !(existsSync(socket) && existsSync(`${socket}.ctrl`)); tries += 1) {
    if (tries === 200) throw new Error('swtpm did not start');
    await wait(25);
  }
  const env = { ...process.env, TPM2TOOLS_TCTI: `swtpm:path=${socket}`, TSS2_LOG: 'all+NONE' };
  const tool = async (program, ...args) => (await promisify(execFile)(program, args, { env, cwd: dir })).stdout;
  return {
    dir,
    socket,
    pid: child.pid,
    /** The query of a key URI. */
    query: `device=${socket}`,
    env: { ...process.env, XDG_RUNTIME_DIR: runtime },
    /** Run one of tpm2-tools. */
    tool,
    /** Handles of what is loaded. */
    async left() {
      const handlesOf = async (kind) => (await tool('tpm2_getcap', `handles-${kind}`)).match(/0x[0-9a-f]+/gi) ?? [];
      const [keys, sessions] = [await handlesOf('transient'), await handlesOf('loaded-session')];
      return { keys, sessions, saved: await handlesOf('saved-session') };
    },
    /** How many wrong tries are counted. */
    async counter() {
      const [, counter] =
        /LOCKOUT_COUNTER: (0x[0-9a-f]+)/i.exec(await tool('tpm2_getcap', 'properties-variable')) ?? [];
      return Number(counter);
    },
    async stop() {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGTERM');
        await once(child, 'exit');
      }
      for (const place of [dir, runtime]) rmSync(place, { recursive: true, force: true });
    },
  };
}

export const NOTHING_LEFT = { keys: [], sessions: [], saved: [] };
