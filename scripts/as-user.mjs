// Run a script of this checkout as an unprivileged user, in a copy: the checkout may lie where only root can go.
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root, run } from './run-jest.mjs';

const USER = 'nobody';

/** Longest run as the user, milliseconds. */
const LIMIT = 30 * 60_000;

/** @returns the exit status of `node ...args`, run as `nobody`. Only root can ask for it. */
export async function asUser(args) {
  const id = (flag) => Number(execFileSync('id', [flag, USER], { encoding: 'utf8' }));
  const user = { uid: id('-u'), gid: id('-g') };
  const place = mkdtempSync(join(tmpdir(), 'holdfast-user-'));
  const copy = join(place, 'checkout');
  let status = 1;
  try {
    mkdirSync(copy);
    const names = readdirSync(root).filter((name) => name !== '.git');
    execFileSync('cp', ['-a', ...names.map((name) => join(root, name)), copy]);
    for (const folder of ['home', 'tmp']) mkdirSync(join(place, folder));
    execFileSync('chown', ['-R', `${user.uid}:${user.gid}`, place]);
    chmodSync(place, 0o700);
    console.log(`as ${USER}, in a copy`);
    const ended = await run(nodeFor(user, place), args, {
      ...user,
      cwd: copy,
      env: { ...process.env, HOME: join(place, 'home'), TMPDIR: join(place, 'tmp'), USER, LOGNAME: USER },
      stdio: ['ignore', 'inherit', 'inherit'],
      timeout: LIMIT,
      killSignal: 'SIGTERM',
    });
    status = ended.status ?? 1;
    return status;
  } finally {
    // After a failure its logs stay, below tmp/; under .ci/run all that it wrote, to be searched for secrets.
    const isSearched = process.env.HOLDFAST_TEST_CANARIES !== undefined;
    const written = isSearched ? ['checkout/node_modules'] : ['checkout', 'home'];
    for (const name of status === 0 && !isSearched ? ['.'] : ['node', ...written]) {
      rmSync(join(place, name), { recursive: true, force: true });
    }
  }
}

/** Node itself may lie below /root. */
function nodeFor(user, place) {
  if (spawnSync(process.execPath, ['--version'], { ...user, cwd: '/' }).status === 0) return process.execPath;
  const own = join(place, 'node');
  copyFileSync(process.execPath, own);
  chmodSync(own, 0o755);
  return own;
}
