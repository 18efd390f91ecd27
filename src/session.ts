import { clockSkew } from './answer.ts';
import { checkSession, type SessionOptions } from './check-session.ts';
import { ServiceError } from './errors.ts';
import { send as sendHttp } from './http.ts';
import { interrupted, sleep } from './limits.ts';
import { checkOptions } from './option-types.ts';
import { type Credentials, readSession } from './session-answer.ts';
import { type HttpRequest, type SigningIdentity, signRequest } from './sigv4.ts';

/** Milliseconds for which a signed request is sent again as it is: well inside the service's clock window. */
const SIGNED_FRESH = 4 * 60_000;

/**
 * Trade one signature for temporary credentials: Roles Anywhere `CreateSession`.
 *
 * A request that the service could not take is sent again as it is while its signature is fresh, so that a retry costs
 * neither a PIN nor a touch. It is signed again only after four minutes, or once when the service's clock says another
 * time than ours.
 *
 * @throws {ServiceError} `ERR_SERVICE_*`, `ERR_PROXY_REFUSED`, `ERR_ROLE_MISMATCH`
 * @throws {HoldfastError} what {@link checkSession} and the signer throw; `ERR_INTERRUPTED`
 */
export async function createSession(identity: SigningIdentity, given: SessionOptions): Promise<Credentials> {
  const options = checkOptions(given);
  checkSession(options);
  const ca = await rootsOf(options); // before a signature is spent
  return (await requestSession(identity, options, { ca })).credentials;
}

/** Credentials, and by how many milliseconds the service's clock is ahead of ours. */
export interface Grant {
  readonly credentials: Credentials;
  readonly skew: number;
}

/** What is known before. */
export interface Known {
  /** What {@link rootsOf} gave. */
  readonly ca: readonly string[] | undefined;
  /** Milliseconds by which the service's clock was ahead the last time. Default: 0. */
  readonly skew?: number;
}

/** {@link createSession} for those who come again, or knew the roots before they opened the key. */
export async function requestSession(identity: SigningIdentity, options: SessionOptions, known: Known): Promise<Grant> {
  const { send = sendHttp, now = () => new Date(), wait = sleep, attempts = 3, signal } = options;
  const session = checkSession(options);
  const unsigned: HttpRequest = {
    method: 'POST',
    url: session.url,
    headers: { 'content-type': 'application/json' },
    body: requestBody(options),
  };
  let signed: { request: HttpRequest; at: number } | undefined;
  /** Milliseconds to add to our clock, as far as the service has shown that it is wrong. */
  let skew = known.skew ?? 0;
  let corrected = false;

  for (let attempt = 1; ; attempt += 1) {
    if (signal?.aborted) throw interrupted(signal);
    if (!signed || now().getTime() - signed.at >= SIGNED_FRESH) {
      const at = now().getTime();
      const scope = { region: session.region, service: 'rolesanywhere', date: new Date(at + skew) };
      signed = { request: await unlessAborted(signRequest(unsigned, identity, scope), signal), at };
    }
    const how = { signal, ca: known.ca, proxy: session.proxy };
    const outcome = await send(signed.request, how).catch((thrown: unknown) => {
      if (signal?.aborted) throw interrupted(signal);
      if (isTransient(thrown)) return thrown;
      throw thrown;
    });
    const answer = outcome instanceof ServiceError ? undefined : outcome;
    const found = answer && clockSkew(answer, now());
    if (answer && answer.status >= 200 && answer.status < 300) {
      const theirNow = new Date(now().getTime() + (found ?? skew));
      return {
        credentials: readSession(answer, { ...session, roleArn: options.roleArn }, theirNow),
        skew: found ?? skew,
      };
    }

    const { isSignatureRefused, refusal } = await import('./service-error.ts'); // rare
    const failure = answer ? refusal(answer, session.url.host, now()) : (outcome as ServiceError);
    const clockWrong = !corrected && found !== undefined && Math.abs(found - skew) >= SIGNED_FRESH;
    if (clockWrong) {
      corrected = true;
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

/** What the CA bundle adds to the system's roots; undefined without one. */
export const rootsOf = async ({ caBundle, signal }: SessionOptions): Promise<readonly string[] | undefined> =>
  caBundle === undefined ? undefined : (await import('./roots.ts')).trustedRoots(caBundle, signal);

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

/** A signer of the caller's knows nothing of the signal: stop waiting for it. */
function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work;
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(interrupted(signal));
    signal.addEventListener('abort', abort, { once: true });
    void work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
