// A wrong stored PIN costs one try: in 200 processes, 20 of which begin at the same moment and the others eight at a time,
// and in 1,000 refreshes of one process. A module that counts calls over all processes stands before SoftHSM.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Runs of the whole. */
export const asked = 1;
const REFRESHES = 1000;
const WAVES = [20, ...Array.from({ length: 22 }, () => 8), 4];

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));
const MODULE = [process.env.HOLDFAST_TEST_SOFTHSM ?? '', '/usr/lib/softhsm/libsofthsm2.so'].find(
  (name) => name !== '' && existsSync(name),
);
const isBuilt = () => process.platform === 'linux' && existsSync('/usr/bin/cc') && MODULE !== undefined;
export const skipped = isBuilt() ? undefined : 'it wants Linux, SoftHSM and a C compiler';

export async function slice() {
  const place = mkdtempSync(join(tmpdir(), 'holdfast-guard-'));
  const runtime = mkdtempSync('/dev/shm/holdfast-test-');
  try {
    const world = makeWorld(place, runtime);
    const wrong = (name) => {
      const file = join(place, name);
      writeFileSync(file, `${name}-${randomBytes(4).toString('hex')}`, { mode: 0o600 });
      return `pkcs11:token=guard;object=key?module-path=${world.module}&pin-source=file:${file}`;
    };

    const first = wrong('first');
    for (const size of WAVES) {
      const ended = await Promise.all(Array.from({ length: size }, () => tries(world, 1, first)));
      assert.deepEqual(new Set(ended), new Set(['{"ERR_SECRET_WRONG":1}']));
    }
    assert.equal(world.logins(), 1);

    assert.equal(await tries(world, REFRESHES, wrong('second')), `{"ERR_SECRET_WRONG":${REFRESHES}}`);
    assert.equal(world.logins(), 2);
    const processes = WAVES.reduce((sum, size) => sum + size, 0);
    console.log(`pin-guard: ${processes} processes cost one try, ${REFRESHES} refreshes of one process another`);
  } finally {
    for (const dir of [place, runtime]) rmSync(dir, { recursive: true, force: true });
  }
}

function makeWorld(place, runtime) {
  const [module, state, rules, conf] = ['fault.so', 'state', 'rules', 'conf'].map((name) => join(place, name));
  const headers = path('../../node_modules/pkcs11js/includes/pkcs11');
  execFileSync('cc', ['-shared', '-fPIC', '-O2', '-I', headers, '-o', module, path('../native/fault.c'), '-ldl']);
  // Tokens that show lost tries are easier: this one does not.
  writeFileSync(rules, 'token clear=0x10000\n');
  writeFileSync(state, Buffer.alloc(4096));
  writeFileSync(conf, `directories.tokendir = ${place}\nobjectstore.backend = file\nlog.level = ERROR\n`);
  const env = {
    ...process.env,
    SOFTHSM2_CONF: conf,
    FAULT_MODULE: MODULE,
    FAULT_RULES: rules,
    FAULT_STATE: state,
    XDG_RUNTIME_DIR: runtime,
  };
  const pin = randomBytes(4).toString('hex');
  const token = ['--init-token', '--free', '--label', 'guard', '--so-pin', pin, '--pin', pin];
  execFileSync('softhsm2-util', ['--module', MODULE, ...token], { env });
  /** As test/helpers/fault-module.ts reads it: after the name come the calls, eight octets. */
  const logins = () => {
    const text = readFileSync(state);
    const at = text.indexOf('C_Login\0');
    return at < 0 ? 0 : Number(text.readBigUInt64LE(at + 32));
  };
  return { module, env, logins };
}

/** What a process said at last. */
function tries({ env }, times, uri) {
  const child = spawn(process.execPath, [path('../helpers/pin-tries.mjs'), String(times), uri], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (more) => {
    text += more;
  });
  return new Promise((done, fail) => {
    child.on('error', fail);
    child.on('close', () => done(text.trim().split('\n').at(-1)));
  });
}
