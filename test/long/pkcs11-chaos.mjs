// Fifty rounds of everything that befalls a token, under load, with keys in place and in child processes: its server is
// killed and comes back; the module is slow, fails, loses the token and has it back; the child is killed (SIGKILL, SIGSEGV)
// and hangs (SIGSTOP). Nothing here crashes, every signature that comes back is right, every other call ends with an error
// that is known, no PIN try is spent, and each key signs again. Prints how long that took.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes, verify } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseKeyUri, storeOf } from '../../dist/index.js';

/** Rounds. */
export const asked = 50;

const firstOf = (...paths) => paths.find((path) => path && existsSync(path));
const MODULE = firstOf(process.env.HOLDFAST_TEST_SOFTHSM, '/usr/lib/softhsm/libsofthsm2.so');
const CLIENT = firstOf('/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so', '/usr/lib64/pkcs11/p11-kit-client.so');
const COMPILER = firstOf(process.env.CC, '/usr/bin/cc', '/usr/bin/gcc', '/usr/bin/clang');
const missing = Object.entries({ SoftHSM: MODULE, 'p11-kit-client': CLIENT, 'a C compiler': COMPILER });
const absent = missing.filter(([, path]) => path === undefined).map(([name]) => name);
export const skipped = absent.length > 0 ? `${absent.join(' and ')} missing` : undefined;

/** Errors that a caller may see while a token is away. */
const EXPECTED = [
  'ERR_SIGNING_FAILED',
  'ERR_SIGNING_TIMEOUT',
  'ERR_TOKEN_FAILED',
  'ERR_TOKEN_NOT_FOUND',
  'ERR_TOKEN_RESTING',
  'ERR_MODULE_FAILED',
  'ERR_STORE_CRASHED',
];

/** Milliseconds that a signature may take; longer than any fault but a hang. */
const DEADLINE = 1500;

/** Milliseconds until a key must sign again: as long as a token is left alone at most, and a little. */
const PATIENCE = 40_000;

const at = (path) => fileURLToPath(new URL(path, import.meta.url));

export async function slice(rounds) {
  const dir = mkdtempSync(join(tmpdir(), 'holdfast-chaos-'));
  let server;
  let mending;
  try {
    const pin = randomBytes(4).toString('hex');
    process.env.SOFTHSM2_CONF = join(dir, 'conf');
    mkdirSync(join(dir, 'tokens'));
    writeFileSync(
      join(dir, 'conf'),
      `directories.tokendir = ${dir}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n`,
    );
    execFileSync('softhsm2-util', ['--init-token', '--free', '--label', 'chaos', '--so-pin', pin, '--pin', pin]);
    const fault = buildFault(dir);
    server = await serve(dir);
    const uriOf = (path) => parseKeyUri(`pkcs11:token=chaos;object=key?module-path=${path}`);
    const store = await storeOf(uriOf(MODULE));
    await store.create(uriOf(MODULE), { keyType: 'P-256', secret: pin });

    mending = mendTokens(join(dir, 'tokens'));

    const notices = [];
    const keys = [];
    for (const [name, path] of Object.entries({ server: CLIENT, fault: fault.path })) {
      for (const isolation of ['in-place', 'child']) {
        const options = { secret: pin, isolation, deadline: DEADLINE, notify: (notice) => notices.push(notice) };
        const key = await store.open(uriOf(path), options);
        keys.push({ name: `${name}, ${isolation}`, key, ...underLoad(key, lanesOf(name, isolation)) });
      }
    }

    const took = new Map();
    const incidents = {
      async 'server killed'() {
        await server.kill();
        await sleep(50 + Math.random() * 300);
        server = await serve(dir);
      },
      async 'module slow, failing, token gone'() {
        for (const rules of [
          ['C_Sign delay=30'],
          ['C_Sign rv=0x30'],
          ['absent', 'C_Sign rv=0x32', 'C_OpenSession rv=0xe0'],
        ]) {
          fault.rules(...rules);
          await sleep(50 + Math.random() * 100);
        }
        fault.rules();
      },
      SIGKILL: () => signal('SIGKILL'),
      SIGSEGV: () => signal('SIGSEGV'),
      SIGSTOP: () => signal('SIGSTOP'),
    };
    /** To the processes of both keys, while they sign. */
    async function signal(name) {
      for (const pid of children().filter(isOurs)) process.kill(pid, name);
    }
    for (let round = 0; round < rounds; round += 1) {
      for (const [name, happen] of Object.entries(incidents)) {
        await happen();
        const back = performance.now();
        const times = await Promise.all(keys.map((one) => one.signsAgain()));
        const worst = Math.max(...times.map((time) => time - back), 0);
        took.set(name, [...(took.get(name) ?? []), worst]);
      }
    }
    const counts = await Promise.all(keys.map((one) => one.stop()));
    for (const { key } of keys) await key.close();
    assert.equal(fault.wrongPins(), 0, 'PIN tries were spent');
    assert.deepEqual(
      notices.filter(({ kind }) => kind === 'warning'),
      [],
    );
    for (const [name, all] of took) {
      const sorted = all.toSorted((a, b) => a - b);
      const [median, worst] = [sorted[Math.floor(sorted.length / 2)], sorted.at(-1)].map((time) => time.toFixed(0));
      // Until the deadline nothing tells one that hangs from one that is slow.
      const hung = name === 'SIGSTOP' ? `, of which ${DEADLINE} ms are the deadline of what hung` : '';
      console.log(
        `pkcs11-chaos: ${name}, ${all.length} times: all keys sign again after ${median} ms, ${worst} ms at most${hung}`,
      );
    }
    if (mending.times > 0) console.log(`pkcs11-chaos: SoftHSM's token was mended ${mending.times} times`);
    for (const [index, { name }] of keys.entries()) {
      const { signed, failed } = counts[index];
      console.log(`pkcs11-chaos: ${name}: ${signed} signed, none wrong; ${JSON.stringify(Object.fromEntries(failed))}`);
    }
  } finally {
    mending?.stop();
    await server?.kill();
    rmSync(dir, { recursive: true, force: true });
  }
}

