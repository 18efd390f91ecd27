// The programs that stand in for hardware and for AWS's own tools. They are Debian's packages, and nobody's machine gets
// them unasked: only with CI=true, as root in a container, or after a yes on the terminal.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline/promises';

const SOFTHSM_MODULES = [
  '/usr/lib/softhsm/libsofthsm2.so',
  '/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so',
  '/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so',
  '/usr/lib64/softhsm/libsofthsm2.so',
  '/usr/lib64/pkcs11/libsofthsm2.so',
  '/usr/lib64/softhsm/libsofthsm.so',
  '/usr/local/lib/softhsm/libsofthsm2.so',
  '/opt/homebrew/lib/softhsm/libsofthsm2.so',
];

const onPath = (program) =>
  (process.env.PATH ?? '').split(delimiter).some((folder) => folder !== '' && existsSync(join(folder, program)));

/** Each double: what it is for, what to install, and whether it is there. */
export const DOUBLES = {
  softhsm: {
    packages: ['softhsm2'],
    isThere: () => onPath('softhsm2-util') && SOFTHSM_MODULES.some((path) => existsSync(path)),
  },
  opensc: { packages: ['opensc', 'opensc-pkcs11'], isThere: () => onPath('pkcs11-tool') },
  'p11-kit': { packages: ['p11-kit'], isThere: () => onPath('p11-kit') },
  'aws-cli': { packages: ['awscli'], isThere: () => awsCli() !== undefined },
  openssl: { packages: ['openssl'], isThere: () => onPath('openssl') },
};

/** Debian's AWS CLI: a version manager may put a program of the same name before it. */
export const awsCli = () => ['/usr/bin/aws', '/usr/local/bin/aws'].find((path) => existsSync(path));

/** The line that a person can run. */
export const aptLine = (names) => `apt-get install --no-install-recommends ${packagesOf(names).join(' ')}`;

const packagesOf = (names) => names.flatMap((name) => DOUBLES[name].packages);
const missing = (names) => names.filter((name) => !DOUBLES[name].isThere());

/**
 * Install what is missing, where that is allowed.
 *
 * @param {(keyof typeof DOUBLES)[]} names default: all
 * @param {{ assumeYes?: boolean }} options `assumeYes`: a person has said yes already
 * @returns {Promise<string[]>} what is missing still; empty when all is there
 */
export async function ensureDoubles(names = Object.keys(DOUBLES), { assumeYes = false } = {}) {
  const absent = missing(names);
  if (absent.length === 0) return [];
  if (!onPath('apt-get')) {
    console.error(`missing: ${absent.join(', ')}; install them with the package manager of this system`);
    return absent;
  }
  if (!(assumeYes || mayInstall() || (await saidYes(absent)))) {
    console.error(`missing: ${absent.join(', ')}; to have them: ${aptLine(absent)}`);
    return absent;
  }
  install(packagesOf(absent));
  const left = missing(absent);
  if (left.length > 0) console.error(`still missing: ${left.join(', ')}; try: ${aptLine(left)}`);
  return left;
}

const isRoot = () => process.getuid?.() === 0;
const mayInstall = () => process.env.CI === 'true' || (isRoot() && inContainer());

/** A container has no owner to ask: docker and podman leave a file, others show in the first process. */
export function inContainer() {
  if (existsSync('/.dockerenv') || existsSync('/run/.containerenv')) return true;
  const read = (path) => {
    try {
      return readFileSync(path, 'latin1');
    } catch {
      return '';
    }
  };
  if (/docker|kubepods|containerd|libpod|lxc/.test(read('/proc/1/cgroup'))) return true;
  if (/(^|\0)container=./.test(read('/proc/1/environ'))) return true;
  return spawnSync('systemd-detect-virt', ['--quiet', '--container']).status === 0;
}

async function saidYes(names) {
  if (!process.stdin.isTTY || !process.stderr.isTTY) return false;
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await terminal.question(`missing: ${names.join(', ')}. Run "${aptLine(names)}" now? [y/N] `);
    return /^y(es)?$/i.test(answer.trim());
  } finally {
    terminal.close();
  }
}

function install(packages) {
  const [program, first] = isRoot() ? ['apt-get', []] : ['sudo', [...(process.stdin.isTTY ? [] : ['-n']), 'apt-get']];
  // What apt prints goes to stderr: stdout belongs to whoever called.
  const apt = (...args) =>
    spawnSync(program, [...first, ...args], {
      stdio: ['inherit', process.stderr, process.stderr],
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    }).status === 0;
  if (!hasFreshLists()) apt('update');
  const wanted = ['install', '-y', '--no-install-recommends', ...packages];
  if (!apt(...wanted) && apt('update')) apt(...wanted);
}

const DAY = 86_400_000;

/** Were the package lists fetched within a day? */
function hasFreshLists() {
  const folder = '/var/lib/apt/lists';
  try {
    return readdirSync(folder).some(
      (name) => name.includes('_Packages') && Date.now() - statSync(join(folder, name)).ctimeMs < DAY,
    );
  } catch {
    return false;
  }
}

// `node scripts/install-doubles.mjs softhsm aws-cli`, or without names for all.
if (process.argv[1] === import.meta.filename) {
  const names = process.argv.slice(2);
  const unknown = names.filter((name) => !Object.hasOwn(DOUBLES, name));
  if (unknown.length > 0) {
    console.error(`there is no ${unknown.join(', ')}; there is ${Object.keys(DOUBLES).join(', ')}`);
    process.exit(2);
  }
  process.exit((await ensureDoubles(names.length > 0 ? names : undefined)).length === 0 ? 0 : 1);
}
