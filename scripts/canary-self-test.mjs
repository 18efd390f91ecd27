// The control of scripts/canaries.mjs: canaries of its own are leaked on purpose, one in each place, and each must be
// told; where none leaks, nothing may be.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const PROGRAM = join(import.meta.dirname, 'canaries.mjs');

/** How long the sampler may take to see a process, milliseconds. */
const PATIENCE = 10_000;

/** @returns whether each leak was told; prints which was not, and a closing line */
export async function selfTest() {
  const place = mkdtempSync(join(tmpdir(), 'holdfast-canaries-'));
  try {
    const clean = await control(join(place, 'clean'), () => ({}));
    const leaking = await control(join(place, 'leaking'), leak);
    const { dir } = leaking;
    const checks = {
      'nothing leaks, nothing is told': clean.status === 0 && !clean.stdout.includes('FAILED'),
      'the end is a failure': leaking.status === 1,
      'a log': leaking.told(`${dir}/run.log: pin, plain, at byte 23`),
      'a file': leaking.told(`${dir}/deep/core: passphrase, base64, two bytes in, at byte 8388581`),
      'the name of a file': leaking.told(`${dir}: sessionToken, in a name`),
      argv: leaking.told(/^argv of sleeper \(\d+, -c .*\): sessionToken, plain$/),
      'an environment': leaking.told(/^environment of sleeper \(\d+, -c .*\): secretKey, percent-encoded$/),
      'nothing besides': leaking.lines.length === 5,
      'no value is told': !leaking.tells && !clean.tells,
    };
    const wrong = Object.keys(checks).filter((what) => !checks[what]);
    for (const what of wrong) console.log(`FAILED control: ${what}`);
    if (wrong.length > 0) console.log(clean.stdout + leaking.stdout);
    console.log(`${Object.keys(checks).length - wrong.length} passed, ${wrong.length} failed, 0 skipped`);
    return wrong.length === 0;
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

/** One leak in each place, but the excused one; what runs has the name `sleeper`. */
function leak({ pin, passphrase, secretKey, sessionToken }, left) {
  writeFileSync(join(left, 'run.log'), `{"said":"the PIN is\\n\\"${pin}\\""}\n`);
  mkdirSync(join(left, 'deep'));
  const packed = Buffer.from(`::${passphrase}`).toString('base64');
  // Behind 8 MiB, and across the place where the second reading begins.
  writeFileSync(join(left, 'deep/core'), Buffer.concat([Buffer.alloc((8 << 20) - 30, 0xa5), Buffer.from(packed)]));
  writeFileSync(join(left, `${sessionToken.slice(0, 40)}.json`), '');
  const percent = Buffer.from(secretKey)
    .toString('hex')
    .replace(/../g, (digits) => `%${digits.toUpperCase()}`);
  return { args: [`--token=${sessionToken}`], env: { HEADER: `X-Key: ${percent}` } };
}

/** Make canaries, leak them, sample, search. */
async function control(place, leaking) {
  const [file, report, dir] = ['canaries.json', 'report', 'left'].map((name) => join(place, name));
  mkdirSync(dir, { recursive: true });
  const program = (...args) => spawnSync(process.execPath, [PROGRAM, ...args], { encoding: 'utf8' });
  program('make', file);
  const canaries = JSON.parse(readFileSync(file, 'utf8'));
  const { args = [], env = {} } = leaking(canaries, dir);
  const sampler = spawn(process.execPath, [PROGRAM, 'sample', file, String(process.pid), report], { stdio: 'inherit' });
  const sampled = once(sampler, 'exit');
  const sleepers = [sleeper('sleeper', args, env), sleeper('softhsm2-util', ['--pin', canaries.pin], {})];
  const expected = 1 + args.length + Object.keys(env).length;
  for (const end = Date.now() + PATIENCE; linesIn(report) < expected && Date.now() < end; ) await sleep(50);
  for (const child of [...sleepers, sampler]) child.kill('SIGTERM');
  await sampled;
  const { status, stdout } = program('search', file, report, dir);
  const lines = stdout.split('\n').flatMap((line) => (line.startsWith('FAILED ') ? line.slice('FAILED '.length) : []));
  const told = (what) => lines.some((line) => (typeof what === 'string' ? line === what : what.test(line)));
  const tells = Object.values(canaries).some((canary) => stdout.includes(canary.slice(-12)));
  return { dir, status, stdout, lines, told, tells };
}

const linesIn = (report) => {
  try {
    return readFileSync(report, 'utf8').split('\n').length - 1;
  } catch {
    return 0;
  }
};

/** Something that waits, under a name and with arguments that it does not care about. */
const sleeper = (name, args, env) =>
  spawn('sh', ['-c', 'read line', ...args], { argv0: name, env, stdio: ['pipe', 'ignore', 'ignore'] });
