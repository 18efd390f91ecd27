export interface Flag {
  readonly type: 'string' | 'boolean' | 'integer';
  /** What stands for the value in help; booleans have none. */
  readonly value?: string;
  /** Used when the flag is absent. */
  readonly default?: string | number;
  /** Least and greatest value. */
  readonly range?: readonly [number, number];
  /** The only values there are; matched exactly, besides `on` and `off`. */
  readonly choices?: readonly string[];
  /** Comes from no variable and no config file. */
  readonly secret?: true;
  readonly help: string;
}

/** Every flag, once: the parser, the help, the exclusions and docs/cli.md follow this table. */
export const FLAGS = {
  config: {
    type: 'string',
    value: 'PATH',
    help: 'config file; default: holdfast/config in $XDG_CONFIG_HOME or ~/.config',
  },
  'config-profile': {
    type: 'string',
    value: 'NAME',
    help: 'profile of the config file, a section [profile NAME], that is used besides what holds for all',
  },
  certificate: {
    type: 'string',
    value: 'PATH|URI',
    help: 'certificate: file (PEM, DER, PKCS#12), env:NAME, fd:N, - or pkcs11: URI; default: what is kept beside the key',
  },
  'private-key': {
    type: 'string',
    value: 'PATH|URI',
    help: 'private key: file (PEM, DER, PKCS#12), env:NAME, fd:N, -, pkcs11: or tpm: URI; default: the value of --certificate',
  },
  intermediates: {
    type: 'string',
    value: 'PATH|URI',
    help: 'intermediate certificates, in any order, from whatever --certificate takes',
  },
  'trust-anchor-arn': {
    type: 'string',
    value: 'ARN',
    help: 'trust anchor to authenticate against (required)',
  },
  'profile-arn': {
    type: 'string',
    value: 'ARN',
    help: 'profile to pull policies from (required)',
  },
  'role-arn': {
    type: 'string',
    value: 'ARN',
    help: 'role to assume (required)',
  },
  'role-session-name': {
    type: 'string',
    value: 'NAME',
    help: 'name of the session, 2 to 64 of A-Z a-z 0-9 _ + = , . @ -; the profile must accept it',
  },
  'session-duration': {
    type: 'integer',
    value: 'SECONDS',
    default: 3600,
    range: [900, 43_200],
    help: 'life of the session, 900 to 43200',
  },
  region: {
    type: 'string',
    value: 'REGION',
    help: "region that is asked and signed for; default: the trust anchor's",
  },
  endpoint: {
    type: 'string',
    value: 'URL',
    help: 'base URL of the service: https, or http on this machine',
  },
  'use-fips-endpoint': {
    type: 'boolean',
    help: "use the region's FIPS endpoint; not every region has one",
  },
  'use-dualstack-endpoint': {
    type: 'boolean',
    help: "use the region's dual stack endpoint: IPv6 and IPv4",
  },
  'max-attempts': {
    type: 'integer',
    value: 'NUMBER',
    default: 3,
    range: [1, 20],
    help: 'requests sent at most while the service is down or throttles, 1 to 20',
  },
  'ca-bundle': {
    type: 'string',
    value: 'PATH',
    help: 'PEM file of certificate authorities to trust for TLS besides the usual ones',
  },
  'pkcs11-lib': {
    type: 'string',
    value: 'PATH',
    help: 'PKCS#11 module of every pkcs11: URI that names none (module-path, module-name)',
  },
  'pkcs8-password': {
    type: 'string',
    value: 'PASSPHRASE',
    secret: true,
    help: 'passphrase of an encrypted key file, and of a PKCS#12 file with certificates; default: asked for on the terminal',
  },
  'reuse-pin': {
    type: 'boolean',
    help: 'offer the PIN again to a key that asks at each signature; holdfast always does',
  },
  'strict-files': {
    type: 'boolean',
    help: 'refuse a key file that other users can read instead of warning',
  },
  'allow-pin-command': {
    type: 'boolean',
    help: 'run the command that a key URI names for its secret (pin-source=|/path/to/program)',
  },
  deadline: {
    type: 'integer',
    value: 'SECONDS',
    range: [1, 86_400],
    help: 'longest wait for the key or token, and again for each signature; default: no limit',
  },
  proxy: {
    type: 'string',
    value: 'URL|off',
    help: 'http or https proxy to the endpoint; default: HTTPS_PROXY, unless NO_PROXY names the endpoint',
  },
  'with-proxy': {
    type: 'boolean',
    help: 'accepted: the proxy of the environment is used anyway; --proxy off turns it off',
  },
  debug: {
    type: 'boolean',
    help: 'say on stderr what is done, without secrets: --log-level debug',
  },
  'log-level': {
    type: 'string',
    value: 'LEVEL',
    default: 'info',
    choices: ['error', 'warn', 'info', 'debug'],
    help: 'least of what is said on stderr: error, warn, info or debug; a wait for a touch always is',
  },
  'log-format': {
    type: 'string',
    value: 'text|json',
    default: 'text',
    choices: ['text', 'json'],
    help: 'stderr for people, or an object of JSON a line',
  },
  output: {
    type: 'string',
    value: 'text|json',
    default: 'text',
    choices: ['text', 'json'],
    help: 'stdout for people, or one line of JSON',
  },
  'no-verify-ssl': {
    type: 'boolean',
    help: 'refused: holdfast never turns TLS verification off; use --ca-bundle',
  },
  'cert-selector': {
    type: 'string',
    value: 'SELECTOR',
    help: 'which certificate of the file or token: Key=x509Subject,Value=CN=web and the like, or file://PATH of JSON',
  },
  'system-store-name': {
    type: 'string',
    value: 'NAME',
    help: 'not supported yet',
  },
  'use-latest-expiring-certificate': {
    type: 'boolean',
    help: 'where certificates of several keys fit --cert-selector: the one that is valid for longest',
  },
  'tpm-key-password': {
    type: 'string',
    value: 'PASSWORD',
    secret: true,
    help: 'authValue of a key in a TPM',
  },
  'no-tpm-key-password': {
    type: 'boolean',
    help: 'the key in a TPM has no authValue: nobody is asked for one',
  },
  profile: {
    type: 'string',
    value: 'NAME',
    default: 'default',
    help: 'section of the credentials file that is written',
  },
  once: {
    type: 'boolean',
    help: 'write once and end, instead of again before each expiry',
  },
  format: {
    type: 'string',
    value: 'FORMAT',
    default: 'json',
    choices: ['json', 'text', 'bin'],
    help: 'json: quoted hex; text: hex; bin: the bytes',
  },
  digest: {
    type: 'string',
    value: 'DIGEST',
    default: 'SHA256',
    choices: ['SHA256', 'SHA384', 'SHA512'],
    help: 'hash under the signature; of no meaning to ML-DSA keys',
  },
  cache: {
    type: 'string',
    value: 'on|off',
    default: 'on',
    choices: ['on', 'off'],
    help: 'share sessions with other processes of this user: docs/cli.md says what that means',
  },
  'no-cache': {
    type: 'boolean',
    help: 'buy a session of its own: neither take one from the shared cache nor leave one there',
  },
  port: {
    type: 'integer',
    value: 'PORT',
    default: 0,
    range: [0, 65_535],
    help: 'port on 127.0.0.1; 0 lets the system choose',
  },
  tls: {
    type: 'boolean',
    help: 'serve https with a certificate authority of its own (ca-bundle.pem in the directory)',
  },
  life: {
    type: 'integer',
    value: 'SECONDS',
    range: [1, 43_200],
    help: 'life of every session that is vended, even below 900, to try refreshes; default: what is asked for',
  },
  key: {
    type: 'string',
    value: 'PATH|URI',
    help: 'key that gets a certificate: certificate.pem in the directory',
  },
  directory: {
    type: 'string',
    value: 'DIR',
    help: 'where anchor.pem and the other files go until the service ends; default: a private temporary one',
  },
  login: {
    type: 'boolean',
    help: 'log in to the one token that the URI names, once, and show what is hidden without',
  },
  json: {
    type: 'boolean',
    help: 'print one line of JSON: --output json',
  },
  store: {
    type: 'string',
    value: 'STORE',
    help: 'pkcs11, tpm or file; default: pkcs11 where SoftHSM is found, else file',
  },
  help: {
    type: 'boolean',
    help: 'print the help of the command',
  },
} as const;