/**
 * SoftHSM empties the file of a token at each login before it writes it again: who is killed in between leaves a token that is
 * one no longer. No other kind of token is lost so, and what becomes of it is not what is tested here: the file is put back.
 */
function mendTokens(place) {
  const paths = readdirSync(place).map((name) => join(place, name, 'token.object'));
  const files = paths.map((path) => [path, readFileSync(path)]);
  const mending = { times: 0, stop: () => clearInterval(timer) };
  const timer = setInterval(() => {
    for (const [path, content] of files) {
      const { size, mtimeMs } = statSync(path);
      if (size > 0 || Date.now() - mtimeMs < 1000) continue;
      writeFileSync(path, content);
      mending.times += 1;
    }
  }, 500);
  return mending;
}

/**
 * p11-kit's client (0.24) has each thread wait for the one whose answer has begun to arrive, and wakes nobody when the rest of
 * that never comes: a call beside another one hangs for ever now and then, which in place hangs the program.
 */
const lanesOf = (name, isolation) => (name === 'server' && isolation === 'in-place' ? 1 : 3);

/** So many at a time, each followed by the next, until it is stopped. */
function underLoad(key, lanes) {
  const publicKey = { key: Buffer.from(key.publicKey), format: 'der', type: 'spki' };
  const failed = new Map();
  let [signed, begun, ended, stopped] = [0, 0, 0, false];
  let wrong;
  let last;
  const latest = { began: 0, at: 0 };

  const loop = async () => {
    while (!stopped && !wrong) {
      const [message, began] = [randomBytes(64), performance.now()];
      begun += 1;
      try {
        const signature = await key.sign(message);
        if (!verify('sha256', message, publicKey, signature)) throw new Error('a signature is wrong');
        signed += 1;
        if (began > latest.began) Object.assign(latest, { began, at: performance.now() });
      } catch (error) {
        last = error;
        if (EXPECTED.includes(error.code)) failed.set(error.code, (failed.get(error.code) ?? 0) + 1);
        else wrong ??= error;
      }
      ended += 1;
      await sleep(5);
    }
  };
  const loops = Array.from({ length: lanes }, loop);
  return {
    /** When a signature came back that began from now on. */
    async signsAgain() {
      const now = performance.now();
      for (const end = now + PATIENCE; latest.began < now; ) {
        if (wrong) throw wrong;
        if (performance.now() > end) throw new Error('a key does not sign again', { cause: last });
        await sleep(5);
      }
      return latest.at;
    },
    async stop() {
      stopped = true;
      await Promise.all(loops);
      if (wrong) throw wrong;
      assert.equal(ended, begun);
      return { signed, failed };
    },
  };
}

function buildFault(dir) {
  const [path, rulesPath, statePath] = ['fault.so', 'fault.rules', 'fault.state'].map((name) => join(dir, name));
  const includes = at('../../node_modules/pkcs11js/includes/pkcs11');
  execFileSync(COMPILER, ['-shared', '-fPIC', '-O2', '-I', includes, '-o', path, at('../native/fault.c'), '-ldl']);
  Object.assign(process.env, { FAULT_MODULE: MODULE, FAULT_RULES: rulesPath, FAULT_STATE: statePath });
  // Every wrong PIN would be counted.
  const rules = (...lines) => writeFileSync(rulesPath, ['tries 5', ...lines].map((line) => `${line}\n`).join(''));
  rules();
  writeFileSync(statePath, Buffer.alloc(8192));
  return { path, rules, wrongPins: () => Number(readFileSync(statePath).readBigUInt64LE(0)) };
}

/** A `p11-kit server` in a group of its own, with its process for each connection. */
async function serve(dir) {
  const socket = join(dir, 'p11.sock');
  rmSync(socket, { force: true });
  process.env.P11_KIT_SERVER_ADDRESS = `unix:path=${socket}`;
  const args = ['server', '--foreground', '--name', socket, '--provider', MODULE, 'pkcs11:token=chaos'];
  const child = spawn('p11-kit', args, { stdio: 'ignore', detached: true });
  const gone = new Promise((resolve) => child.once('exit', resolve));
  for (let tries = 0; ; tries += 1) {
    const answers = await new Promise((resolve) => {
      const one = connect(socket, () => resolve(Boolean(one.destroy()))).on('error', () => resolve(false));
    });
    if (answers) break;
    assert.ok(tries < 500, 'p11-kit server does not answer');
    await sleep(10);
  }
  return {
    kill() {
      if (child.exitCode === null && child.signalCode === null) process.kill(-Number(child.pid), 'SIGKILL');
      return gone;
    },
  };
}

const children = () =>
  readdirSync('/proc/self/task').flatMap((task) =>
    readFileSync(`/proc/self/task/${task}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
  );

/** A child of the library, not the server. */
function isOurs(pid) {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('holdfast-child');
  } catch {
    return false;
  }
}
