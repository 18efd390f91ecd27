import { formatDate } from '../format-date.ts';
import { secretOf } from '../pin-source.ts';
import type { RolesAnywhereInit } from '../provider.ts';
import { asksPerson } from '../secret.ts';
import { cacheKeyOf, sharedSession } from '../serve/index.ts';
import type { Grant } from '../session.ts';
import type { Credentials } from '../session-answer.ts';
import type { KeyUri } from '../uri.ts';
import { ASKING, type Context } from './context.ts';
import { checkRequired, explain, initFrom, plan, selected } from './session-flags.ts';

/** One session, shared or bought: its credentials on stdout in the form that every AWS SDK reads, and nothing else there. */
export async function credentialProcess(context: Context): Promise<void> {
  const { flags, output } = context;
  checkRequired(context);
  const init = initFrom(context);
  if (flags.on('debug')) for (const line of plan(init)) output.tell('debug', line);
  let credentials: Credentials;
  try {
    credentials = await sessionFor(init, context);
  } catch (thrown) {
    explain(thrown, context);
    throw thrown;
  }
  if (flags.on('debug')) output.tell('debug', `a session until ${formatDate(credentials.expiration)}`);
  return output.result(credentialJson(credentials));
}

async function sessionFor(init: RolesAnywhereInit, context: Context): Promise<Credentials> {
  const { flags, output, signal } = context;
  const tell = output.tell.bind(output);
  // What a session out of the cache does without is loaded when one is bought.
  const buy = async (handOver: () => void): Promise<Grant> => {
    signal.addEventListener(ASKING, handOver);
    return (await import('../provider.ts')).getGrant(await selected(init, context));
  };
  const buyAlone = async (why: string): Promise<Credentials> => {
    tell('debug', `cache: off, ${why}`);
    return (await buy(() => {})).credentials;
  };
  if (flags.on('no-cache')) return buyAlone('--no-cache');
  if (flags.text('cache') === 'off') return buyAlone(flags.origins.get('cache') ?? '--cache');
  secretOf(init.key as KeyUri, init); // the store would look at what it says of its secret
  const isSelected = flags.text('cert-selector') !== undefined;
  const selector = isSelected ? await (await import('./cert-selector.ts')).selectorText(context) : undefined;
  const key = cacheKeyOf(init, selector);
  if (typeof key === 'string') return buyAlone(key);
  return sharedSession(key, { buy, asks: asksPerson(init.secret), signal, deadline: init.deadline, tell });
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
