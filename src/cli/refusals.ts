import type { CommandName } from './commands.ts';
import type { FlagName } from './flags.ts';

export interface Refusal {
  readonly code: 'ERR_STORE_INCAPABLE' | 'ERR_OPTION_INVALID';
  readonly why: string;
  readonly hint: string;
  /** Honoured beside any of these. */
  readonly unless?: readonly FlagName[];
}

const NO_OS_STORE: Refusal = {
  code: 'ERR_STORE_INCAPABLE',
  why: 'certificate stores of the operating system are not supported yet',
  hint: 'name the certificate and its key with --certificate and --private-key',
};

/** Flags that are known, so that nobody hunts for a typing error, but refused when they ask for something. */
export const REFUSED: Readonly<Partial<Record<FlagName, Refusal>>> = {
  'no-verify-ssl': {
    code: 'ERR_OPTION_INVALID',
    why: 'holdfast never turns TLS verification off',
    hint: 'name the certificate authority of the endpoint with --ca-bundle or AWS_CA_BUNDLE',
  },
  'cert-selector': { ...NO_OS_STORE, unless: ['certificate', 'private-key'] },
  'system-store-name': NO_OS_STORE,
  'use-latest-expiring-certificate': { ...NO_OS_STORE, unless: ['certificate', 'private-key'] },
};

/** Two flags that exclude each other, and the only command that knows of it where not all do. */
export type Exclusion = readonly [FlagName, FlagName, only?: CommandName];

/**
 * Pairs that exclude each other, as the reference client groups and writes them, in the order in which it reports them.
 * Two of its pairs are left out, `certificate cert-selector` and `private-key cert-selector`: here a selector chooses
 * among the certificates of a file or a token.
 */
export const EXCLUSIVE: readonly Exclusion[] = [
  ['cert-selector', 'intermediates'],
  ['cert-selector', 'reuse-pin'],
  ['certificate', 'system-store-name'],
  ['no-tpm-key-password', 'cert-selector'],
  ['no-tpm-key-password', 'reuse-pin', 'sign-string'],
  ['no-tpm-key-password', 'tpm-key-password'],
  ['pkcs8-password', 'tpm-key-password'],
  ['private-key', 'system-store-name'],
  ['private-key', 'use-latest-expiring-certificate'],
  ['system-store-name', 'reuse-pin'],
  ['tpm-key-password', 'cert-selector'],
  ['tpm-key-password', 'reuse-pin'],
  ['use-latest-expiring-certificate', 'intermediates'],
  ['use-latest-expiring-certificate', 'reuse-pin'],
];

/** The first pair of which both are given. */
export function conflictIn(
  given: readonly FlagName[],
  command: CommandName,
): readonly [FlagName, FlagName] | undefined {
  const found = EXCLUSIVE.find(
    ([one, other, only = command]) =>
      only === command &&
      given.includes(one) &&
      given.includes(other) &&
      // Beside a selector it says which of those that fit.
      !(one === 'private-key' && other === 'use-latest-expiring-certificate' && given.includes('cert-selector')),
  );
  return found && [found[0], found[1]];
}
