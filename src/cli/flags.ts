/**
 * Every command and every flag, once: the parser, the help, the exclusions and docs/cli.md all follow these tables.
 */
export const COMMANDS = {
  'credential-process': 'buy one session and print it for an AWS SDK or the AWS CLI',
  list: 'show tokens, keys and certificates, each with the URI that selects it',
  local: 'run a Roles Anywhere and an STS on this machine, with a CA of its own',
  demo: 'show the main job: a key made in a token buys credentials from a local service',
  pin: 'let stored PINs be sent again that a token refused: pin retry URI',
  version: 'print the version',
  help: 'print this, or the help of one command',
} as const;

export type CommandName = keyof typeof COMMANDS;

/** What a command takes besides flags, in this order, as its help shows it. */
export const WORDS: Readonly<Partial<Record<CommandName, readonly string[]>>> = {
  list: ['URI'],
  pin: ['retry', 'URI'],
  help: ['[COMMAND]'],
};

export interface Flag {
  readonly type: 'string' | 'boolean' | 'integer';
  readonly commands: readonly CommandName[];
  /** What stands for the value in help; booleans have none. */
  readonly value?: string;
  /** Used when the flag is absent. */
  readonly default?: string | number;
  /** Least and greatest value. */
  readonly range?: readonly [number, number];
  /** Comes from no variable and no config file. */
  readonly secret?: true;
  readonly help: string;
}

