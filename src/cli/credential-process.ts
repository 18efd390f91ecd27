import {
  type Credentials,
  getCredentials,
  HoldfastError,
  parseKeyUri,
  type RolesAnywhereInit,
  ServiceError,
} from '../index.ts';
import type { Context } from './context.ts';
import { secretFor, withModule, withPinOf } from './key-flags.ts';
import { formatDate } from './output.ts';

/** One CreateSession: its credentials on stdout in the form that every AWS SDK reads, and nothing else there. */
export async function credentialProcess(context: Context): Promise<void> {
  const { flags, output } = context;
  checkRequired(context);
  if (flags.on('with-proxy')) output.tell('warning', 'no proxy is used yet: --with-proxy has no effect');
  const init = initFrom(context);
  if (flags.on('debug')) for (const line of plan(init)) output.tell('debug', line);
  let credentials: Credentials;
  try {
    credentials = await getCredentials(init);
  } catch (thrown) {
    explain(thrown, context);
    throw thrown;
  }
  if (flags.on('debug')) output.tell('debug', `a session until ${formatDate(credentials.expiration)}`);
  return output.result(credentialJson(credentials));
}

/** What is about to happen, without secrets: key URIs print without theirs. */
function plan({ key, certificate, roleArn, endpoint, region, caBundle }: RolesAnywhereInit): string[] {
  return [
    `key: ${String(key)}`,
    `certificate: ${typeof certificate === 'string' ? String(parseKeyUri(certificate)) : 'beside the key'}`,
    `role: ${roleArn}`,
    `endpoint: ${endpoint ?? "the region's"}, region: ${region ?? "the trust anchor's"}, CA bundle: ${caBundle ?? 'none'}`,
  ];
}

/** What the error does not know: the command line and the environment around it. */
function explain(thrown: unknown, { flags, env, output, received }: Context): void {
  if (thrown instanceof ServiceError) {
    const { status, awsCode, requestId } = thrown;
    if (flags.on('debug')) {
      output.tell('debug', `status ${status ?? 'none'}, code ${awsCode ?? 'none'}, request id ${requestId ?? 'none'}`);
    }
    const proxy = ['HTTPS_PROXY', 'https_proxy'].find((name) => env[name]);
    if (status === undefined && proxy) output.tell('warning', `${proxy} is set, but no proxy is used yet`);
  }
  const isLost = thrown instanceof HoldfastError && thrown.code === 'ERR_CERTIFICATE_REQUIRED';
  if (isLost && flags.text('certificate') === undefined) output.tell('note', `received ${received}`);
}

/**
 * The credential JSON of the reference client: these keys in this order, no final newline, and the characters escaped
 * that Go's encoding/json escapes.
 */
export function credentialJson(credentials: Omit<Credentials, 'accountId'>): string {
  const json = JSON.stringify({
    Version: 1,
    AccessKeyId: credentials.accessKeyId,
    SecretAccessKey: credentials.secretAccessKey,
    SessionToken: credentials.sessionToken,
    Expiration: formatDate(credentials.expiration),
  });
  return json.replace(/[<>&\u2028\u2029]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** All that is missing in one error. A line that lost its words shows in what was received. */
function checkRequired({ flags, received }: Context): void {
  const required = ['trust-anchor-arn', 'profile-arn', 'role-arn'] as const;
  const missing = required
    .filter((name) => flags.text(name) === undefined)
    .map((name) => (flags.empty.includes(name) ? `--${name} (it is empty)` : `--${name}`));
  if (flags.text('private-key') === undefined && flags.text('certificate') === undefined) {
    missing.push('--private-key or --certificate');
  }
  if (missing.length === 0) return;
  throw new HoldfastError('ERR_FLAG_MISSING', `missing: ${missing.join(', ')}`, {
    hint: `add it, all on one line; received ${received}`,
  });
}

function initFrom({ flags, env, output, signal }: Context): RolesAnywhereInit {
  const module = flags.text('pkcs11-lib');
  const [keyText, certificate] = (['private-key', 'certificate'] as const).map((name) => {
    const text = flags.text(name);
    return text === undefined ? undefined : withModule(text, module);
  });
  const key = withPinOf(
    certificate === undefined ? undefined : parseKeyUri(certificate),
    parseKeyUri(keyText ?? (certificate as string)),
  );
  const seconds = flags.integer('deadline');
  if (seconds !== undefined && (seconds < 1 || seconds > 86_400)) {
    throw new HoldfastError('ERR_OPTION_INVALID', `--deadline is ${seconds}`, { hint: 'give 1 to 86400 seconds' });
  }
  return {
    key,
    // A URI that stands for both leaves the certificates to the open key.
    certificate: keyText === undefined ? undefined : certificate,
    chain: flags.text('intermediates'),
    trustAnchorArn: flags.text('trust-anchor-arn') as string,
    profileArn: flags.text('profile-arn') as string,
    roleArn: flags.text('role-arn') as string,
    roleSessionName: flags.text('role-session-name'),
    durationSeconds: flags.integer('session-duration'),
    region: flags.text('region'),
    endpoint: flags.text('endpoint') ?? endpointFrom(env),
    caBundle: flags.text('ca-bundle') ?? (env.AWS_CA_BUNDLE || undefined),
    strictFiles: flags.on('strict-files'),
    deadline: seconds === undefined ? undefined : seconds * 1000,
    secret: secretFor(key, flags, signal),
    notify: ({ kind, message, hint }) => output.tell(kind, message, hint),
    signal,
  };
}

/** The SDKs' variables. Unlike the reference client's, our flag beats both. */
function endpointFrom(env: NodeJS.ProcessEnv): string | undefined {
  if (env.AWS_IGNORE_CONFIGURED_ENDPOINT_URLS?.toLowerCase() === 'true') return undefined;
  return env.AWS_ENDPOINT_URL_ROLESANYWHERE || env.AWS_ENDPOINT_URL || undefined;
}
