import { randomBytes } from 'node:crypto';
import { realpathSync } from 'node:fs';
import type { PKCS11 } from 'pkcs11js';
import { HoldfastError, messageOf, systemCodeOf } from '../../errors.ts';
import type { Remembered } from '../../pin-record.ts';
import { printable } from '../../read-file.ts';
import { CK } from './cryptoki.ts';
import { loadDriver } from './driver.ts';
import { fault, returnValueOf } from './faults.ts';
import { makePlaces, type Places } from './pool.ts';

/** What this process knows of one token. PINs are in it as hashes only. */
export interface TokenMemory {
  /** Connections that are open: the login ends with the last of them. */
  connections: number;
  /** The PIN that this process is logged in with, and not a moment longer. */
  accepted: string | undefined;
  /** PINs that are not sent again. */
  refused: readonly Remembered[];
  /** A PIN is on its way to the token: the others of this process wait for what becomes of it. */
  busy: boolean;
}

/** A module in this process. Loading, initialising and logging in belong to the process, so all users share one of these. */
interface LoadedModule {
  readonly pkcs11: PKCS11;
  users: number;
  /** We called C_Initialize, so C_Finalize is ours to call. */
  ours: boolean;
  /** What the module was initialised with. */
  parameters: string | undefined;
  readonly salt: Uint8Array;
  /** By serial number and label. */
  readonly tokens: Map<string, TokenMemory>;
}

/** One user's hold on a module. */
export interface ModuleUse {
  readonly path: string;
  /** What it was initialised with: with others, the tokens of some modules are others. */
  readonly parameters: string | undefined;
  readonly pkcs11: PKCS11;
  readonly salt: Uint8Array;
  readonly tokens: Map<string, TokenMemory>;
  /** Shared by all modules: their calls wait in the same few threads. */
  readonly places: Places;
  /**
   * Finalise the module and initialise it again, when none of this user's calls is in flight.
   *
   * @returns false where that would end it for somebody else in this process
   * @throws {HoldfastError} `ERR_MODULE_FAILED`
   */
  restart(): boolean;
  /** To be called once, when none of this user's calls is in flight. The last user finalises the module; it stays loaded. */
  release(): void;
}

/** A token that failed and has not worked since. Never changed, always replaced. */
export interface Failing {
  /** In a row. */
  readonly failures: number;
  /** How far those who failed came at most. */
  readonly use: 'read' | 'open' | 'sign';
  /** Until when it is left alone, milliseconds on a clock that nobody sets; undefined while all may use it. */
  readonly until: number | undefined;
  /** Since when somebody tries whether it is back, on that clock; undefined while nobody does. */
  readonly probing: number | undefined;
  readonly error: HoldfastError;
}

/** Shared by every copy of this package in the process: the shape of the registry goes with the version in its name. */
const REGISTRY: unique symbol = Symbol.for('holdfast.pkcs11.modules.v1');
interface Registry {
  readonly modules: Map<string, LoadedModule>;
  readonly places: Places;
  /** Of the hashes of PINs. A child process takes over that of its parent. */
  salt: Uint8Array;
  /** By real path of the module, then by serial number and label: also of modules that only child processes load. */
  readonly tokens: Map<string, Map<string, TokenMemory>>;
  /** Tokens that fail, by what reaches them: see `breaker.ts`. */
  readonly failing: Map<string, Failing>;
  /**
   * In a child process: waits until no other child of its parent is in the middle of a login to this token, and learns what
   * became of those.
   *
   * @returns how to give the turn back, to be called in any case
   * @throws the signal's reason
   */
  takeTurn: ((memory: TokenMemory, signal: AbortSignal) => Promise<() => void>) | undefined;
  /** In a child process: told before a PIN is sent, and when the answer has been noted. */
  loggingIn: ((underWay: boolean) => void) | undefined;
}

export function registry(): Registry {
  const home = globalThis as typeof globalThis & { [REGISTRY]?: Registry };
  home[REGISTRY] ??= {
    modules: new Map(),
    places: makePlaces(IN_FLIGHT),
    salt: randomBytes(32),
    tokens: new Map(),
    failing: new Map(),
    takeTurn: undefined,
    loggingIn: undefined,
  };
  return home[REGISTRY];
}

/** Threads that libuv's pool has: as many as the variable says, else four. */
const THREADS = Number(process.env.UV_THREADPOOL_SIZE ?? 4) || 4;

/** Signatures in flight in the whole process: fewer than there are threads, which file and name look-ups share. */
const IN_FLIGHT: number = Math.max(1, THREADS - 1);

