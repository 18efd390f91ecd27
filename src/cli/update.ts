import { join } from 'node:path';
import { checkSession } from '../check-session.ts';
import { HoldfastError, messageOf } from '../errors.ts';
import { formatDate } from '../format-date.ts';
import { withIdentity, withUris } from '../identity.ts';
import { checkOptions } from '../option-types.ts';
import type { RolesAnywhereInit } from '../provider.ts';
import { printable } from '../read-file.ts';
import { checkProfileName, type ProfileText, replaceFile, setProfile, targetOf } from '../serve/index.ts';
import { requestSession, rootsOf } from '../session.ts';
import type { Credentials } from '../session-answer.ts';
import type { Context } from './context.ts';
import { homeOf } from './find-config.ts';
import { backOff, refreshTime, waitUntil } from './refresh-times.ts';
import { checkRequired, explain, initFrom, plan, selected } from './session-flags.ts';
import { askOnce } from './typed-secret.ts';

/** Milliseconds for open, and again for the signature, where nobody watches: a hung token must let go. */
const DEADLINE = 120_000;

/**
 * Keep a profile of the shared credentials file filled: a new session before the old one ends, until a signal ends it.
 * What is wrong from the start ends it too, unless the service just cannot be reached; later failures are told, and tried
 * again.
 */
export async function update(context: Context): Promise<void> {
  const { flags, output, signal } = context;
  checkRequired(context);
  const once = flags.on('once');
  const profile = flags.text('profile') as string;
  checkProfileName(profile);
  const path = credentialsPath(context.env);
  const init = initOf(context, once, profile);
  targetOf(path); // before a key is touched
  if (flags.on('debug')) for (const line of [...plan(init), `file: ${path}`]) output.tell('debug', line);
  const write = writerOf(path, profile, context);

  let bought: Bought | undefined;
  let written: Bought | undefined;
  for (let failures = 0; ; ) {
    let next: number;
    try {
      // What could not be written needs no new signature while it is good.
      if (bought === undefined || Date.now() >= bought.refreshAt) bought = await buy(init, context, written?.skew);
      await write(bought.credentials);
      if (once) return;
      written = bought;
      bought = undefined;
      failures = 0;
      next = written.refreshAt;
      output.tell('note', `Credentials will be refreshed at ${formatDate(new Date(next))}`);
    } catch (thrown) {
      if (signal.aborted) throw thrown;
      explain(thrown, context);
      if (once || (written === undefined && !isTransient(thrown))) throw thrown;
      next = Date.now() + backOff(failures);
      failures += 1;
      output.tell('warning', ...wordsOf(thrown));
      const end =
        written === undefined ? '' : `; the credentials in the file end at ${formatDate(new Date(written.expires))}`;
      output.tell('note', `the next try is at ${formatDate(new Date(next))}${end}`);
    }
    await waitUntil(next, signal);
  }
}

/** The file of the SDKs. The AWS CLI and boto3 know what `~` means in the variable, so those who set it may rely on it. */
export function credentialsPath(env: NodeJS.ProcessEnv): string {
  const named = env.AWS_SHARED_CREDENTIALS_FILE || '~/.aws/credentials';
  if (named !== '~' && !named.startsWith('~/')) return named;
  const home = homeOf(env);
  if (home) return join(home, named.slice(1));
  throw new HoldfastError('ERR_FILE_NOT_FOUND', 'this user has no home directory to keep a credentials file in', {
    hint: 'name the file in AWS_SHARED_CREDENTIALS_FILE',
  });
}

/** For all refreshes: what came out of a pipe, and what a person typed, stays. */
function initOf(context: Context, once: boolean, profile: string): RolesAnywhereInit {
  const init = initFrom(context);
  const kept = withUris(checkOptions({ ...init, secret: askOnce(init.secret) }));
  checkSession(kept);
  return {
    ...kept,
    purpose: `fill the profile ${profile}`,
    ...(!once && { isolation: 'child', deadline: kept.deadline ?? DEADLINE }),
  };
}

interface Bought {
  readonly credentials: Credentials;
  /** Milliseconds by which the service's clock is ahead of ours. */
  readonly skew: number;
  /** By our clock, milliseconds since 1970. */
  readonly expires: number;
  readonly refreshAt: number;
}

async function buy(init: RolesAnywhereInit, context: Context, known: number | undefined): Promise<Bought> {
  const options = await selected(init, context);
  const ca = await rootsOf(options); // before the key costs a login
  const { credentials, skew } = await withIdentity(options, (identity) => {
    if (identity.attended && !context.flags.on('once')) throw unattended(identity.description);
    return requestSession(identity, options, { ca, skew: known ?? 0 });
  });
  const expires = credentials.expiration.getTime() - skew;
  return { credentials, skew, expires, refreshAt: refreshTime(Date.now(), expires) };
}

const unattended = (description: string): HoldfastError =>
  new HoldfastError('ERR_FLAG_MISSING', `${description} needs a person for each signature, and update signs unasked`, {
    hint: 'add --once and run it where somebody is, or use a key that signs by itself',
  });

/** Each doubt about the file is told once. */
function writerOf(path: string, profile: string, { output, signal }: Context) {
  const told = new Set<string>();
  const warn = (message: string, hint: string): void => {
    if (!told.has(message)) output.tell('warning', message, hint);
    told.add(message);
  };
  return async (credentials: Credentials): Promise<void> => {
    let doubts: ProfileText['doubts'] = [];
    const change = (old: Buffer): Buffer => {
      const text = setProfile(old, profile, credentials);
      doubts = text.doubts;
      return text.data;
    };
    const mode = await replaceFile(path, change, { signal });
    for (const [message, hint] of doubts) warn(message, hint);
    // The path may be a link that leads elsewhere for another process, as /dev/stdout does.
    const target = printable(targetOf(path));
    if (mode & 0o004) warn(`every user can read ${target}`, `chmod 600 ${target}`);
  };
}

const TRANSIENT: ReadonlySet<string> = new Set([
  'ERR_SERVICE_FAILED',
  'ERR_SERVICE_THROTTLED',
  'ERR_SERVICE_TIMEOUT',
  'ERR_SERVICE_UNREACHABLE',
]);

const isTransient = (thrown: unknown): boolean => thrown instanceof HoldfastError && TRANSIENT.has(thrown.code);

const wordsOf = (thrown: unknown): [message: string, hint: string | undefined, code: string] =>
  thrown instanceof HoldfastError
    ? [thrown.message, thrown.hint, thrown.code]
    : [messageOf(thrown), undefined, 'ERR_INTERNAL'];
