import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe } from '@jest/globals';
import { setRealEnvironment, softhsmModule, type TestToken } from './softhsm.ts';

const SPY_PATHS = [
  '/usr/lib/x86_64-linux-gnu/pkcs11-spy.so',
  '/usr/lib/x86_64-linux-gnu/pkcs11/pkcs11-spy.so',
  '/usr/lib/aarch64-linux-gnu/pkcs11-spy.so',
  '/usr/lib64/pkcs11-spy.so',
  '/usr/lib/pkcs11-spy.so',
  '/opt/homebrew/lib/pkcs11-spy.so',
];

const spyModule = (): string | undefined => SPY_PATHS.find((path) => existsSync(path));

/** `describe`, or a skip that says why, where SoftHSM or pkcs11-spy (of OpenSC) is missing. */
export function describeSpied(name: string, tests: () => void): void {
  const missing = softhsmModule() === undefined ? 'SoftHSM' : spyModule() === undefined ? 'pkcs11-spy' : undefined;
  if (missing) describe.skip(`${name} (skipped: ${missing} is not installed)`, tests);
  else describe(name, tests);
}

export interface Spy {
  /** Use this module instead of the token's. */
  readonly modulePath: string;
  /** The calls made since the last time this was asked, with their number. */
  taken(): Readonly<Record<string, number>>;
  /** The whole log so far, with arguments. */
  log(): string;
}

/** Puts pkcs11-spy in front of a token's module. Its log holds PINs: for test tokens only. One for each process. */
export function spyOn(token: TestToken): Spy {
  const log = join(token.dir, 'spy.log');
  setRealEnvironment({ ...token.env, PKCS11SPY: token.modulePath, PKCS11SPY_OUTPUT: log });
  const read = (): string => (existsSync(log) ? readFileSync(log, 'latin1') : '');
  let seen = 0;
  return {
    modulePath: spyModule() as string,
    taken() {
      const text = read();
      const calls = [...text.slice(seen).matchAll(/^\d+: (C_\w+)$/gm)].map((match) => match[1] as string);
      seen = text.length;
      const counts: Record<string, number> = {};
      for (const call of calls) counts[call] = (counts[call] ?? 0) + 1;
      return counts;
    },
    log: read,
  };
}
