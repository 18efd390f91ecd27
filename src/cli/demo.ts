import { execFile } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { devNull } from 'node:os';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { systemCodeOf } from '../errors.ts';
import { HoldfastError, openKey, parseKeyUri, readCertificates, storeOf } from '../index.ts';
import { type LocalRolesAnywhere, startLocalRolesAnywhere } from '../local/index.ts';
import type { Context } from './context.ts';
import { ONE_SHOT } from './key-flags.ts';
import { makePlace, type Place } from './place.ts';
import { makeSoftToken } from './soft-token.ts';
import { startSoftTpm } from './soft-tpm.ts';

/** One line of the table; the time is that of the step which it tells of. */
interface Row {
  readonly what: string;
  readonly text: string;
  readonly milliseconds?: number | undefined;
}

/** A key that was just made, and the flags with which credential-process finds it. */
interface DemoKey {
  readonly uri: string;
  readonly rows: readonly Row[];
  /** Put the certificate where the key's store keeps it. */
  certify(issued: { certificate: string; chain: string }): Promise<{ where: string; flags: readonly string[] }>;
  /** To be called in any case. */
  end?(): Promise<void>;
}

/**
 * The main job from end to end on this machine: a key is made in a token, a local CA certifies it, credential-process
 * buys credentials in a process of its own, and an SDK client asks an STS who they belong to.
 */
export async function demo(context: Context): Promise<void> {
  const { output, flags } = context;
  const store = flags.text('store');
  if (store !== undefined && !['pkcs11', 'tpm', 'file'].includes(store)) {
    throw new HoldfastError('ERR_USAGE', 'the demo has no such store', {
      hint: 'use --store pkcs11, --store tpm or --store file',
    });
  }
  forgetSettings(context.env);
  const place = await makePlace(undefined);
  try {
    const service = await startLocalRolesAnywhere();
    try {
      const key = await makeKey(store, place, context);
      try {
        const rows = await show(key, service, context);
        const all = [...key.rows, ...rows];
        await output.result(flags.text('output') === 'json' ? `${JSON.stringify(all)}\n` : table(all));
      } finally {
        await key.end?.();
      }
    } finally {
      await service.close();
    }
  } finally {
    await place.remove();
  }
}

/**
 * Nothing that the user has set elsewhere belongs into this: the demo is the same on every machine. The SDK client reads
 * the variables of this process, credential-process inherits them.
 */
function forgetSettings(env: NodeJS.ProcessEnv): void {
  for (const name of Object.keys(env).filter((one) => /^(AWS|HOLDFAST)_/i.test(one))) delete env[name];
  for (const name of ['HOLDFAST_CONFIG', 'AWS_CONFIG_FILE', 'AWS_SHARED_CREDENTIALS_FILE']) env[name] = devNull;
}

/** A token where there is one; a file in its stead only when nobody insisted, and never in silence. */
async function makeKey(store: string | undefined, place: Place, context: Context): Promise<DemoKey> {
  if (store === 'file') return makeFileKey(place, '--store file was asked for');
  if (store === 'tpm') return makeTpmKey(place, context);
  try {
    return await makeTokenKey(place, context);
  } catch (thrown) {
    const isAbsent = thrown instanceof HoldfastError && /^ERR_(DRIVER_|MODULE_NOT_FOUND)/.test(thrown.code);
    if (store === 'pkcs11' || !isAbsent) throw thrown;
    context.output.tell('warning', `no token is used: ${thrown.message}`, thrown.hint);
    return makeFileKey(place, thrown.message);
  }
}

async function makeTokenKey(place: Place, { env, signal }: Context): Promise<DemoKey> {
  const { value: token, milliseconds: making } = await timed(() => makeSoftToken(place, env));
  const asked = parseKeyUri(token.uriOf('demo'));
  const pkcs11 = await storeOf(asked);
  const { value: uri, milliseconds } = await timed(async () => {
    const created = await pkcs11.create?.(asked, { ...ONE_SHOT, keyType: 'P-256', signal });
    if (created) return created;
    throw new HoldfastError('ERR_STORE_INCAPABLE', 'this store makes no keys', { hint: 'try --store file' });
  });
  return {
    uri: uri.toString(),
    rows: [
      { what: 'token', text: `"${token.label}" of SoftHSM (${token.module})`, milliseconds: making },
      { what: 'key', text: 'P-256, made in the token, where it stays', milliseconds },
    ],
    async certify({ certificate, chain }) {
      const certificates = readCertificates(Buffer.from(certificate + chain), 'what the local CA issued');
      await pkcs11.putCertificate?.(
        uri,
        certificates.map(({ der }) => der),
        { ...ONE_SHOT, signal },
      );
      return { where: 'kept on the token', flags: ['--private-key', uri.toString()] };
    },
  };
}

/** In a TPM in software: that of the machine is its owner's. */
async function makeTpmKey(place: Place, { env, signal }: Context): Promise<DemoKey> {
  const { value: tpm, milliseconds: starting } = await timed(() => startSoftTpm(place, env));
  try {
    const asked = parseKeyUri(tpm.uriOf('key.tpm'));
    const store = await storeOf(asked);
    const { milliseconds } = await timed(async () => store.create?.(asked, { keyType: 'P-256', signal }));
    return {
      uri: asked.toString(),
      rows: [
        { what: 'token', text: 'a TPM 2.0 in software (swtpm)', milliseconds: starting },
        { what: 'key', text: 'P-256, made in the TPM, which alone can use its file', milliseconds },
      ],
      certify: (issued) => keepInFiles(place, asked.toString(), issued),
      end: () => tpm.stop(),
    };
  } catch (error) {
    await tpm.stop();
    throw error;
  }
}

