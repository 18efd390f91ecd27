export type LibraryName =
  | 'softhsm'
  | 'nss'
  | 'opencryptoki'
  | 'tpm2-pkcs11'
  | 'p11-kit-client'
  | 'p11-kit-proxy'
  | 'pkcs11-spy';

/** The path of a library of this machine; undefined when it is not installed. */
export function findLibrary(name: LibraryName): string | undefined;

/** Is there a program of that name? */
export function onPath(program: string): boolean;

/** A command to put before another: everything that it writes outside of /tmp is its own. For root only. */
export const OWN_MACHINE: readonly string[];

/** A command to put before another, which then runs as another user than root. For root only. */
export const OWN_USER: readonly string[];

/** Can the tests of a module run here and now? */
export function canUse(name: string): boolean;
