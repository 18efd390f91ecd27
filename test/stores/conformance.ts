import type { KeyObject } from 'node:crypto';
import { randomBytes, verify } from 'node:crypto';
import { inspect } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { HoldfastError } from '../../src/errors.ts';
import type { HashName } from '../../src/signer.ts';
import type { KeySpec, KeyStore, OpenKey, OpenOptions } from '../../src/stores/store.ts';
import { parseKeyUri } from '../../src/uri.ts';

/** What a store's test file says about its store. */
export interface StoreHarness {
  /** Runs before everything else: make directories, tokens, keys. */
  readonly before?: () => Promise<void>;
  readonly after?: () => Promise<void>;
  /** The store's front door. */
  readonly store: () => Promise<KeyStore>;
  /** The key types this store can hold. */
  readonly keyTypes: readonly KeySpec[];
  /** A key of that type: made at the first call for a type, the same one afterwards. */
  readonly key: (type: KeySpec) => Promise<TestKey>;
  /** A key that only opens with its secret. Left out by a store whose keys have none. */
  readonly protectedKey?: () => Promise<TestKey & { readonly secret: string }>;
  /** A URI of a key that is not there, in a place that is. */
  readonly missingKey: () => Promise<Pick<TestKey, 'uri' | 'secret'>>;
  /** A URI that fits several keys. Left out by a store where that cannot happen. */
  readonly ambiguousKey?: () => Promise<Pick<TestKey, 'uri' | 'secret'>>;
  /** Signatures asked for at once. Default: 50. */
  readonly parallel?: number;
}

export interface TestKey {
  /** Without the secret. */
  readonly uri: string;
  /** The public half, known from elsewhere than the store where that can be. */
  readonly publicKey: KeyObject;
  readonly secret?: string | undefined;
}

const HASHES: readonly HashName[] = ['SHA-256', 'SHA-384', 'SHA-512'];

