import { getEventListeners } from 'node:events';
import { setImmediate as turn } from 'node:timers/promises';
import { runInThisContext } from 'node:vm';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import * as pkcs11 from '../../src/stores/pkcs11/in-place.ts';
import type { OpenOptions } from '../../src/stores/store.ts';
import { type KeyUri, parseKeyUri } from '../../src/uri.ts';
import { describeSoftHsm, makeToken, setRealEnvironment, type TestToken } from '../helpers/softhsm.ts';

const MANY = Array.from({ length: 40 }, (_, at) => at);

describeSoftHsm('any number at once', () => {
  let token: TestToken;
  let uri: KeyUri;
  const warnings: Error[] = [];
  // Inside jest `process` is a copy, to which Node tells nothing.
  const real = runInThisContext('process') as NodeJS.Process;
  const note = (warning: Error): void => void warnings.push(warning);

  beforeAll(async () => {
    token = await makeToken();
    setRealEnvironment(token.env);
    uri = await pkcs11.create(parseKeyUri(token.uri({ object: 'web' })), { keyType: 'P-256', secret: token.pin });
    real.on('warning', note);
  });
  afterAll(() => {
    real.off('warning', note);
    return token.remove();
  });

  test.each<[how: string, limits: OpenOptions]>([
    ['without limits', {}],
    ["under the caller's signal", { signal: new AbortController().signal }],
    ['with a deadline', { deadline: 60_000 }],
    ['with both', { signal: new AbortController().signal, deadline: 60_000 }],
  ])(
    '40 keys opened, 40 signatures of each of two, closed, %s: no warning, and nobody listens afterwards',
    async (_, limits) => {
      const listening: number[] = [];
      const look = (): void => {
        if (limits.signal) listening.push(getEventListeners(limits.signal, 'abort').length);
      };
      const opening = MANY.map(() => pkcs11.open(uri, { secret: token.pin, ...limits }));
      look();
      const keys = await Promise.all(opening);
      const signing = keys.slice(0, 2).flatMap((key) => MANY.map((at) => key.sign(Buffer.of(at))));
      look();
      expect(await Promise.all(signing)).toHaveLength(80);
      await Promise.all(keys.map((key) => key.close()));
      await turn(); // a warning is an event of the next turn
      expect(warnings).toEqual([]);
      look();
      expect(listening).toEqual(limits.signal ? [1, 1, 0] : []);
    },
  );
});
