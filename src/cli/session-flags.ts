import { checkSession } from '../check-session.ts';
import { HoldfastError, ServiceError } from '../errors.ts';
import type { RolesAnywhereInit } from '../provider.ts';
import { parseKeyUri } from '../uri.ts';
import type { Context } from './context.ts';
import { keyOptions, withModule, withPinOf } from './key-flags.ts';

/** What is about to happen, without secrets: key URIs print without theirs. */
export function plan(init: RolesAnywhereInit): string[] {
  const { key, certificate, roleArn, caBundle } = init;
  const { url, region, proxy } = checkSession(init);
  return [
    `key: ${String(key)}`,
    `certificate: ${typeof certificate === 'string' ? String(parseKeyUri(certificate)) : 'beside the key'}`,
    `role: ${roleArn}`,
    `endpoint: ${url.href}, region: ${region}, CA bundle: ${caBundle ?? 'none'}`,
    `proxy: ${proxy?.description ?? 'none'}`,
  ];
}

/** What the error does not know: the command line and the environment around it. */
export function explain(thrown: unknown, { flags, output, received }: Context): void {
  if (thrown instanceof ServiceError) {
    const { status, awsCode, requestId } = thrown;
    if (flags.on('debug')) {
      output.tell('debug', `status ${status ?? 'none'}, code ${awsCode ?? 'none'}, request id ${requestId ?? 'none'}`);
    }
    if (thrown.code === 'ERR_SERVICE_UNREACHABLE' && flags.on('use-fips-endpoint')) {
      output.tell('note', 'this is a FIPS endpoint: not every region has one');
    }
  }
  const isLost = thrown instanceof HoldfastError && thrown.code === 'ERR_CERTIFICATE_REQUIRED';
  if (isLost && flags.text('certificate') === undefined) output.tell('note', `received ${received}`);
}

/** All that is missing in one error. A line that lost its words shows in what was received. */
export function checkRequired({ flags, received }: Context): void {
  const required = ['trust-anchor-arn', 'profile-arn', 'role-arn'] as const;
  const missing = required
    .filter((name) => flags.text(name) === undefined)
    .map((name) => (flags.empty.includes(name) ? `--${name} (it is empty)` : `--${name}`));
  if (flags.text('private-key') === undefined && flags.text('certificate') === undefined) {
    missing.push('--private-key or --certificate');
  }
  if (missing.length === 0) return;
  throw new HoldfastError('ERR_FLAG_MISSING', `missing: ${missing.join(', ')}`, {
    hint: `add it, all on one line, or to the config file; received ${received}`,
  });
}

/** With the place it is from: errors send people there. */
function proxyOf(flags: Context['flags']): RolesAnywhereInit['proxy'] {
  const url = flags.text('proxy');
  if (url === undefined) return undefined;
  return url.toLowerCase() === 'off' ? false : { url, origin: flags.origins.get('proxy') ?? '--proxy' };
}

/** What the flags of a session say, for the library. */
export function initFrom(context: Context): RolesAnywhereInit {
  const { flags } = context;
  const module = flags.text('pkcs11-lib');
  const [keyText, certificate, chain] = (['private-key', 'certificate', 'intermediates'] as const).map((name) => {
    const text = flags.text(name);
    return text === undefined ? undefined : withModule(text, module);
  });
  const key = withPinOf(
    certificate === undefined ? undefined : parseKeyUri(certificate),
    parseKeyUri(keyText ?? (certificate as string)),
  );
  return {
    ...keyOptions(key, context),
    key,
    // A URI that stands for both leaves the certificates to the open key.
    certificate: keyText === undefined ? undefined : certificate,
    chain,
    trustAnchorArn: flags.text('trust-anchor-arn') as string,
    profileArn: flags.text('profile-arn') as string,
    roleArn: flags.text('role-arn') as string,
    roleSessionName: flags.text('role-session-name'),
    durationSeconds: flags.integer('session-duration'),
    region: flags.text('region'),
    endpoint: flags.text('endpoint'),
    useFipsEndpoint: flags.on('use-fips-endpoint'),
    useDualstackEndpoint: flags.on('use-dualstack-endpoint'),
    caBundle: flags.text('ca-bundle'),
    proxy: proxyOf(flags),
    attempts: flags.integer('max-attempts'),
  };
}

/**
 * The same with the certificate that `--cert-selector` means, once nothing else can be wrong.
 *
 * @throws {HoldfastError} `ERR_CERTIFICATE_*`, `ERR_OPTION_INVALID`, and what reading the certificates throws
 */
export async function selected(init: RolesAnywhereInit, context: Context): Promise<RolesAnywhereInit> {
  if (context.flags.text('cert-selector') === undefined) return init;
  checkSession(init);
  return (await import('./select-certificate.ts')).withSelected(init, context);
}
