import { setTimeout as delay } from 'node:timers/promises';
import { type ArnOptions, checkArns } from './arn.ts';
import { endpointUrl } from './endpoint.ts';
import { HoldfastError, ServiceError } from './errors.ts';
import { type HttpAnswer, interrupted, type Send, send as sendHttp } from './http.ts';
import {
  clockHint,
  clockSkew,
  describe,
  isSignatureRefused,
  NOT_THE_SERVICE,
  refusal,
  requestIdOf,
} from './service-error.ts';
import { type HttpRequest, type SigningIdentity, signRequest } from './sigv4.ts';

/** Temporary AWS credentials in the AWS SDK's own shape, and where they came from. */
export interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken: string;
  readonly expiration: Date;
  /** 12 digits, from the assumed role. */
  readonly accountId: string;
}

export interface SessionOptions extends ArnOptions {
  /** Seconds, 900 to 43200; the profile and the role may allow less. Default: 3600. */
  durationSeconds?: number | undefined;
  /** 2 to 64 characters of `[\w+=,.@-]`; the profile must accept names. Default: the certificate's serial number. */
  roleSessionName?: string | undefined;
  /** Must be that of the trust anchor. Default: just that. */
  region?: string | undefined;
  /** Base URL: https, or http to this machine. Default: the service's endpoint for partition and region. */
  endpoint?: string | undefined;
  /** Ask the FIPS 140 endpoint; not every region has one, and not with `endpoint`. Default: false. */
  useFipsEndpoint?: boolean | undefined;
  /** Ask the endpoint that has IPv6 addresses too; not with `endpoint`. Default: false. */
  useDualstackEndpoint?: boolean | undefined;
  /** Path of PEM certificates that are trusted besides the system's. Default: none. */
  caBundle?: string | undefined;
  /** Requests sent at most while the service is down or throttles. Default: 3. */
  attempts?: number | undefined;
  /** Ends whatever is under way. */
  signal?: AbortSignal | undefined;
  /** Sends a request. Default: `node:https`. */
  send?: Send | undefined;
  /** Default: the system's clock. */
  now?: (() => Date) | undefined;
  /** Waits between attempts, milliseconds. Default: a timer. */
  wait?: ((milliseconds: number, signal: AbortSignal | undefined) => Promise<void>) | undefined;
}

/** Milliseconds for which a signed request is sent again as it is: well inside the service's clock window. */
const SIGNED_FRESH = 4 * 60_000;

/** Where and for whom, found right without touching a key. */
export interface CheckedSession {
  readonly url: URL;
  readonly region: string;
  readonly account: string;
}

/**
 * Everything that can be wrong with the options, before any key is touched.
 *
 * @throws {HoldfastError} `ERR_ARN_INVALID`, `ERR_ARN_MISMATCH`, `ERR_OPTION_INVALID`, `ERR_ENDPOINT_INVALID`
 */
export function checkSession(options: SessionOptions): CheckedSession {
  const { durationSeconds, roleSessionName, attempts } = options;
  const anchor = checkArns(options);
  const refuse = (message: string, hint: string): never => {
    throw new HoldfastError('ERR_OPTION_INVALID', message, { hint });
  };
  if (options.region !== undefined && options.region !== anchor.region) {
    throw new HoldfastError(
      'ERR_ARN_MISMATCH',
      `the region is ${options.region}, the trust anchor is in ${anchor.region}`,
      {
        hint: 'leave the region out, or name a trust anchor and a profile of that region',
      },
    );
  }
  if (durationSeconds !== undefined && !isInteger(durationSeconds, 900, 43_200)) {
    refuse(`the session duration is ${durationSeconds}`, 'give whole seconds from 900 to 43200');
  }
  if (roleSessionName !== undefined && !/^[\w+=,.@-]{2,64}$/.test(roleSessionName)) {
    refuse(
      'the role session name is not one that STS takes',
      'use 2 to 64 of the characters A-Z a-z 0-9 _ + = , . @ -',
    );
  }
  if (attempts !== undefined && !isInteger(attempts, 1, 20)) refuse(`attempts is ${attempts}`, 'give 1 to 20');
  return {
    url: endpointUrl({ ...options, partition: anchor.partition, region: anchor.region }),
    region: anchor.region,
    account: anchor.account,
  };
}

const isInteger = (value: number, least: number, most: number): boolean =>
  Number.isInteger(value) && value >= least && value <= most;

/**
 * Trade one signature for temporary credentials: Roles Anywhere `CreateSession`.
 *
 * A request that the service could not take is sent again as it is while its signature is fresh, so that a retry costs
 * neither a PIN nor a touch. It is signed again only after four minutes, or once when the service's clock says another
 * time than ours.
 *
 * @throws {ServiceError} `ERR_SERVICE_*`, `ERR_ROLE_MISMATCH`
 * @throws {HoldfastError} what {@link checkSession} and the signer throw; `ERR_INTERRUPTED`
 */
