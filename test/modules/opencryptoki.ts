import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isElsewhere } from './elsewhere.ts';
import { findLibrary, OWN_MACHINE } from './libraries.mjs';
import { makeWithTool, runner, type TestModule } from './module.ts';

/** In a machine of its own: empty directories over those that opencryptoki and its daemon write, and the daemon. */
const START = `set -e
for dir in /dev/shm /run /var/lib/opencryptoki; do mount -t tmpfs none $dir; done
mkdir -p /run/lock/opencryptoki/swtok /var/lib/opencryptoki/swtok/TOK_OBJ
if [ -d /var/log/opencryptoki ]; then mount -t tmpfs none /var/log/opencryptoki; fi
chgrp -R pkcs11 /run/lock/opencryptoki /var/lib/opencryptoki
chmod -R 770 /run/lock/opencryptoki /var/lib/opencryptoki
pkcsslotd
tries=0
until [ -S /run/pkcsslotd.socket ]; do
  tries=$((tries + 1))
  if [ $tries -gt 100 ]; then echo 'pkcsslotd did not start' >&2; exit 1; fi
  sleep 0.1
done
"$@"`;

/** What a new token of opencryptoki is given as the PIN of its security officer. */
const SO_PIN = '87654321';

/** The command to put before what uses opencryptoki. */
export const OPENCRYPTOKI_MACHINE: readonly string[] = [...OWN_MACHINE, 'sh', '-c', START, 'sh'];

/** opencryptoki's token in software. Only inside `OPENCRYPTOKI_MACHINE`. */
export async function opencryptoki(): Promise<TestModule> {
  if (!isElsewhere()) throw new Error('opencryptoki would use the directories of this machine');
  const run = runner({});
  // This token takes PINs of 4 to 8 characters.
  const pin = randomBytes(4).toString('hex');
  const token = { modulePath: findLibrary('opencryptoki') as string, tokenLabel: 'test', pin };
  const slot = ['--module', token.modulePath, '--slot', '3'];
  await run('pkcs11-tool', [...slot, '--init-token', '--label', token.tokenLabel, '--so-pin', SO_PIN]);
  await run('pkcs11-tool', [...slot, '--login', '--login-type', 'so', '--so-pin', SO_PIN, '--init-pin', '--pin', pin]);
  const dir = await mkdtemp(join(tmpdir(), 'holdfast-opencryptoki-'));
  return {
    ...token,
    env: {},
    query: {},
    makeKey: (type) => makeWithTool(run, token, type, dir),
    remove: () => rm(dir, { recursive: true, force: true }),
  };
}
