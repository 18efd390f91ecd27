import { checkSession, type SessionOptions } from './check-session.ts';
import { HoldfastError } from './errors.ts';
import { protocolOf } from './http.ts';
import { type IdentityOptions, withIdentity, withUris } from './identity.ts';
import { interrupted } from './limits.ts';
import { checkOptions, timeOf } from './option-types.ts';
import { type Grant, requestSession, rootsOf } from './session.ts';
import type { Credentials } from './session-answer.ts';

export interface RolesAnywhereInit extends IdentityOptions, SessionOptions {}

/** What an AWS SDK v3 client calls for credentials, with a cache of its own: share one between all clients. */
export interface RolesAnywhereProvider {
  (options?: { readonly forceRefresh?: boolean }): Promise<Credentials>;
  /**
   * Ends what is under way, stops the background refresh and forgets the credentials; settled once the key is closed.
   * Whoever waits, and whoever calls the provider afterwards, gets `ERR_KEY_CLOSED`.
   */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Credentials once, without a cache: check, open, sign, ask, close.
 *
 * @throws {HoldfastError} see {@link withIdentity} and `createSession`
 */
export async function getCredentials(options: RolesAnywhereInit): Promise<Credentials> {
  return (await getGrant(options)).credentials;
}

/** {@link getCredentials} for those who keep them: with what is known of the service's clock. */
export async function getGrant(options: RolesAnywhereInit): Promise<Grant> {
  const init = checkOptions(options);
  const { url } = checkSession(init);
  // Node 24 reads the roots of TLS in another thread from then on, while the key is opened.
  if (init.send === undefined) void protocolOf(url);
  const ca = await rootsOf(init); // before the key costs a login
  return withIdentity(withPurpose(init), (identity) => requestSession(identity, init, { ca }));
}

const withPurpose = (init: RolesAnywhereInit): RolesAnywhereInit => ({
  ...init,
  purpose: init.purpose ?? `sign in as role ${init.roleArn.split('/').at(-1)}`,
});

/** Milliseconds before expiry at which a refresh begins, for lives of twice that or more. */
const REFRESH_BEFORE = 10 * 60_000;

/** Milliseconds between failed refreshes: doubled each time, up to the last. */
const RETRY = { first: 30_000, last: 300_000 } as const;

/** Milliseconds for which a failure answers everybody who asks: a key is not used again for each of many callers. */
const FAILURE_FRESH = 2000;

/** Milliseconds for open, and again for the signature, unless the caller says otherwise: a hung token must let go. */
const DEADLINE = 120_000;

/** Milliseconds: a timer takes no more, and fires at once if it gets more. */
const LONGEST_TIMER = 2 ** 31 - 1;

/**
 * A credential provider for AWS SDK v3 clients.
 *
 * Each refresh opens the key, signs once and closes it again, so unplugging a token, renewing a certificate or
 * restarting a daemon needs no handling. Concurrent calls share one refresh. From ten minutes before expiry (half of
 * the life for lives under twenty minutes) it refreshes in the background, but only while somebody has asked within the
 * last life, and never with an attended key: that one signs only while a caller waits. A refresh that fails leaves the
 * credentials in use until they expire, by the service's clock as its answers showed it. `deadline` is two minutes here
 * unless given.
 *
 * @throws {HoldfastError} at once for wrong options: `ERR_ARN_INVALID`, `ERR_ARN_MISMATCH`, `ERR_OPTION_INVALID`,
 * `ERR_ENDPOINT_INVALID`, `ERR_URI_INVALID`. The provider itself rejects with what {@link getCredentials} throws
 */
export function fromRolesAnywhere(options: RolesAnywhereInit): RolesAnywhereProvider {
  const init = withUris(checkOptions(options)); // once: what came out of a pipe stays with its URI
  checkSession(init);
  const now = (): number => timeOf(init).getTime();
  const stop = new AbortController();
  const signal = init.signal ? AbortSignal.any([init.signal, stop.signal]) : stop.signal;
  let held: { credentials: Credentials; refreshAt: number; expires: number; life: number } | undefined;
  let pending: Promise<Credentials> | undefined;
  let timer: NodeJS.Timeout | undefined;
  let attended = false;
  /** Callers who wait for the refresh under way. */
  let waiting = 0;
  /** Milliseconds by which the service's clock is ahead of ours. */
  let skew = 0;
  let failures = 0;
  let failed: { thrown: unknown; at: number } | undefined;
  let retryAt = 0;
  let lastAsked = 0;

  const obtain = async (): Promise<Credentials> => {
    if (signal.aborted) throw interrupted(signal);
    const options = { ...withPurpose(init), deadline: init.deadline ?? DEADLINE, signal };
    const ca = await rootsOf(options); // before the key costs a login
    const grant = await withIdentity(options, (identity) => {
      attended = identity.attended;
      if (attended && waiting === 0) throw unasked(identity.description); // another key than the last time
      return requestSession(identity, options, { ca, skew });
    });
    if (signal.aborted) throw interrupted(signal);
    const { credentials } = grant;
    skew = grant.skew;
    const expires = credentials.expiration.getTime() - skew;
    const life = expires - now();
    held = { credentials, expires, life, refreshAt: expires - Math.min(REFRESH_BEFORE, life / 2) };
    return credentials;
  };

  const noteFailure = (thrown: unknown): never => {
    const pause = Math.min(RETRY.last, RETRY.first * 2 ** failures) * (0.75 + Math.random() / 4);
    failures += 1;
    failed = { thrown, at: now() };
    retryAt = now() + pause;
    throw thrown;
  };

  /** One refresh at a time, whoever asks. */
  const refresh = (): Promise<Credentials> => {
    pending ??= obtain()
      .then((credentials) => {
        failures = 0;
        failed = undefined;
        retryAt = 0;
        return credentials;
      }, noteFailure)
      .finally(() => {
        pending = undefined;
        schedule();
      });
    return pending;
  };

  const refreshUnseen = (): void => {
    refresh().catch(() => undefined); // whoever asks next sees the error, or still valid credentials
  };

  const refreshSeen = async (): Promise<Credentials> => {
    waiting += 1;
    try {
      return await refresh();
    } finally {
      waiting -= 1;
    }
  };

  /** The clock decides, not the timer: it may have been set, or the machine suspended. */
  const isDue = (): boolean => held !== undefined && now() >= Math.max(held.refreshAt, retryAt);

  const schedule = (): void => {
    clearTimeout(timer);
    if (signal.aborted || !held || attended || now() >= held.expires) return;
    const delay = Math.max(held.refreshAt, retryAt) - now();
    timer = setTimeout(wake, Math.min(Math.max(0, delay), LONGEST_TIMER));
    timer.unref();
  };

  const wake = (): void => {
    if (!held || now() - lastAsked > held.life) return;
    if (isDue()) refreshUnseen();
    else schedule();
  };

  const provide = async (options?: { readonly forceRefresh?: boolean }): Promise<Credentials> => {
    if (stop.signal.aborted) throw interrupted(stop.signal);
    lastAsked = now();
    if (!held || now() >= held.expires) {
      if (failed && Math.abs(now() - failed.at) < FAILURE_FRESH) throw failed.thrown;
      return refreshSeen();
    }
    const { credentials, expires } = held;
    if (options?.forceRefresh || (attended && isDue())) {
      return refreshSeen().catch((thrown: unknown) => {
        if (stop.signal.aborted || now() >= expires) throw thrown;
        return credentials;
      });
    }
    if (isDue()) refreshUnseen();
    return credentials;
  };

  const close = async (): Promise<void> => {
    clearTimeout(timer);
    held = undefined;
    stop.abort(new HoldfastError('ERR_KEY_CLOSED', 'this credential provider is closed', { hint: 'make a new one' }));
    await pending?.catch(() => undefined);
  };
  return Object.assign(provide, { close, [Symbol.asyncDispose]: close });
}

const unasked = (description: string): HoldfastError =>
  new HoldfastError('ERR_INTERRUPTED', `${description} needs a person, and nobody has asked`, {
    hint: 'call the provider: it signs while you wait',
  });
