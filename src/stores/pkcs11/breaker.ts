import { HoldfastError } from '../../errors.ts';
import type { KeyUri } from '../../uri.ts';
import { type Failing, registry } from './modules.ts';

/** A clock that nobody sets, and chance; passed in where a test needs them. */
export interface Surroundings {
  /** Milliseconds since whenever. */
  readonly clock: () => number;
  /** From 0 to 1. */
  readonly random: () => number;
}

const REAL: Surroundings = { clock: () => performance.now(), random: () => Math.random() };

/** Failures in a row until a token is left alone. */
const MOST = 3;

/**
 * Milliseconds for which it is: doubled with each failure more, of which a random quarter is left out at most. One call in two
 * seconds hammers nothing, and a token that is back is found in that time however long it was away.
 */
const COOLING = { first: 500, last: 2000 } as const;

/** Milliseconds for which one call keeps the others away: it may hang, or wait for a person. */
const PROBING: number = COOLING.last;

/** How much a use shows of a token, if it works: certificates and lists are read without a login. */
const SHOWS = { read: 0, open: 1, sign: 2 } as const;

/**
 * Use a token, unless it has failed time and again: then it is left alone for a while, and one at a time tries whether it
 * is back. What fails together counts once. A refused PIN, an interruption, a mistake of the caller do not count. Nor does a
 * deadline: it may have been too short, or passed while a secret was awaited, and who waited for it has hammered nothing.
 *
 * @throws {HoldfastError} `ERR_TOKEN_RESTING`, and what `work` throws
 */
export async function sparing<T>(
  uri: KeyUri,
  use: Failing['use'],
  work: () => Promise<T>,
  surroundings: Surroundings = REAL,
): Promise<T> {
  const { failing } = registry();
  const key = nameOf(uri);
  const found = failing.get(key);
  const begun = found?.until === undefined ? found : probe(found, uri, surroundings);
  if (begun && begun !== found) failing.set(key, begun);
  try {
    const result = await work();
    // What shows less than what failed does not show that it is well again.
    if (begun && SHOWS[use] >= SHOWS[begun.use] && isStill(failing.get(key), begun)) failing.delete(key);
    return result;
  } catch (error) {
    note(uri, use, error, begun, surroundings);
    throw error;
  } finally {
    const now = failing.get(key);
    if (now === begun && begun?.probing !== undefined) failing.set(key, { ...begun, probing: undefined });
  }
}

/**
 * Remember that a use failed, for those who knew of none before: they need not load this file.
 *
 * @param begun what was known when it began
 */
export function note(
  uri: KeyUri,
  use: Failing['use'],
  error: unknown,
  begun?: Failing,
  surroundings: Surroundings = REAL,
): void {
  const { failing } = registry();
  const key = nameOf(uri);
  if (!isStill(failing.get(key), begun) || !counts(error, use, begun)) return;
  failing.set(key, after(begun, error, use, surroundings));
}

/** Whether nothing has failed since; who probes makes no difference. */
const isStill = (now: Failing | undefined, begun: Failing | undefined): boolean =>
  now?.failures === begun?.failures && now?.error === begun?.error;

/** @throws {HoldfastError} `ERR_TOKEN_RESTING` */
function probe(found: Failing, uri: KeyUri, { clock }: Surroundings): Failing {
  const { until = 0, probing, failures, error } = found;
  const now = clock();
  const left = Math.ceil(until - now);
  if (left <= 0 && (probing === undefined || now - probing >= PROBING)) return { ...found, probing: now };
  const rest = left > 0 ? `for ${left} ms more` : 'while one call tries whether it is back';
  throw new HoldfastError(
    'ERR_TOKEN_RESTING',
    `${String(uri)} failed ${failures} times in a row and is left alone ${rest}: ${error.message}`,
    { hint: error.hint, cause: error },
  );
}

function after(
  begun: Failing | undefined,
  error: HoldfastError,
  use: Failing['use'],
  { clock, random }: Surroundings,
): Failing {
  const failures = (begun?.failures ?? 0) + 1;
  const cooling = Math.min(COOLING.last, COOLING.first * 2 ** (failures - MOST)) * (1 - random() / 4);
  return {
    failures,
    use: begun && SHOWS[begun.use] > SHOWS[use] ? begun.use : use,
    until: failures < MOST ? undefined : clock() + cooling,
    probing: undefined,
    error,
  };
}

const DOWN: ReadonlySet<string> = new Set([
  'ERR_TOKEN_FAILED',
  'ERR_MODULE_FAILED',
  'ERR_SIGNING_FAILED',
  'ERR_STORE_CRASHED',
]);

function counts(error: unknown, use: Failing['use'], begun: Failing | undefined): error is HoldfastError {
  if (!(error instanceof HoldfastError)) return false;
  // A name that no token has is quickly looked for, and may be a mistake.
  if (error.code === 'ERR_TOKEN_NOT_FOUND') return use === 'sign' || begun?.until !== undefined;
  return DOWN.has(error.code);
}

/** What reaches a token, as the URI has it: another way to the same token is another one. */
function nameOf(uri: KeyUri): string {
  const path = [...uri.path].filter(([name]) => name !== 'id' && name !== 'object' && name !== 'type');
  const query = [...uri.query].filter(([name]) => !name.startsWith('pin-'));
  return [path, query]
    .map((all) =>
      all
        .map(([name, value]) => `${name}=${String(value)}`)
        .toSorted()
        .join(),
    )
    .join('?');
}