/**
 * Load and initialise a module, or join those who use it already.
 *
 * @param parameters text for the reserved argument of C_Initialize, which NSS takes its configuration from
 * @throws {HoldfastError} `ERR_MODULE_NOT_FOUND`, `ERR_MODULE_FAILED`, `ERR_DRIVER_*`
 */
export async function useModule(path: string, parameters?: string): Promise<ModuleUse> {
  const real = realPathOf(path);
  const { PKCS11 } = await loadDriver();
  // Nothing awaits from here on, so two opens at once cannot both load or both initialise.
  const { modules, places } = registry();
  const loaded = modules.get(real) ?? load(new PKCS11(), real);
  modules.set(real, loaded);
  if (loaded.users === 0) initialise(loaded, real, parameters);
  else if (loaded.parameters !== parameters) throw otherParameters(path);
  loaded.users += 1;

  const restart = (): boolean => {
    // What somebody else finalised is dead for all its users: to start it harms nobody.
    if (isInitialised(loaded) && (loaded.users > 1 || !loaded.ours)) return false;
    finalise(loaded);
    initialise(loaded, real, parameters);
    return true;
  };
  const release = (): void => {
    loaded.users -= 1;
    if (loaded.users === 0) finalise(loaded);
  };
  const { pkcs11, salt, tokens } = loaded;
  return { path, parameters, pkcs11, salt, tokens, places, restart, release };
}

function isInitialised({ pkcs11 }: LoadedModule): boolean {
  try {
    pkcs11.C_GetInfo();
    return true;
  } catch (thrown) {
    return returnValueOf(thrown) !== 0x190;
  }
}

function realPathOf(path: string): string {
  try {
    return realpathSync.native(path);
  } catch (cause) {
    if (systemCodeOf(cause) === 'ENOENT' || systemCodeOf(cause) === 'ENOTDIR') {
      throw new HoldfastError('ERR_MODULE_NOT_FOUND', `there is no PKCS#11 module at ${path}`, {
        hint: 'give the absolute path of the .so or .dylib that came with the token; is its package installed?',
        cause,
      });
    }
    throw new HoldfastError('ERR_MODULE_FAILED', `cannot reach the PKCS#11 module ${path}: ${messageOf(cause)}`, {
      hint: 'check the permissions of the file and of the directories above it',
      cause,
    });
  }
}

function load(pkcs11: PKCS11, path: string): LoadedModule {
  try {
    pkcs11.load(path);
  } catch (cause) {
    throw new HoldfastError(
      'ERR_MODULE_FAILED',
      `${path} cannot be loaded as a PKCS#11 module: ${linkersWords(cause, path)}`,
      {
        hint: 'check that the file is a PKCS#11 module for this kind of machine and that the libraries it needs are installed',
        cause,
      },
    );
  }
  const { salt, tokens: all } = registry();
  const tokens = all.get(path) ?? new Map<string, TokenMemory>();
  all.set(path, tokens);
  return { pkcs11, users: 0, ours: false, parameters: undefined, salt, tokens };
}

/** What dlerror(3) says is one line, which begins with the path; a module can have put anything into its own file. */
const linkersWords = (cause: unknown, path: string): string =>
  printable(messageOf(cause).replace(`${path}: `, ''), ' ').slice(0, 300);

/** C_Initialize belongs to the process: whoever comes second cannot have it otherwise. */
const otherParameters = (path: string): HoldfastError =>
  new HoldfastError('ERR_MODULE_FAILED', `${path} is in use in this process with another x-init-reserved`, {
    hint: 'close the key that uses it first, or use one process for each',
  });

function initialise(loaded: LoadedModule, path: string, parameters: string | undefined): void {
  try {
    loaded.pkcs11.C_Initialize({
      // Without this flag, signatures in parallel crash the process.
      flags: CK.CKF_OS_LOCKING_OK,
      // pkcs11js drops the last character.
      ...(parameters !== undefined && { libraryParameters: `${parameters} ` }),
    });
    loaded.ours = true;
    loaded.parameters = parameters;
  } catch (thrown) {
    // Somebody else in this process had it first: then it is theirs to finalise.
    if (returnValueOf(thrown) === 0x191) {
      loaded.parameters = parameters;
      return;
    }
    throw fault(
      'ERR_MODULE_FAILED',
      `the PKCS#11 module ${path} did not start`,
      thrown,
      'check the configuration of the module, and that its service runs',
    );
  }
}

function finalise(loaded: LoadedModule): void {
  if (!loaded.ours) return;
  loaded.ours = false;
  try {
    loaded.pkcs11.C_Finalize();
  } catch {
    // Somebody else finalised it: there is nothing left to end, and nobody whom the error would help.
  }
}
