import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { canaries } from '../helpers/canaries.ts';
import { findLibrary } from './libraries.mjs';
import { makeWithTool, runner, type TestModule } from './module.ts';
import { ended } from './serve.ts';

/** tpm2-pkcs11 on a TPM in software, which answers on a socket of its own. */
export async function tpm2Pkcs11(): Promise<TestModule> {
  const dir = await mkdtemp(join(tmpdir(), 'holdfast-tpm2-'));
  const tpm = await startTpm(dir);
  const remove = async (): Promise<void> => {
    await ended(tpm);
    await rm(dir, { recursive: true, force: true });
  };
  try {
    return { ...(await makeToken(dir)), remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

async function startTpm(dir: string): Promise<ChildProcess> {
  const [state, data, control] = ['state', 's', 's.ctrl'].map((name) => join(dir, name)) as [string, string, string];
  await mkdir(state);
  const channels = ['--server', `type=unixio,path=${data}`, '--ctrl', `type=unixio,path=${control}`];
  const flags = ['--flags', 'not-need-init,startup-clear'];
  const tpm = spawn('swtpm', ['socket', '--tpm2', '--tpmstate', `dir=${state}`, ...channels, ...flags], {
    stdio: 'ignore',
  });
  // It serves one client at a time, and knocking would take a turn: look for the sockets only.
  for (let tries = 0; !(existsSync(data) && existsSync(control)); tries += 1) {
    if (tries === 100) {
      await ended(tpm);
      throw new Error('swtpm did not start');
    }
    await sleep(100);
  }
  return tpm;
}

async function makeToken(dir: string): Promise<Omit<TestModule, 'remove'>> {
  const store = join(dir, 'store');
  await mkdir(store);
  const tcti = `swtpm:path=${join(dir, 's')}`;
  const env = {
    TPM2_PKCS11_TCTI: tcti,
    TPM2_PKCS11_STORE: store,
    TPM2_PKCS11_LOG_LEVEL: '0',
    TPM2TOOLS_TCTI: tcti,
    TSS2_LOG: 'all+NONE',
  };
  const run = runner(env);
  const { pin } = canaries;
  const soPin = randomBytes(6).toString('hex');
  const token = { modulePath: findLibrary('tpm2-pkcs11') as string, tokenLabel: 'test', pin };
  const settle = async (): Promise<void> => {
    // What makes keys leaves them loaded, and there are three places.
    await run('tpm2_flushcontext', ['--transient-object']);
    await run('tpm2_dictionarylockout', ['--clear-lockout']);
  };
  const on = ['--module', token.modulePath];
  await run('pkcs11-tool', [...on, '--slot', '1', '--init-token', '--label', token.tokenLabel, '--so-pin', soPin]);
  const asOfficer = ['--token-label', token.tokenLabel, '--login', '--login-type', 'so', '--so-pin', soPin];
  await run('pkcs11-tool', [...on, ...asOfficer, '--init-pin', '--pin', pin]);
  await settle();
  return {
    ...token,
    env,
    query: {},
    async makeKey(type) {
      const key = await makeWithTool(run, token, type, dir);
      await settle();
      return key;
    },
    settle,
  };
}
