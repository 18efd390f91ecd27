import { homedir } from 'node:os';
import { join } from 'node:path';

/** Where on this machine modules are. */
export interface Machine {
  readonly platform: string;
  /** p11-kit's proxy, the likeliest path first. */
  readonly proxies: readonly string[];
  /** Folders with nothing but modules in them: those that a name may mean. */
  readonly moduleFolders: readonly string[];
  /** Folders of all the machine's libraries. A relative path in p11-kit's configuration may count from these, too. */
  readonly libraryFolders: readonly string[];
  /** p11-kit's configuration: what packages put there. */
  readonly packageFolders: readonly string[];
  /** p11-kit's configuration of this machine: with `pkcs11.conf` and `modules/`. */
  readonly systemFolders: readonly string[];
  /** p11-kit's configuration of this user; undefined for root, whom p11-kit gives none. */
  readonly userFolder: string | undefined;
  /** Files that vendors install, by their own documents. */
  readonly wellKnown: readonly string[];
}

/** Debian's names for what Node calls `process.arch`. */
const TRIPLES: Readonly<Record<string, string>> = {
  x64: 'x86_64-linux-gnu',
  arm64: 'aarch64-linux-gnu',
  arm: 'arm-linux-gnueabihf',
  ia32: 'i386-linux-gnu',
  ppc64: 'powerpc64le-linux-gnu',
  riscv64: 'riscv64-linux-gnu',
  s390x: 's390x-linux-gnu',
  loong64: 'loongarch64-linux-gnu',
};

/** Below each folder of libraries. SoftHSM and p11-kit's modules have folders of their own there. */
const IN_LIBRARIES = [
  'opensc-pkcs11', // OpenSC
  'pkcs11/opensc-pkcs11',
  'libykcs11', // YubiKey: yubico-piv-tool
  'softhsm/libsofthsm2', // SoftHSM
  'pkcs11/libsofthsm2',
  'pkcs11/libtpm2_pkcs11', // tpm2-pkcs11
  'libtpm2_pkcs11',
  'pkcs11/libopencryptoki', // openCryptoki
  'libeTPkcs11', // Thales SafeNet Authentication Client
  'libcs_pkcs11_R3', // Utimaco
];

const ELSEWHERE_ON_LINUX = [
  '/usr/safenet/lunaclient/lib/libCryptoki2_64.so', // Thales Luna
  '/usr/lunasa/lib/libCryptoki2_64.so',
  '/opt/nfast/toolkits/pkcs11/libcknfast.so', // Entrust nShield
  '/opt/cloudhsm/lib/libcloudhsm_pkcs11.so', // AWS CloudHSM
  '/opt/utimaco/lib/libcs_pkcs11_R3.so', // Utimaco
];

const ELSEWHERE_ON_MACOS = ['/Library/OpenSC/lib/opensc-pkcs11.so'];

/**
 * The places of one kind of machine.
 *
 * @param root put before each path: another tree, for tests
 */
export function placesOn(
  { platform, arch }: Pick<NodeJS.Process, 'platform' | 'arch'>,
  user: { readonly id: number | undefined; readonly home: string; readonly configHome: string | undefined },
  root = '',
): Machine {
  const at = (path: string): string => `${root}${path}`;
  const isMac = platform === 'darwin';
  // Homebrew on Apple silicon and on Intel, MacPorts; elsewhere the system and what was built there.
  const prefixes = isMac ? ['/opt/homebrew', '/usr/local', '/opt/local'] : ['/usr', '/usr/local'];
  const triple = platform === 'linux' ? TRIPLES[arch] : undefined;
  const libraries = prefixes.flatMap((prefix) => [
    ...(triple && prefix === '/usr' ? [`/usr/lib/${triple}`] : []),
    ...(isMac ? [] : [`${prefix}/lib64`]), // Fedora, SUSE
    `${prefix}/lib`, // Alpine, Arch
  ]);
  const none = platform === 'win32';
  const list = (paths: readonly string[]): string[] => (none ? [] : paths.map(at));
  const suffixes = isMac ? ['.dylib', '.so'] : ['.so'];
  return {
    platform,
    proxies: list(libraries.flatMap((folder) => suffixes.map((suffix) => `${folder}/p11-kit-proxy${suffix}`))),
    moduleFolders: list(libraries.flatMap((folder) => [`${folder}/pkcs11`, `${folder}/softhsm`])),
    libraryFolders: list(libraries),
    packageFolders: list(prefixes.map((prefix) => `${prefix}/share/p11-kit/modules`)),
    systemFolders: list([...(isMac ? prefixes.map((prefix) => `${prefix}/etc/pkcs11`) : []), '/etc/pkcs11']),
    userFolder: none || user.id === 0 ? undefined : join(user.configHome || join(user.home, '.config'), 'pkcs11'),
    wellKnown: list([
      ...libraries.flatMap((folder) =>
        IN_LIBRARIES.flatMap((name) => suffixes.map((suffix) => `${folder}/${name}${suffix}`)),
      ),
      ...(isMac ? ELSEWHERE_ON_MACOS : ELSEWHERE_ON_LINUX),
    ]),
  };
}

export const thisMachine = (): Machine =>
  placesOn(process, { id: process.getuid?.(), home: homedir(), configHome: process.env.XDG_CONFIG_HOME });
