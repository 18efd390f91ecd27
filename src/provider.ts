import { HoldfastError } from './errors.ts';
import { type IdentityOptions, withIdentity } from './identity.ts';
import { type Credentials, checkSession, createSession, type SessionOptions } from './session.ts';

export interface RolesAnywhereInit extends IdentityOptions, SessionOptions {}

/** What an AWS SDK v3 client calls for credentials, with a cache of its own: share one between all clients. */
export interface RolesAnywhereProvider {
  (options?: { readonly forceRefresh?: boolean }): Promise<Credentials>;
  /** Stops the background refresh and forgets the credentials. Calling the provider afterwards is `ERR_KEY_CLOSED`. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Credentials once, without a cache: check, open, sign, ask, close.
 *
 * @throws {HoldfastError} see {@link withIdentity} and {@link createSession}
 */
export async function getCredentials(init: RolesAnywhereInit): Promise<Credentials> {
  checkSession(init);
  return withIdentity({ purpose: purposeOf(init), ...init }, (identity) => createSession(identity, init));
}

const purposeOf = ({ roleArn }: RolesAnywhereInit): string => `sign in as role ${roleArn.split('/').at(-1)}`;

/** Milliseconds before expiry at which a refresh begins, for lives of twice that or more. */
const REFRESH_BEFORE = 10 * 60_000;

/** Milliseconds between failed refreshes: doubled each time, up to the last. */
const RETRY = { first: 30_000, last: 300_000 } as const;

/**
 * A credential provider for AWS SDK v3 clients.
 *
 * Each refresh opens the key, signs once and closes it again, so unplugging a token, renewing a certificate or
 * restarting a daemon needs no handling. Concurrent calls share one refresh. From ten minutes before expiry (half of
 * the life for lives under twenty minutes) it refreshes in the background, but only while somebody has asked within the
 * last life, and never with an attended key: that one signs only while a caller waits. A refresh that fails leaves the
 * credentials in use until they expire.
 *
 * @throws {HoldfastError} at once for wrong options: `ERR_ARN_INVALID`, `ERR_ARN_MISMATCH`, `ERR_OPTION_INVALID`,
 * `ERR_ENDPOINT_INVALID`. The provider itself rejects with what {@link getCredentials} throws
 */
export function fromRolesAnywhere(init: RolesAnywhereInit): RolesAnywhereProvider {
  checkSession(init);
  const now = (): number => (init.now?.() ?? new Date()).getTime();
  const stop = new AbortController();
  const signal = init.signal ? AbortSignal.any([init.signal, stop.signal]) : stop.signal;
  let held: { credentials: Credentials; refreshAt: number; expires: number; life: number } | undefined;
  let pending: Promise<Credentials> | undefined;
  let timer: NodeJS.Timeout | undefined;
  let attended = false;
  let failures = 0;
  let retryAt = 0;
  let lastAsked = 0;

  const obtain = async (): Promise<Credentials> => {
    const options = { purpose: purposeOf(init), ...init, signal };
    const credentials = await withIdentity(options, (identity) => {
      attended = identity.attended;
      return createSession(identity, options);
    });
    const expires = credentials.expiration.getTime();
    const life = expires - now();
    held = { credentials, expires, life, refreshAt: expires - Math.min(REFRESH_BEFORE, life / 2) };
    return credentials;
  };

  /** One refresh at a time, whoever asks. */
  const refresh = (): Promise<Credentials> => {
    pending ??= obtain()
      .then(
        (credentials) => {
          failures = 0;
          retryAt = 0;
          return credentials;
        },
        (thrown: unknown) => {
          retryAt = now() + Math.min(RETRY.last, RETRY.first * 2 ** failures) * (0.75 + Math.random() / 4);
          failures += 1;
          throw thrown;
        },
      )
      .finally(() => {
        pending = undefined;
        schedule();
      });
    return pending;
  };

  const refreshUnseen = (): void => {
    refresh().catch(() => undefined); // whoever asks next sees the error, or still valid credentials
  };

  const schedule = (): void => {
    clearTimeout(timer);
    if (stop.signal.aborted || !held || attended || now() >= held.expires) return;
    const wanted = (): boolean => held !== undefined && now() - lastAsked <= held.life;
    const delay = Math.max(0, Math.max(held.refreshAt, retryAt) - now());
    timer = setTimeout(() => wanted() && refreshUnseen(), delay);
    timer.unref();
  };

  const provide = async (options?: { readonly forceRefresh?: boolean }): Promise<Credentials> => {
    if (stop.signal.aborted) {
      throw new HoldfastError('ERR_KEY_CLOSED', 'this credential provider is closed', { hint: 'make a new one' });
    }
    lastAsked = now();
    if (!held || now() >= held.expires) return refresh();
    const { credentials, expires } = held;
    const due = now() >= held.refreshAt && (pending !== undefined || now() >= retryAt);
    if (options?.forceRefresh || (due && attended)) {
      return refresh().catch((thrown: unknown) => {
        if (stop.signal.aborted || now() >= expires) throw thrown;
        return credentials;
      });
    }
    if (due) refreshUnseen();
    return credentials;
  };

  const close = async (): Promise<void> => {
    clearTimeout(timer);
    held = undefined;
    stop.abort(new HoldfastError('ERR_KEY_CLOSED', 'this credential provider was closed', { hint: 'make a new one' }));
    await pending?.catch(() => undefined);
    held = undefined;
  };
  return Object.assign(provide, { close, [Symbol.asyncDispose]: close });
}
