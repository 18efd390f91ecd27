import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { HoldfastError, messageOf, systemCodeOf } from '../errors.ts';
import { sleep } from '../limits.ts';
import { formatKeyUri } from '../uri.ts';
import type { Place } from './place.ts';

/** A TPM of one's own, in software, that ends with the demo. */
export interface SoftTpm {
  /** The URI of a key file beside it. */
  uriOf(name: string): string;
  stop(): Promise<void>;
}

/** Milliseconds until a TPM in software listens, at most; it takes some five. */
const START = 5_000;

/** Start swtpm in a place. @throws {HoldfastError} `ERR_TOKEN_NOT_FOUND` where it is not installed or does not start */
export async function startSoftTpm(place: Place, env: NodeJS.ProcessEnv): Promise<SoftTpm> {
  const [state, socket] = [join(place.directory, 'tpm'), join(place.directory, 'tpm.sock')];
  await mkdir(state, { mode: 0o700 });
  const args = ['--tpmstate', `dir=${state}`, '--server', `type=unixio,path=${socket},mode=0600`];
  const child = spawn('swtpm', ['socket', '--tpm2', ...args, '--flags', 'not-need-init,startup-clear'], {
    env,
    stdio: 'ignore',
  });
  let failed: unknown;
  const ended = new Promise<void>((resolve) => {
    child.on('error', (error) => {
      failed = error;
      resolve();
    });
    child.on('exit', (status) => {
      failed ??= new Error(`it ended with ${status ?? 'a signal'}`);
      resolve();
    });
  });
  const stop = (): Promise<void> => end(child, ended);
  for (let waited = 0; !existsSync(socket); waited += 5) {
    if (failed !== undefined || waited >= START) {
      await stop();
      throw notStarted(failed);
    }
    await sleep(5);
  }
  return {
    uriOf: (name) =>
      formatKeyUri({
        scheme: 'tpm',
        path: [['file', join(place.directory, name)]],
        query: [['device', socket]],
      }),
    stop,
  };
}

async function end(child: ChildProcess, ended: Promise<void>): Promise<void> {
  child.kill();
  await ended;
}

const notStarted = (cause: unknown): HoldfastError =>
  systemCodeOf(cause) === 'ENOENT'
    ? new HoldfastError('ERR_TOKEN_NOT_FOUND', 'swtpm, a TPM in software, is not installed', {
        hint: 'apt-get install swtpm',
      })
    : new HoldfastError('ERR_TOKEN_NOT_FOUND', `swtpm did not start: ${messageOf(cause ?? 'it does not listen')}`, {
        hint: 'try --store file',
        cause,
      });