export const FLAGS = {
  config: {
    type: 'string',
    commands: ['credential-process', 'list', 'local', 'pin'],
    value: 'PATH',
    help: 'config file; default: holdfast/config in $XDG_CONFIG_HOME or ~/.config',
  },
  certificate: {
    type: 'string',
    commands: ['credential-process'],
    value: 'PATH|URI',
    help: 'certificate: file (PEM, DER, PKCS#12), env:NAME, fd:N, - or pkcs11: URI; default: what is kept beside the key',
  },
  'private-key': {
    type: 'string',
    commands: ['credential-process'],
    value: 'PATH|URI',
    help: 'private key: file (PEM, DER, PKCS#12), env:NAME, fd:N, - or pkcs11: URI; default: the value of --certificate',
  },
  intermediates: {
    type: 'string',
    commands: ['credential-process'],
    value: 'PATH|URI',
    help: 'intermediate certificates, in any order, from whatever --certificate takes',
  },
  'trust-anchor-arn': {
    type: 'string',
    commands: ['credential-process'],
    value: 'ARN',
    help: 'trust anchor to authenticate against (required)',
  },
  'profile-arn': {
    type: 'string',
    commands: ['credential-process'],
    value: 'ARN',
    help: 'profile to pull policies from (required)',
  },
  'role-arn': {
    type: 'string',
    commands: ['credential-process'],
    value: 'ARN',
    help: 'role to assume (required)',
  },
  'role-session-name': {
    type: 'string',
    commands: ['credential-process'],
    value: 'NAME',
    help: 'name of the session, 2 to 64 of A-Z a-z 0-9 _ + = , . @ -; the profile must accept it',
  },
  'session-duration': {
    type: 'integer',
    commands: ['credential-process'],
    value: 'SECONDS',
    default: 3600,
    range: [900, 43_200],
    help: 'life of the session, 900 to 43200',
  },
  region: {
    type: 'string',
    commands: ['credential-process'],
    value: 'REGION',
    help: "region that is asked and signed for; default: the trust anchor's",
  },
  endpoint: {
    type: 'string',
    commands: ['credential-process'],
    value: 'URL',
    help: 'base URL of the service: https, or http on this machine',
  },
  'use-fips-endpoint': {
    type: 'boolean',
    commands: ['credential-process'],
    help: "use the region's FIPS endpoint; not every region has one",
  },
  'use-dualstack-endpoint': {
    type: 'boolean',
    commands: ['credential-process'],
    help: "use the region's dual stack endpoint: IPv6 and IPv4",
  },
  'max-attempts': {
    type: 'integer',
    commands: ['credential-process'],
    value: 'NUMBER',
    default: 3,
    range: [1, 20],
    help: 'requests sent at most while the service is down or throttles, 1 to 20',
  },
  'ca-bundle': {
    type: 'string',
    commands: ['credential-process'],
    value: 'PATH',
    help: 'PEM file of certificate authorities to trust for TLS besides the usual ones',
  },
  'pkcs11-lib': {
    type: 'string',
    commands: ['credential-process', 'list', 'local', 'pin'],
    value: 'PATH',
    help: 'PKCS#11 module of every pkcs11: URI that names none (module-path, module-name)',
  },
  'pkcs8-password': {
    type: 'string',
    commands: ['credential-process', 'local'],
    value: 'PASSPHRASE',
    secret: true,
    help: 'passphrase of an encrypted key file, and of a PKCS#12 file with certificates; default: asked for on the terminal',
  },
  'reuse-pin': {
    type: 'boolean',
    commands: ['credential-process'],
    help: 'offer the PIN again to a key that asks at each signature; holdfast always does',
  },
  'strict-files': {
    type: 'boolean',
    commands: ['credential-process', 'local'],
    help: 'refuse a key file that other users can read instead of warning',
  },
  'allow-pin-command': {
    type: 'boolean',
    commands: ['credential-process', 'list', 'local'],
    help: 'run the command that a key URI names for its secret (pin-source=|/path/to/program)',
  },
  deadline: {
    type: 'integer',
    commands: ['credential-process', 'list', 'pin'],
    value: 'SECONDS',
    range: [1, 86_400],
    help: 'longest wait for the key to open, and again for its signature; default: no limit',
  },
  proxy: {
    type: 'string',
    commands: ['credential-process'],
    value: 'URL|off',
    help: 'http or https proxy to the endpoint; default: HTTPS_PROXY, unless NO_PROXY names the endpoint',
  },
  'with-proxy': {
    type: 'boolean',
    commands: ['credential-process'],
    help: 'accepted: the proxy of the environment is used anyway; --proxy off turns it off',
  },
  debug: {
    type: 'boolean',
    commands: ['credential-process'],
    help: 'say on stderr what is done, without secrets',
  },
  'no-verify-ssl': {
    type: 'boolean',
    commands: ['credential-process'],
    help: 'refused: holdfast never turns TLS verification off; use --ca-bundle',
  },
  'cert-selector': {
    type: 'string',
    commands: ['credential-process'],
    value: 'SELECTOR',
    help: 'not supported yet',
  },
  'system-store-name': {
    type: 'string',
    commands: ['credential-process'],
    value: 'NAME',
    help: 'not supported yet',
  },
  'use-latest-expiring-certificate': {
    type: 'boolean',
    commands: ['credential-process'],
    help: 'not supported yet',
  },
  'tpm-key-password': {
    type: 'string',
    commands: ['credential-process'],
    value: 'PASSWORD',
    secret: true,
    help: 'not supported yet',
  },
  'no-tpm-key-password': {
    type: 'boolean',
    commands: ['credential-process'],
    help: 'not supported yet',
  },
  port: {
    type: 'integer',
    commands: ['local'],
    value: 'PORT',
    default: 0,
    range: [0, 65_535],
    help: 'port on 127.0.0.1; 0 lets the system choose',
  },
  tls: {
    type: 'boolean',
    commands: ['local'],
    help: 'serve https with a certificate authority of its own (ca-bundle.pem in the directory)',
  },
  life: {
    type: 'integer',
    commands: ['local'],
    value: 'SECONDS',
    range: [1, 43_200],
    help: 'life of every session that is vended, even below 900, to try refreshes; default: what is asked for',
  },
  key: {
    type: 'string',
    commands: ['local'],
    value: 'PATH|URI',
    help: 'key that gets a certificate: certificate.pem in the directory',
  },
  directory: {
    type: 'string',
    commands: ['local'],
    value: 'DIR',
    help: 'where anchor.pem and the other files go until the service ends; default: a private temporary one',
  },
  login: {
    type: 'boolean',
    commands: ['list'],
    help: 'log in to the one token that the URI names, once, and show what is hidden without',
  },
  json: {
    type: 'boolean',
    commands: ['list'],
    help: 'print one line of JSON',
  },
  store: {
    type: 'string',
    commands: ['demo'],
    value: 'STORE',
    help: 'pkcs11 or file; default: pkcs11 where SoftHSM is found, else file',
  },
  help: {
    type: 'boolean',
    commands: ['credential-process', 'list', 'local', 'demo', 'pin', 'version', 'help'],
    help: 'print the help of the command',
  },
} as const;

export type FlagName = keyof typeof FLAGS;
export type FlagNameOf<Type extends Flag['type']> = {
  [Name in FlagName]: (typeof FLAGS)[Name]['type'] extends Type ? Name : never;
}[FlagName];

/** A flag of the table; undefined for a name that is not in it. */
export function flagOf(name: string): Flag | undefined {
  return Object.hasOwn(FLAGS, name) ? FLAGS[name as FlagName] : undefined;
}

/** Is this word one of the commands? */
export const isCommand = (word: string): word is CommandName => Object.hasOwn(COMMANDS, word);

/** The flags of one command, in the order of the table. */
export const flagsOf = (command: CommandName): readonly FlagName[] =>
  (Object.keys(FLAGS) as FlagName[]).filter((name) => flagOf(name)?.commands.includes(command));

/**
 * Flags that may stand in a variable and in the config file as well: those of a session. What a person says once, such
 * as the port of `local`, and secrets stand on the command line only.
 */
export const SETTINGS: readonly FlagName[] = flagsOf('credential-process').filter(
  (name) => name !== 'help' && name !== 'config' && flagOf(name)?.secret !== true,
);
