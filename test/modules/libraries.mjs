// Where the PKCS#11 modules of this machine are, and which of them its tests can use: asked by the tests, by
// test/not-exercised.mjs and by scripts/install-doubles.mjs.
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';

const ROOTS = [
  '/usr/lib/x86_64-linux-gnu',
  '/usr/lib/aarch64-linux-gnu',
  '/usr/lib64',
  '/usr/lib',
  '/usr/local/lib',
  '/opt/homebrew/lib',
];
const FOLDERS = ROOTS.flatMap((root) => [
  join(root, 'pkcs11'),
  root,
  join(root, 'softhsm'),
  join(root, 'ossl-modules'),
]);

const FILES = {
  softhsm: ['libsofthsm2.so', 'libsofthsm.so'],
  nss: ['libsoftokn3.so'],
  opencryptoki: ['libopencryptoki.so'],
  'tpm2-pkcs11': ['libtpm2_pkcs11.so'],
  'tpm2-openssl': ['tpm2.so'],
  'p11-kit-client': ['p11-kit-client.so'],
  'p11-kit-proxy': ['p11-kit-proxy.so'],
  'pkcs11-spy': ['pkcs11-spy.so'],
};

/** The path of a library of this machine; undefined when it is not installed. */
export const findLibrary = (name) =>
  FOLDERS.flatMap((folder) => FILES[name].map((file) => join(folder, file))).find((path) => existsSync(path));

/** Is there a program of that name? */
export const onPath = (program) =>
  (process.env.PATH ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return folder !== '';
    } catch {
      return false;
    }
  });

const isRoot = () => process.getuid?.() === 0;

/** For a module that believes it has the machine for itself: everything that it writes outside of /tmp is its own. */
export const OWN_MACHINE = ['unshare', '--mount', '--ipc', '--pid', '--fork', '--mount-proc', '--kill-child'];

/** Another user than root, who still may read the files that root owns. */
export const OWN_USER = ['unshare', '--user', '--map-user=65534', '--map-group=65534'];

const canEnter = ([program, ...args]) => spawnSync(program, [...args, 'true'], { stdio: 'ignore' }).status === 0;

const CAN_USE = {
  nss: () => findLibrary('nss') !== undefined && onPath('certutil'),
  opencryptoki: () =>
    isRoot() && findLibrary('opencryptoki') !== undefined && onPath('pkcsslotd') && canEnter(OWN_MACHINE),
  'tpm2-pkcs11': () =>
    findLibrary('tpm2-pkcs11') !== undefined && ['swtpm', 'tpm2_flushcontext', 'pkcs11-tool'].every(onPath),
  swtpm: () => ['swtpm', 'tpm2_createprimary'].every(onPath),
  'tpm2-openssl': () =>
    findLibrary('tpm2-openssl') !== undefined && ['swtpm', 'tpm2_createprimary', 'openssl'].every(onPath),
  'tpm2-ptool': () => canUse('tpm2-pkcs11') && onPath('tpm2_ptool'),
  'p11-kit-server': () =>
    findLibrary('softhsm') !== undefined && findLibrary('p11-kit-client') !== undefined && onPath('p11-kit'),
  'p11-kit-proxy': () =>
    findLibrary('softhsm') !== undefined &&
    findLibrary('p11-kit-proxy') !== undefined &&
    (!isRoot() || canEnter(OWN_USER)),
  'pkcs11-spy': () => findLibrary('softhsm') !== undefined && findLibrary('pkcs11-spy') !== undefined,
};

/** Can the tests of a module run here and now? */
export const canUse = (name) => CAN_USE[name]();