async function keepInFiles(
  place: Place,
  key: string,
  { certificate, chain }: { certificate: string; chain: string },
): Promise<{ where: string; flags: readonly string[] }> {
  const [leaf, pool] = [await place.write('certificate.pem', certificate), await place.write('chain.pem', chain)];
  return {
    where: 'kept in a file',
    flags: ['--private-key', key, '--certificate', leaf, '--intermediates', pool],
  };
}

async function makeFileKey(place: Place, why: string): Promise<DemoKey> {
  const { value: path, milliseconds } = await timed(() => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    return place.write('key.pem', privateKey.export({ type: 'pkcs8', format: 'pem' }).toString());
  });
  return {
    uri: path,
    rows: [
      { what: 'token', text: `none: ${why}` },
      { what: 'key', text: 'P-256, made in a file', milliseconds },
    ],
    certify: (issued) => keepInFiles(place, path, issued),
  };
}

async function show(key: DemoKey, service: LocalRolesAnywhere, context: Context): Promise<Row[]> {
  const certified = await timed(async () => {
    const opened = await openKey(key.uri, { ...ONE_SHOT, signal: context.signal });
    const { description, publicKey } = opened;
    await opened.close();
    if (!publicKey) throw new HoldfastError('ERR_STORE_INCAPABLE', `${description} shows no public half`);
    const issued = await service.issue({ publicKey, commonName: 'holdfast demo', intermediates: 1 });
    const [leaf] = readCertificates(Buffer.from(issued.certificate), 'what the local CA issued');
    return { description, issuer: leaf?.issuer, ...(await key.certify(issued)) };
  });
  const { description, issuer, where, flags } = certified.value;
  const bought = await timed(() => credentialProcess(flags, service, context));
  const { Expiration, ...credentials } = JSON.parse(bought.value) as ProcessCredentials;
  const asked = await timed(() => callerOf(service, credentials));
  return [
    {
      what: 'certificate',
      text: `CN=holdfast demo, issued by ${issuer}, ${where}`,
      milliseconds: certified.milliseconds,
    },
    { what: 'signed by', text: description },
    {
      what: 'credentials',
      text: `from credential-process, valid until ${Expiration}`,
      milliseconds: bought.milliseconds,
    },
    { what: 'caller', text: asked.value, milliseconds: asked.milliseconds },
  ];
}

interface ProcessCredentials {
  readonly AccessKeyId: string;
  readonly SecretAccessKey: string;
  readonly SessionToken: string;
  readonly Expiration: string;
}

/** This very program in a process of its own, as the AWS CLI runs it. */
async function credentialProcess(
  flags: readonly string[],
  service: LocalRolesAnywhere,
  context: Context,
): Promise<string> {
  const { endpoint, trustAnchorArn, profileArn, roleArn } = service;
  const main = fileURLToPath(new URL('./main.js', import.meta.url));
  const arns = ['--trust-anchor-arn', trustAnchorArn, '--profile-arn', profileArn, '--role-arn', roleArn];
  // A session of a service that is about to end is for nobody else.
  const args = [main, 'credential-process', '--no-cache', ...flags, ...arns, '--endpoint', endpoint];
  const { signal, env } = context;
  const child = promisify(execFile)(process.execPath, args, { env, signal });
  const { stdout } = await child.catch((cause: { stderr?: string; code?: string | number }) => {
    signal.throwIfAborted();
    throw new HoldfastError(
      'ERR_INTERNAL',
      `credential-process ended with ${cause.code ?? 'a signal'}: ${cause.stderr ?? ''}`,
      {
        hint: 'run the demo again with --store file, and report both',
        cause,
      },
    );
  });
  return stdout;
}

/** GetCallerIdentity through an unmodified AWS SDK client. */
async function callerOf(service: LocalRolesAnywhere, given: Omit<ProcessCredentials, 'Expiration'>): Promise<string> {
  const sdk = await import('@aws-sdk/client-sts').catch((cause: unknown) => {
    // The one of import(), or the one of require(), which the bundle has in its place.
    if (/^(ERR_)?MODULE_NOT_FOUND$/.test(systemCodeOf(cause) ?? '')) return undefined;
    throw cause;
  });
  if (!sdk) return 'not asked: the package @aws-sdk/client-sts is not installed';
  const client = new sdk.STSClient({
    region: service.region,
    endpoint: service.stsEndpoint,
    useFipsEndpoint: false,
    useDualstackEndpoint: false,
    credentials: {
      accessKeyId: given.AccessKeyId,
      secretAccessKey: given.SecretAccessKey,
      sessionToken: given.SessionToken,
    },
  });
  try {
    const { Arn } = await client.send(new sdk.GetCallerIdentityCommand({}));
    return `${Arn}, says STS to @aws-sdk/client-sts`;
  } finally {
    client.destroy();
  }
}

async function timed<T>(work: () => T | Promise<T>): Promise<{ value: T; milliseconds: number }> {
  const start = performance.now();
  const value = await work();
  return { value, milliseconds: Math.round(performance.now() - start) };
}

function table(rows: readonly Row[]): string {
  const width = Math.max(...rows.map(({ what }) => what.length));
  const lines = rows.map(({ what, text, milliseconds }) => {
    const time = milliseconds === undefined ? '' : `${milliseconds} ms`;
    return `${what.padEnd(width)}  ${time.padStart(8)}  ${text}\n`;
  });
  return lines.join('');
}
