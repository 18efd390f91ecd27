import { jest } from '@jest/globals';
import type { HttpAnswer } from '../../src/http.ts';
import type { CallerSigner } from '../../src/identity.ts';
import { fromRolesAnywhere, type RolesAnywhereInit, type RolesAnywhereProvider } from '../../src/provider.ts';
import { countingSigner, makeIdentity, makeKeyPair } from './certificates.ts';
import { ARNS, answer, granted } from './create-session.ts';

export const START = Date.parse('2026-05-04T12:00:00Z');
export const SECOND = 1000;
export const MINUTE = 60 * SECOND;

/** Time, a key and a service, all in the hands of the test. */
export interface World {
  /** Milliseconds for which the service grants. */
  life: number;
  /** What the service does instead of granting. */
  failure: (() => Promise<HttpAnswer>) | undefined;
  readonly requests: number;
  readonly signer: CallerSigner & { calls: number; attended: boolean; failure: Error | undefined };
  /** Minutes of the test at which requests arrived. */
  readonly times: number[];
  provider(init?: Partial<RolesAnywhereInit>): RolesAnywhereProvider;
  /** Let this much time pass, with all that happens meanwhile. */
  pass(milliseconds: number): Promise<void>;
  /** The clock is set, or the machine was suspended: the time is another, but no timer has noticed. */
  setClock(milliseconds: number): void;
}

export const DOWN = async (): Promise<HttpAnswer> => answer(503, { message: 'down' });

/** Does not answer. */
export const SILENT = (): Promise<HttpAnswer> => new Promise(() => undefined);

const keyPair = makeKeyPair();
const keySigner = countingSigner(keyPair.privateKey);
const certificates = makeIdentity({
  keyPair,
  notBefore: new Date(START - 400 * 86_400_000),
  notAfter: new Date(START + 400 * 86_400_000),
});

/** To be called in `beforeEach`; `jest.useRealTimers()` ends it. */
export async function makeWorld(): Promise<World> {
  const { certificate } = await certificates;
  jest.useFakeTimers({ now: START, toFake: ['setTimeout', 'clearTimeout', 'Date'] } as never);
  jest.spyOn(Math, 'random').mockReturnValue(1); // the longest pauses
  const times: number[] = [];
  const world: World = {
    life: 60 * MINUTE,
    failure: undefined,
    times,
    get requests() {
      return times.length;
    },
    signer: {
      calls: 0,
      attended: false,
      failure: undefined,
      description: 'the key',
      sign: (message) => {
        world.signer.calls += 1;
        return world.signer.failure ? Promise.reject(world.signer.failure) : keySigner.sign(message);
      },
    },
    provider: (init = {}) =>
      fromRolesAnywhere({
        ...ARNS,
        signer: world.signer,
        certificate,
        attempts: 1,
        send: async (_request, { signal }) => {
          times.push((Date.now() - START) / MINUTE);
          const outcome = world.failure?.() ?? Promise.resolve(granted(new Date(Date.now() + world.life)));
          return Promise.race([outcome, rejectionBy(signal)]);
        },
        ...init,
      }),
    pass: async (milliseconds) => {
      await jest.advanceTimersByTimeAsync(milliseconds);
    },
    setClock: (milliseconds) => {
      jest.setSystemTime(Date.now() + milliseconds);
    },
  };
  return world;
}

const rejectionBy = (signal: AbortSignal | undefined): Promise<never> =>
  new Promise((_resolve, reject) => {
    signal?.addEventListener('abort', () => reject(signal.reason as Error));
  });