/** What every key store must do. A store is what passes this. */
export function conformance(name: string, harness: StoreHarness): void {
  describe(`${name}: what every store does`, () => {
    let store: KeyStore;
    const count = harness.parallel ?? 50;

    const openAt = (uri: string, options: OpenOptions = {}): Promise<OpenKey> => store.open(parseKeyUri(uri), options);
    const openKey = (key: Pick<TestKey, 'uri' | 'secret'>, options: OpenOptions = {}): Promise<OpenKey> =>
      openAt(key.uri, key.secret === undefined ? options : { secret: key.secret, ...options });
    const anyKey = (): Promise<TestKey> => harness.key(harness.keyTypes.at(-1) as KeySpec);
    const withKey = async (key: TestKey, use: (open: OpenKey) => Promise<void>): Promise<void> => {
      const open = await openKey(key);
      try {
        await use(open);
      } finally {
        await open.close();
      }
    };

    beforeAll(async () => {
      await harness.before?.();
      store = await harness.store();
    }, 60_000);
    afterAll(async () => {
      await harness.after?.();
    });

    describe.each([...harness.keyTypes])('%s', (type) => {
      test.each(HASHES)(
        'signs with %s',
        async (hash) => {
          const key = await harness.key(type);
          await withKey(key, async (open) => {
            const message = randomBytes(1000);
            expect(verifies(key, message, await open.sign(message, hash), hash)).toBe(true);
            expect(verifies(key, randomBytes(1000), await open.sign(message, hash), hash)).toBe(false);
          });
        },
        60_000,
      );

      test('signs with SHA-256 when no hash is named, the empty message too', async () => {
        const key = await harness.key(type);
        await withKey(key, async (open) => {
          const message = new Uint8Array(0);
          expect(verifies(key, message, await open.sign(message), 'SHA-256')).toBe(true);
        });
      });

      test('shows its public half, or says that it has none', async () => {
        const key = await harness.key(type);
        await withKey(key, async (open) => {
          if (open.publicKey === undefined) return;
          const spki = key.publicKey.export({ type: 'spki', format: 'der' });
          expect(Buffer.from(open.publicKey).toString('hex')).toBe(spki.toString('hex'));
        });
      });

      test(`${count} signatures in parallel all verify`, async () => {
        const key = await harness.key(type);
        await withKey(key, async (open) => {
          const messages = Array.from({ length: count }, () => randomBytes(100));
          const signatures = await Promise.all(messages.map((message) => open.sign(message)));
          const good = messages.filter((message, i) => verifies(key, message, signatures[i] as Uint8Array, 'SHA-256'));
          expect(good).toHaveLength(count);
        });
      }, 60_000);
    });

    test('the message may change once sign was called', async () => {
      const key = await anyKey();
      await withKey(key, async (open) => {
        const messages = Array.from({ length: 10 }, () => randomBytes(100));
        const copies = messages.map((message) => Buffer.from(message));
        const signing = messages.map((message) => open.sign(message));
        for (const message of messages) message.fill(0);
        const signatures = await Promise.all(signing);
        for (const [i, copy] of copies.entries()) {
          expect(verifies(key, copy, signatures[i] as Uint8Array, 'SHA-256')).toBe(true);
        }
      });
    });

    test('the same key can be open several times', async () => {
      const key = await anyKey();
      const opened = [await openKey(key), await openKey(key), await openKey(key)];
      const message = randomBytes(32);
      for (const open of opened) {
        expect(verifies(key, message, await open.sign(message), 'SHA-256')).toBe(true);
        await open.close();
      }
    });

    test('describes the key in one line', async () => {
      const key = await anyKey();
      await withKey(key, async (open) => {
        expect(open.description).toMatch(/^[^\n]+$/);
        if (key.secret !== undefined) expect(open.description).not.toContain(key.secret);
      });
    });

    test('close waits for signatures in flight, and may be called twice', async () => {
      const key = await anyKey();
      const open = await openKey(key);
      const order: string[] = [];
      const message = randomBytes(32);
      const signing = Array.from({ length: 8 }, async () => {
        const signature = await open.sign(message);
        order.push('signed');
        return signature;
      });
      const closing = open.close().then(() => order.push('closed'));
      const closingAgain = open.close().then(() => order.push('closed'));
      const signatures = await Promise.all(signing);
      await Promise.all([closing, closingAgain]);
      await open.close();
      expect(order).toEqual([...Array.from({ length: 8 }, () => 'signed'), 'closed', 'closed']);
      for (const signature of signatures) expect(verifies(key, message, signature, 'SHA-256')).toBe(true);
    });

    test('what is no message: ERR_OPTION_INVALID', async () => {
      const open = await openKey(await anyKey());
      const errors = await Promise.all([undefined, 'text'].map((message) => failure(open.sign(message as never))));
      expect(errors.map(({ code }) => code)).toEqual(['ERR_OPTION_INVALID', 'ERR_OPTION_INVALID']);
      await open.close();
    });

    test('a closed key signs nothing: ERR_KEY_CLOSED', async () => {
      const open = await openKey(await anyKey());
      const closing = open.close();
      expect((await failure(open.sign(randomBytes(32)))).code).toBe('ERR_KEY_CLOSED');
      await closing;
      expect((await failure(open.sign(randomBytes(32)))).code).toBe('ERR_KEY_CLOSED');
    });

    test('a key that is not there: ERR_KEY_NOT_FOUND or ERR_FILE_NOT_FOUND', async () => {
      const error = await failure(openKey(await harness.missingKey()));
      expect(['ERR_KEY_NOT_FOUND', 'ERR_FILE_NOT_FOUND']).toContain(error.code);
    });

    test('an attribute it does not know: ERR_URI_INVALID, naming it and not its value', async () => {
      const key = await anyKey();
      const uri = `${key.uri}${key.uri.includes('?') ? '&' : '?'}pin-sorce=fishy`;
      const error = await failure(openKey({ ...key, uri }));
      expect(error.code).toBe('ERR_URI_INVALID');
      expect(error.message).toContain('pin-sorce');
      expect(tellsOf(error, 'fishy')).toBe(false);
    });

    test('an aborted signal: ERR_INTERRUPTED, from open and from sign', async () => {
      const key = await anyKey();
      const aborted = await failure(openKey(key, { signal: AbortSignal.abort() }));
      expect(aborted.code).toBe('ERR_INTERRUPTED');

      const controller = new AbortController();
      const open = await openKey(key, { signal: controller.signal });
      await open.sign(randomBytes(32));
      controller.abort();
      expect((await failure(open.sign(randomBytes(32)))).code).toBe('ERR_INTERRUPTED');
      await open.close();
    });

    const { protectedKey, ambiguousKey } = harness;
    if (protectedKey) {
      test('takes the secret as a string, as bytes, or from a function that is asked once', async () => {
        const key = await protectedKey();
        const asked: string[] = [];
        const sources: NonNullable<OpenOptions['secret']>[] = [
          key.secret,
          Buffer.from(key.secret),
          (request) => {
            asked.push(`${request.kind} ${request.of} ${request.purpose}`);
            return key.secret;
          },
        ];
        for (const secret of sources) {
          const open = await openAt(key.uri, { secret, purpose: 'prove it' });
          const message = randomBytes(32);
          expect(verifies(key, message, await open.sign(message), 'SHA-256')).toBe(true);
          await open.close();
        }
        expect(asked).toEqual([expect.stringMatching(/^(PIN|passphrase) .+ prove it$/)]);
      });

      test('leaves the bytes of the secret to the caller', async () => {
        const key = await protectedKey();
        const secret = Buffer.from(key.secret);
        await (await openAt(key.uri, { secret })).close();
        expect(secret.toString()).toBe(key.secret);
      });

      test('no secret, or nobody who has one: ERR_SECRET_REQUIRED', async () => {
        const key = await protectedKey();
        expect((await failure(openAt(key.uri))).code).toBe('ERR_SECRET_REQUIRED');
        expect((await failure(openAt(key.uri, { secret: () => undefined }))).code).toBe('ERR_SECRET_REQUIRED');
      });

      test('a wrong secret: ERR_SECRET_WRONG, and no word of it in the error', async () => {
        const key = await protectedKey();
        const wrong = `x${randomBytes(6).toString('hex')}`;
        const error = await failure(openAt(key.uri, { secret: wrong }));
        expect(error.code).toBe('ERR_SECRET_WRONG');
        expect(tellsOf(error, wrong)).toBe(false);
        expect(tellsOf(error, key.secret)).toBe(false);
        // The right one still opens it.
        await (await openKey(key)).close();
      });

      test('no error of an open key tells its secret', async () => {
        const key = await protectedKey();
        const open = await openKey(key);
        await open.close();
        const errors = [
          await failure(open.sign(randomBytes(32))),
          await failure(openKey(key, { signal: AbortSignal.abort() })),
          await failure(openKey({ ...(await harness.missingKey()), secret: key.secret })),
        ];
        for (const error of errors) expect(tellsOf(error, key.secret)).toBe(false);
        expect(inspect(open, { depth: null, showHidden: true })).not.toContain(key.secret);
      });
    }

    if (ambiguousKey) {
      test('a URI that fits several keys: ERR_KEY_AMBIGUOUS, listing URIs that each open one', async () => {
        const several = await ambiguousKey();
        const error = await failure(openKey(several));
        expect(error.code).toBe('ERR_KEY_AMBIGUOUS');
        const { scheme } = parseKeyUri(several.uri);
        const listed = `${error.message}\n${error.hint}`.match(new RegExp(`\\b${scheme}:\\S+`, 'g')) ?? [];
        const uris = listed.filter((uri) => uri !== several.uri);
        expect(uris.length).toBeGreaterThan(1);
        for (const uri of uris) await (await openKey({ ...several, uri })).close();
      });
    }
  });
}

function verifies(key: TestKey, message: Uint8Array, signature: Uint8Array, hash: HashName): boolean {
  return verify(hash.replace('-', '').toLowerCase(), message, key.publicKey, signature);
}

/** The error of something that must fail, which must be ours. */
export async function failure(promise: Promise<unknown>): Promise<HoldfastError> {
  const outcome: unknown = await promise.then(
    () => new Error('it did not fail'),
    (error: unknown) => error,
  );
  if (outcome instanceof HoldfastError) return outcome;
  throw outcome;
}

/** Whether a text can be read off an error in any way that a log would. */
export function tellsOf(error: unknown, text: string): boolean {
  const seen: string[] = [String(error), inspect(error, { depth: null, showHidden: true })];
  for (let at = error; at instanceof Object; at = (at as { cause?: unknown }).cause) {
    seen.push(JSON.stringify(at), String((at as Error).message), String((at as Error).stack));
    seen.push(String((at as { hint?: unknown }).hint));
  }
  return seen.some((one) => one.includes(text));
}
