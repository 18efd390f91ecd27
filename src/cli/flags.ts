import type { CommandName } from './commands.ts';
import { FLAGS, type Flag } from './flag-table.ts';

export type FlagName = keyof typeof FLAGS;
export type FlagNameOf<Type extends Flag['type']> = {
  [Name in FlagName]: (typeof FLAGS)[Name]['type'] extends Type ? Name : never;
}[FlagName];

/** A flag of the table; undefined for a name that is not in it. */
export function flagOf(name: string): Flag | undefined {
  return Object.hasOwn(FLAGS, name) ? FLAGS[name as FlagName] : undefined;
}

/** What every command has. */
const ALWAYS: readonly FlagName[] = ['debug', 'log-level', 'log-format', 'help'];

/** Of the commands that read the config file. */
const PLACES: readonly FlagName[] = ['config', 'config-profile'];

/** What names a key and a certificate, and how they are reached. */
const KEY: readonly FlagName[] = [
  'certificate',
  'private-key',
  'pkcs11-lib',
  'pkcs8-password',
  'reuse-pin',
  'strict-files',
  'allow-pin-command',
  'deadline',
  'cert-selector',
  'system-store-name',
  'use-latest-expiring-certificate',
  'tpm-key-password',
  'no-tpm-key-password',
];

/** What a session is bought with. */
const SESSION: readonly FlagName[] = [
  ...KEY,
  'intermediates',
  'trust-anchor-arn',
  'profile-arn',
  'role-arn',
  'role-session-name',
  'session-duration',
  'region',
  'endpoint',
  'use-fips-endpoint',
  'use-dualstack-endpoint',
  'max-attempts',
  'ca-bundle',
  'proxy',
  'with-proxy',
  'no-verify-ssl',
];

const NOT_TO_READ: readonly FlagName[] = [
  'private-key',
  'reuse-pin',
  'strict-files',
  'use-latest-expiring-certificate',
  'tpm-key-password',
  'no-tpm-key-password',
];

const FLAGS_OF: Readonly<Record<CommandName, readonly FlagName[]>> = {
  'credential-process': [...SESSION, 'cache', 'no-cache', ...PLACES],
  update: [...SESSION, 'profile', 'once', ...PLACES],
  'sign-string': [...KEY, 'format', 'digest', ...PLACES],
  'read-certificate-data': [...KEY.filter((name) => !NOT_TO_READ.includes(name)), 'output', ...PLACES],
  list: ['pkcs11-lib', 'allow-pin-command', 'deadline', 'login', 'json', 'output', ...PLACES],
  local: [
    'pkcs11-lib',
    'pkcs8-password',
    'strict-files',
    'allow-pin-command',
    'deadline',
    'port',
    'tls',
    'life',
    'key',
    'directory',
    ...PLACES,
  ],
  demo: ['store', 'output'],
  pin: ['pkcs11-lib', 'deadline', 'output', ...PLACES],
  version: ['output'],
  help: [],
};

/** The flags of one command, in the order of the table. */
export const flagsOf = (command: CommandName): readonly FlagName[] =>
  (Object.keys(FLAGS) as FlagName[]).filter((name) => ALWAYS.includes(name) || FLAGS_OF[command].includes(name));

/** The commands that know a flag. */
export const commandsOf = (flag: FlagName): readonly CommandName[] =>
  (Object.keys(FLAGS_OF) as CommandName[]).filter((command) => flagsOf(command).includes(flag));

const ON_THE_LINE_ONLY: readonly FlagName[] = [...PLACES, 'no-cache', 'help'];

/**
 * Flags that may stand in a variable and in the config file as well: those of a session, and what comes out. What a
 * person says once, such as the port of `local`, and secrets stand on the command line only.
 */
export const SETTINGS: readonly FlagName[] = [...flagsOf('credential-process'), 'output' as const].filter(
  (name) => !ON_THE_LINE_ONLY.includes(name) && flagOf(name)?.secret !== true,
);
