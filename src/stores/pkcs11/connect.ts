import { statSync } from 'node:fs';
import { HoldfastError } from '../../errors.ts';
import { sleep } from '../../limits.ts';
import type { Secret } from '../../secret.ts';
import type { OpenOptions } from '../store.ts';
import type { Address } from './address.ts';
import { returnValueOf } from './faults.ts';
import { login, pinSource } from './login.ts';
import { type ModuleUse, type TokenMemory, useModule } from './modules.ts';
import {
  type Connection,
  checkLibrary,
  closeSession,
  openSession,
  selectToken,
  type Token,
  unpadded,
} from './token.ts';

/**
 * Find exactly one token and connect to it.
 *
 * @throws {HoldfastError} `ERR_MODULE_*`, `ERR_TOKEN_*`, `ERR_DRIVER_*`
 */
export const connect = (address: Address, signal: AbortSignal): Promise<Connection> =>
  reach(address, signal, (connection) => connection);

/**
 * Find exactly one token, connect to it and log in.
 *
 * @returns the connection, and the PIN, which the caller wipes; there is none for a token that needs no login
 * @throws {HoldfastError} as `connect` does, `ERR_SECRET_*`, `ERR_INTERRUPTED`, `ERR_SIGNING_TIMEOUT`
 */
export const logIn = (
  address: Address,
  options: OpenOptions,
  signal: AbortSignal,
  flags?: number,
): Promise<{ connection: Connection; secret: Secret | undefined }> =>
  reach(
    address,
    signal,
    async (connection) => {
      signal.throwIfAborted();
      return { connection, secret: await login(pinSource(connection, options), signal) };
    },
    flags,
  );

/** The connection is the caller's to close, unless `begin` fails. */
const reach = <T>(
  address: Address,
  signal: AbortSignal,
  begin: (connection: Connection) => T | Promise<T>,
  flags?: number,
): Promise<T> =>
  withModule(address, signal, async (module) => {
    const connection = connectTo(module, selectToken(module, address), address, flags);
    const close = (): void => {
      connection.leave();
      module.release();
    };
    try {
      return await begin({ ...connection, close });
    } catch (error) {
      connection.leave();
      throw error;
    }
  });

/** A PKCS#11 session on this token. To close it leaves the module in use. */
export function connectTo(module: ModuleUse, token: Token, address: Address, flags?: number): Connection {
  const session = openSession(module, token, flags);
  const memory = memoryOf(module, token);
  memory.connections += 1;
  const leave = (): void => {
    closeSession(module, session);
    memory.connections -= 1;
    // PKCS#11 v2.40 §5.6: with its last PKCS#11 session on a token the process is logged out.
    if (memory.connections === 0) memory.accepted = undefined;
  };
  return { address, module, token, session, memory, leave, close: leave };
}

function memoryOf({ tokens, parameters = '' }: ModuleUse, { serial, label }: Token): TokenMemory {
  const key = `${serial}/${label}/${parameters}`;
  const memory = tokens.get(key) ?? { connections: 0, accepted: undefined, refused: [], busy: false };
  tokens.set(key, memory);
  return memory;
}

/** So often, and so many milliseconds apart: twenty processes that log in without a break leave none behind. */
const ATTEMPTS = 10;
const PAUSE = 6;

/**
 * Use the module that an address means, which is the caller's to release, unless `use` fails.
 *
 * @throws {HoldfastError} `ERR_MODULE_*`, `ERR_TOKEN_NOT_FOUND`, `ERR_DRIVER_*`, and what `use` throws
 */
export async function withModule<T>(
  address: Address,
  signal: AbortSignal,
  use: (module: ModuleUse) => T | Promise<T>,
): Promise<T> {
  const { path, parameters } = await locate(address);
  for (let attempt = 1; ; attempt += 1) {
    const module = await useModule(path, parameters);
    try {
      checkLibrary(module, address);
      return await use(module);
    } catch (error) {
      const again = attempt < ATTEMPTS && !signal.aborted && mayHaveMissedToken(module, error);
      module.release();
      if (!again) throw error;
      await sleep(PAUSE, signal);
      signal.throwIfAborted();
    }
  }
}

const GENERAL_ERROR = 0x5;

/**
 * At each login SoftHSM empties the file of the token, lets go of its lock, and writes the file. Another process that
 * reads it in between has no such token, or one that always fails, until it initialises the module again.
 */
function mayHaveMissedToken({ pkcs11 }: ModuleUse, error: unknown): boolean {
  if (!(error instanceof HoldfastError)) return false;
  if (error.code !== 'ERR_TOKEN_NOT_FOUND' && returnValueOf(error.cause) !== GENERAL_ERROR) return false;
  try {
    return unpadded(pkcs11.C_GetInfo().manufacturerID) === 'SoftHSM';
  } catch {
    return false;
  }
}

/** The module's file and its parameters. To look for it is rare, and costs a URI that has its path nothing. */
async function locate(address: Address): Promise<{ path: string; parameters: string | undefined }> {
  const { modulePath: path, moduleName, initReserved } = address;
  if (path !== undefined && moduleName === undefined && !isDirectory(path)) return { path, parameters: initReserved };
  const found = (await import('./find-module.ts')).findModule(address);
  return { path: found.path, parameters: initReserved ?? found.initReserved };
}

function isDirectory(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
  } catch {
    return false; // whoever loads it will say why
  }
}
