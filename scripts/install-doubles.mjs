// The programs that stand in for hardware and for AWS's own tools. They are Debian's packages, and nobody's machine gets
// them unasked: only with CI=true, as root in a container, or after a yes on the terminal.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { findLibrary, onPath } from '../test/modules/libraries.mjs';

/** Each double: what it is for, what to install, and whether it is there. */
export const DOUBLES = {
  softhsm: {
    packages: ['softhsm2'],
    isThere: () => onPath('softhsm2-util') && findLibrary('softhsm') !== undefined,
  },
  opensc: {
    packages: ['opensc', 'opensc-pkcs11'],
    isThere: () => onPath('pkcs11-tool') && findLibrary('pkcs11-spy') !== undefined,
  },
  'p11-kit': {
    packages: ['p11-kit', 'p11-kit-modules'],
    isThere: () => onPath('p11-kit') && findLibrary('p11-kit-client') !== undefined,
  },
  nss: {
    packages: ['libnss3', 'libnss3-tools'],
    isThere: () => onPath('certutil') && findLibrary('nss') !== undefined,
  },
  opencryptoki: {
    packages: ['opencryptoki'],
    isThere: () => existsSync('/usr/sbin/pkcsslotd') && findLibrary('opencryptoki') !== undefined,
  },
  'tpm2-pkcs11': {
    packages: ['libtpm2-pkcs11-1', 'swtpm', 'tpm2-tools'],
    isThere: () => onPath('swtpm') && onPath('tpm2_flushcontext') && findLibrary('tpm2-pkcs11') !== undefined,
  },
  swtpm: {
    packages: ['swtpm', 'tpm2-tools'],
    isThere: () => onPath('swtpm') && onPath('tpm2_createprimary'),
  },
  'tpm2-openssl': {
    packages: ['tpm2-openssl', 'openssl'],
    isThere: () => findLibrary('tpm2-openssl') !== undefined && onPath('openssl'),
  },
  'tpm2-ptool': { packages: ['libtpm2-pkcs11-tools'], isThere: () => onPath('tpm2_ptool') },
  // What test/native is built with.
  'p11-kit-parser': {
    packages: ['libp11-kit-dev', 'pkg-config', 'gcc', 'libc6-dev'],
    isThere: () => onPath('gcc') && spawnSync('pkg-config', ['--exists', 'p11-kit-1']).status === 0,
  },
  'aws-cli': { packages: ['awscli'], isThere: () => awsCli() !== undefined },
  boto3: {
    packages: ['python3-boto3'],
    isThere: () => spawnSync('/usr/bin/python3', ['-c', 'import boto3']).status === 0,
  },
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
  const allowServices = forbidServices();
  try {
    if (!apt(...wanted) && apt('update')) apt(...wanted);
  } finally {
    allowServices();
  }
}

/** Debian asks this script before a package starts its service; opencryptoki's would be the machine's, not a test's. */
const POLICY = '/usr/sbin/policy-rc.d';

/** @returns what takes it back */
function forbidServices() {
  if (!isRoot() || existsSync(POLICY)) return () => {};
  // 101: action forbidden (invoke-rc.d).
  writeFileSync(POLICY, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  return () => rmSync(POLICY, { force: true });
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
