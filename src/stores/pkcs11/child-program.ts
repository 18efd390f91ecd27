import { existsSync } from 'node:fs';
import { HoldfastError, messageOf } from '../../errors.ts';

/** Which program the process of a module runs, and what is said when that does not work. */

/** Beside this file. In a bundle that is beside the bundle, where it is only if somebody put it there. */
const NAME = './holdfast-child.js';

/** @throws {HoldfastError} `ERR_CHILD_MISSING` */
export function childFile(given: string | undefined): string | URL {
  // Such a program would start itself again instead.
  if (process.getBuiltinModule('node:sea')?.isSea())
    throw missing('a single executable has no Node to run it with', '');
  const path = given ?? besides();
  if (path === undefined) throw missing('this bundle does not know where it is', CURE);
  if (existsSync(path)) return path;
  throw missing(`it is not at ${pathOf(path)}`, CURE);
}

function besides(): URL | undefined {
  try {
    return new URL(NAME, import.meta.url);
  } catch {
    return undefined; // a bundle in CommonJS has no import.meta.url
  }
}

const CURE =
  "put a copy of holdfast's dist/stores/pkcs11/holdfast-child.js beside the bundle, or give its path as childPath; or ";

const missing = (why: string, cure: string): HoldfastError =>
  new HoldfastError('ERR_CHILD_MISSING', `the program for the process that has the PKCS#11 module is missing: ${why}`, {
    hint: `${cure}use the option isolation: 'in-place', without the protection of a process of its own`,
  });

export const notStarted = (cause: unknown): HoldfastError =>
  new HoldfastError('ERR_STORE_CRASHED', `no process was started for the PKCS#11 module: ${messageOf(cause)}`, {
    hint: "let this program start processes (Node's --allow-child-process, ulimit -n and -u), or use the option isolation: 'in-place'",
    cause,
  });

/** @param how undefined when it hung, and we ended it */
export const crashed = (of: string, how: string | undefined): HoldfastError =>
  new HoldfastError(
    'ERR_STORE_CRASHED',
    how === undefined
      ? `${of} is gone: the PKCS#11 module hung, and its process was ended (SIGKILL)`
      : `${of} is gone: the process of the PKCS#11 module was ended by ${how}`,
    { hint: 'open the key again; if that happens again, ask the maker of the module (native-notes/pkcs11.md)' },
  );

/** One that was not yet heard. */
export const neverBegan = (file: string | URL, status: number | null): HoldfastError =>
  new HoldfastError(
    'ERR_STORE_CRASHED',
    `the program for the process that has the PKCS#11 module did not start: Node ended with exit status ${status} at ${pathOf(file)}`,
    { hint: `read what it said on stderr; ${CORRECT}` },
  );

/** A copy of another release, which a bundle has beside it. */
export const isAnother = (file: string | URL): HoldfastError =>
  missing(`what is at ${pathOf(file)} is another, or of another version of holdfast`, CURE);

export const saysNonsense = (of: string): HoldfastError =>
  new HoldfastError(
    'ERR_STORE_CRASHED',
    `${of} is gone: its process said what is not our protocol, and was ended: something there writes to a descriptor that is not its own`,
    { hint: `ask the maker of the module (native-notes/pkcs11.md), or ${CORRECT}` },
  );

export const unsendable = (): HoldfastError =>
  new HoldfastError(
    'ERR_OPTION_INVALID',
    'an option is of a type that cannot be sent to the process of the PKCS#11 module',
    {
      hint: 'give options of the types that are documented',
    },
  );

const CORRECT =
  "correct childPath and the environment (NODE_OPTIONS), or use isolation: 'in-place', without the protection of a process of its own";

const pathOf = (file: string | URL): string => (typeof file === 'string' ? file : file.pathname);

/** Without what would make each child wait for a debugger, or take the port of its parent's (`node --inspect-brk`). */
export function withoutInspector(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { NODE_OPTIONS } = env;
  if (NODE_OPTIONS === undefined) return env;
  return { ...env, NODE_OPTIONS: NODE_OPTIONS.replace(/(?<=^|\s)--inspect(-brk|-wait)?(=\S*)?(?=\s|$)/g, '') };
}
