import { createPublicKey, type KeyObject } from 'node:crypto';
import { chmod, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { findLibrary } from '../modules/libraries.mjs';
import { runner } from '../modules/module.ts';
import { shown } from './canaries.ts';
import type { TestTpm } from './swtpm.ts';
import { flush } from './tpm-keys.ts';

/** A store of tpm2-pkcs11 with one token, which tpm2_ptool made on a TPM in software. */
export interface PtoolStore {
  /** Run `tpm2_ptool` on the token, as its user. */
  ptool(command: string, ...args: readonly string[]): Promise<string>;
  /** Run `pkcs11-tool` on the token, as its user, with the key of an identifier in hexadecimal. */
  onKey(id: string, ...args: readonly string[]): Promise<string>;
  publicKeyOf(id: string): Promise<KeyObject>;
}

/** They leave what they load in the TPM, and tpm2_ptool runs one after the other where there are three places. */
const LEAVING = ['createprimary', 'create', 'load', 'loadexternal', 'readpublic', 'evictcontrol', 'unseal'];
const AND_FLUSH = `#!/bin/sh
PATH=\${PATH#*:}
"\${0##*/}" "$@"
status=$?
tpm2_flushcontext -t
exit $status
`;

/** @param parent what `tpm2_ptool init` is told of the storage key */
export async function makePtoolStore(tpm: TestTpm, name: string, ...parent: readonly string[]): Promise<PtoolStore> {
  const [store, bin] = [join(tpm.dir, name), join(tpm.dir, `${name}.bin`)];
  await mkdir(store);
  await mkdir(bin);
  await writeFile(join(bin, 'and-flush'), AND_FLUSH);
  await chmod(join(bin, 'and-flush'), 0o755);
  for (const tool of LEAVING) await symlink('and-flush', join(bin, `tpm2_${tool}`));
  const env = {
    TPM2_PKCS11_STORE: store,
    TPM2_PKCS11_TCTI: tpm.tcti,
    TPM2_PKCS11_LOG_LEVEL: '0',
    TPM2TOOLS_TCTI: tpm.tcti,
    TSS2_LOG: 'all+NONE',
  };
  const ptool = runner({ ...env, PATH: `${bin}:${process.env.PATH}` });
  const pkcs11 = runner(env);
  await ptool('tpm2_ptool', ['init', ...parent]);
  // It takes PINs as arguments alone.
  await ptool('tpm2_ptool', ['addtoken', '--pid=1', '--label=test', `--sopin=${shown}`, `--userpin=${shown}`]);
  const onKey: PtoolStore['onKey'] = async (id, ...args) => {
    const on = ['--module', findLibrary('tpm2-pkcs11') as string, '--token-label', 'test', '--login', '--pin', shown];
    const said = await pkcs11('pkcs11-tool', [...on, '--id', id, ...args]);
    await flush(tpm);
    return said;
  };
  return {
    async ptool(command, ...args) {
      const said = await ptool('tpm2_ptool', [command, '--label=test', `--userpin=${shown}`, ...args]);
      await flush(tpm);
      return said;
    },
    onKey,
    async publicKeyOf(id) {
      const file = join(store, `${id}.der`);
      await onKey(id, '--read-object', '--type', 'pubkey', '--output-file', file);
      return createPublicKey({ key: await readFile(file), format: 'der', type: 'spki' });
    },
  };
}

/** The identifier of the key that tpm2_ptool says it added. */
export function idIn(said: string): string {
  const id = /CKA_ID: '?(\w+)/.exec(said)?.[1];
  if (id === undefined) throw new Error(`tpm2_ptool names no key: ${said}`);
  return id;
}