export async function createSession(identity: SigningIdentity, options: SessionOptions): Promise<Credentials> {
  const { send = sendHttp, now = () => new Date(), wait = sleep, attempts = 3, signal } = options;
  const session = checkSession(options);
  const unsigned: HttpRequest = {
    method: 'POST',
    url: session.url,
    headers: { 'content-type': 'application/json' },
    body: requestBody(options),
  };
  let signed: { request: HttpRequest; at: number } | undefined;
  /** Milliseconds to add to our clock, once the service has shown that it is wrong. */
  let skew = 0;

  for (let attempt = 1; ; attempt += 1) {
    if (signal?.aborted) throw interrupted(signal);
    if (!signed || now().getTime() - signed.at >= SIGNED_FRESH) {
      const at = now().getTime();
      const scope = { region: session.region, service: 'rolesanywhere', date: new Date(at + skew) };
      signed = { request: await unlessAborted(signRequest(unsigned, identity, scope), signal), at };
    }
    const outcome = await send(signed.request, { signal, caBundle: options.caBundle }).catch((thrown: unknown) => {
      if (signal?.aborted) throw interrupted(signal);
      if (isTransient(thrown)) return thrown;
      throw thrown;
    });
    const answer = outcome instanceof ServiceError ? undefined : outcome;
    if (answer && answer.status >= 200 && answer.status < 300)
      return readSession(answer, session, options.roleArn, now());

    const failure = answer ? refusal(answer, session.url.host, now()) : (outcome as ServiceError);
    const found = answer && skew === 0 ? clockSkew(answer, now()) : undefined;
    const clockWrong = found !== undefined && Math.abs(found) >= SIGNED_FRESH;
    if (clockWrong) {
      skew = found;
      signed = undefined;
    }
    if (isTransient(failure)) {
      if (attempt >= attempts) throw failure;
      await wait(backOff(attempt), signal);
    } else if (!answer || !clockWrong || !isSignatureRefused(answer)) {
      throw failure;
    }
  }
}

function requestBody(options: SessionOptions): string {
  const { durationSeconds = 3600, profileArn, roleArn, roleSessionName, trustAnchorArn } = options;
  return JSON.stringify({ durationSeconds, profileArn, roleArn, roleSessionName, trustAnchorArn });
}

const TRANSIENT: ReadonlySet<string> = new Set([
  'ERR_SERVICE_FAILED',
  'ERR_SERVICE_THROTTLED',
  'ERR_SERVICE_TIMEOUT',
  'ERR_SERVICE_UNREACHABLE',
]);

const isTransient = (thrown: unknown): thrown is ServiceError =>
  thrown instanceof ServiceError && TRANSIENT.has(thrown.code);

/** Milliseconds: 200, 400, 800, ... up to 5 s, of which a random half is waited at least. */
const backOff = (attempt: number): number => Math.min(5000, 100 * 2 ** attempt) * (0.5 + Math.random() / 2);

/** Ends early, but never fails: who is aborted finds out next. */
const sleep = async (milliseconds: number, signal: AbortSignal | undefined): Promise<void> => {
  await delay(milliseconds, undefined, { signal }).catch(() => undefined);
};

/** A signer of the caller's knows nothing of the signal: stop waiting for it. */
function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work;
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(interrupted(signal));
    signal.addEventListener('abort', abort, { once: true });
    void work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}

function readSession(answer: HttpAnswer, session: CheckedSession, roleArn: string, now: Date): Credentials {
  const details = { status: answer.status, requestId: requestIdOf(answer) };
  const unusable = (what: string, hint = NOT_THE_SERVICE): never => {
    const message = `${session.url.host} answered ${answer.status} ${what}`;
    throw new ServiceError('ERR_SERVICE_ANSWER_INVALID', message, { ...details, hint });
  };
  const [granted] = credentialSet(answer.body) ?? unusable(describe(answer));
  if (!granted?.credentials) return unusable('with an empty credential set');
  if (granted.roleArn !== undefined && granted.roleArn !== roleArn) {
    throw new ServiceError(
      'ERR_ROLE_MISMATCH',
      `${session.url.host} returned credentials of another role than was asked`,
      {
        ...details,
        hint: 'do not use this endpoint: it is not the Roles Anywhere you asked',
      },
    );
  }
  const { accessKeyId, secretAccessKey, sessionToken, expiration } = granted.credentials;
  const expires = new Date(isText(expiration) && RFC_3339.test(expiration) ? expiration : Number.NaN);
  if (!isText(accessKeyId) || !isText(secretAccessKey) || !isText(sessionToken) || Number.isNaN(expires.getTime())) {
    return unusable('with incomplete credentials');
  }
  // No SDK would take them: each of its calls would ask for new ones, and each time the key would sign.
  if (expires <= now) {
    return unusable(`with credentials that expired at ${expires.toISOString()}`, clockHint(answer, now));
  }
  const accountId = /^arn:[^:]*:sts::(\d{12}):/.exec(String(granted.assumedRoleUser?.arn))?.[1] ?? session.account;
  return { accessKeyId, secretAccessKey, sessionToken, expiration: expires, accountId };
}

interface Granted {
  readonly credentials?: Record<'accessKeyId' | 'secretAccessKey' | 'sessionToken' | 'expiration', unknown>;
  readonly roleArn?: unknown;
  readonly assumedRoleUser?: { readonly arn?: unknown };
}

/** The answer's credential set; empty when it has none, undefined when the answer is no JSON. */
function credentialSet(body: string): readonly (Granted | null)[] | undefined {
  try {
    const set: unknown = (JSON.parse(body) as { credentialSet?: unknown } | null)?.credentialSet;
    return Array.isArray(set) ? set : [];
  } catch {
    return undefined;
  }
}

const RFC_3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/;

const isText = (value: unknown): value is string => typeof value === 'string' && value !== '';
