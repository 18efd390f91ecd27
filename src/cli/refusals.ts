import type { FlagName } from './flags.ts';

export interface Refusal {
  readonly code: 'ERR_STORE_INCAPABLE' | 'ERR_OPTION_INVALID';
  readonly why: string;
  readonly hint: string;
}

const NO_TPM: Refusal = {
  code: 'ERR_STORE_INCAPABLE',
  why: 'TPM keys are not supported yet',
  hint: 'use a key file or a pkcs11: key (a TPM can be reached through a PKCS#11 module)',
};

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
  'cert-selector': NO_OS_STORE,
  'system-store-name': NO_OS_STORE,
  'use-latest-expiring-certificate': NO_OS_STORE,
  'tpm-key-password': NO_TPM,
  'no-tpm-key-password': NO_TPM,
};

/** Pairs that exclude each other, as the reference client groups and writes them. */
export const EXCLUSIVE: readonly (readonly [FlagName, FlagName])[] = [
  ['cert-selector', 'intermediates'],
  ['cert-selector', 'reuse-pin'],
  ['certificate', 'cert-selector'],
  ['certificate', 'system-store-name'],
  ['no-tpm-key-password', 'cert-selector'],
  ['no-tpm-key-password', 'tpm-key-password'],
  ['pkcs8-password', 'tpm-key-password'],
  ['private-key', 'cert-selector'],
  ['private-key', 'system-store-name'],
  ['private-key', 'use-latest-expiring-certificate'],
  ['system-store-name', 'reuse-pin'],
  ['tpm-key-password', 'cert-selector'],
  ['tpm-key-password', 'reuse-pin'],
  ['use-latest-expiring-certificate', 'intermediates'],
  ['use-latest-expiring-certificate', 'reuse-pin'],
];
