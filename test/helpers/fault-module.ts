import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe } from '@jest/globals';
import { setRealEnvironment, softhsmModule, type TestToken } from './softhsm.ts';

const SOURCE = fileURLToPath(new URL('../native/fault.c', import.meta.url));
const HEADERS = fileURLToPath(new URL('../../node_modules/pkcs11js/includes/pkcs11', import.meta.url));

const compiler = (): string | undefined =>
  [process.env.CC ?? '', '/usr/bin/cc', '/usr/bin/gcc', '/usr/bin/clang', '/usr/local/bin/cc'].find(
    (path) => path !== '' && existsSync(path),
  );

/** `describe`, or a skip that says why, where SoftHSM or a C compiler is missing. */
export function describeFaulty(name: string, tests: () => void): void {
  const missing = softhsmModule() === undefined ? 'SoftHSM' : compiler() === undefined ? 'a C compiler' : undefined;
  if (missing) describe.skip(`${name} (skipped: ${missing} is not installed)`, tests);
  else describe(name, tests);
}

export interface Calls {
  /** Calls that came in, of all processes. */
  readonly came: number;
  /** Those of them that went on to the module behind. */
  readonly passed: number;
}

/** A module of ours in front of another: see `test/native/fault.c` for its rules. */
export interface FaultModule {
  /** Use this module instead of the token's. */
  readonly modulePath: string;
  /** For child processes. */
  readonly env: Readonly<Record<string, string>>;
  /** The rules from now on, one a line; none at first. */
  rules(...lines: readonly string[]): void;
  /** So far, by all processes. */
  calls(name: string): Calls;
  /** Wrong PINs since the last good one, under the rule `tries`. */
  wrongPins(): number;
  /** Counters and tries begin anew. */
  reset(): void;
}

const NAME_SIZE = 32;
const ENTRY_SIZE = NAME_SIZE + 16;
const SIZE = 8 + 64 * ENTRY_SIZE;

/** Builds the module and puts it in front of a token's. One for each process: it finds its files by the environment. */
export function faultOn(token: TestToken): FaultModule {
  const at = (name: string): string => join(token.dir, name);
  const modulePath = at('fault.so');
  const [rulesPath, statePath] = [at('fault.rules'), at('fault.state')];
  const flags = ['-shared', '-fPIC', '-O2', '-Wall', '-Wextra', '-Werror', '-I', HEADERS];
  execFileSync(compiler() as string, [...flags, '-o', modulePath, SOURCE, '-ldl'], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const rules = (...lines: readonly string[]): void =>
    writeFileSync(rulesPath, lines.map((line) => `${line}\n`).join(''));
  // Over what is there: the module has the file mapped.
  const reset = (): void => writeFileSync(statePath, Buffer.alloc(SIZE), { flag: existsSync(statePath) ? 'r+' : 'w' });
  rules();
  reset();
  const env = { ...token.env, FAULT_MODULE: token.modulePath, FAULT_RULES: rulesPath, FAULT_STATE: statePath };
  setRealEnvironment(env);
  return {
    modulePath,
    env,
    rules,
    reset,
    calls(name) {
      const state = readFileSync(statePath);
      for (let entry = 8; entry < SIZE; entry += ENTRY_SIZE) {
        const found = state.toString('latin1', entry, entry + NAME_SIZE).replace(/\0+$/, '');
        if (found !== name) continue;
        const number = (offset: number): number => Number(state.readBigUInt64LE(entry + NAME_SIZE + offset));
        return { came: number(0), passed: number(8) };
      }
      return { came: 0, passed: 0 };
    },
    wrongPins: () => Number(readFileSync(statePath).readBigUInt64LE(0)),
  };
}
