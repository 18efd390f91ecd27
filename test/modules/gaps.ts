import type { KeySpec } from '../../src/stores/store.ts';
import { KEY_TYPES } from './module.ts';

/** Signing mechanisms that a module is asked for; holdfast itself needs only CKM_RSA_PKCS and CKM_ECDSA. */
export const MECHANISMS = [
  'CKM_RSA_PKCS',
  'CKM_SHA256_RSA_PKCS',
  'CKM_RSA_PKCS_PSS',
  'CKM_SHA256_RSA_PKCS_PSS',
  'CKM_ECDSA',
  'CKM_ECDSA_SHA256',
] as const;

export type Mechanism = (typeof MECHANISMS)[number];

/** What a module may be able to do. */
export type Ability =
  | `make ${KeySpec}`
  | Mechanism
  | 'put certificates'
  | 'remove certificates'
  | 'authenticate always'
  | 'flag a wrong PIN'
  | 'flag the last try'
  | 'flag the lock'
  | 'lock';

/** How it shows that a module cannot: what it answers, or a word of ours where it says nothing. */
export type Gaps = Readonly<Partial<Record<Ability, string>>>;

const SOFTHSM: Gaps = {
  CKM_ECDSA_SHA256: 'CKR_MECHANISM_INVALID',
  'flag the last try': 'no flag',
  'flag the lock': 'no flag',
  lock: 'never',
};

/** Nothing is to be seen of wrong PINs. */
const NO_PIN_FLAGS: Gaps = {
  'flag a wrong PIN': 'no flag',
  'flag the last try': 'no flag',
  'flag the lock': 'no flag',
};

/** What each module cannot do. The suite tries all of it: what works against this table is a failure too. */
export const GAPS = {
  SoftHSM: SOFTHSM,
  'pkcs11-spy': SOFTHSM,
  'p11-kit-proxy': SOFTHSM,
  // Its protocol knows the parameters of few mechanisms.
  'p11-kit-server': { ...SOFTHSM, CKM_SHA256_RSA_PKCS_PSS: 'CKR_MECHANISM_INVALID' },
  nss: { ...NO_PIN_FLAGS, lock: 'never' },
  opencryptoki: {
    'make P-256': 'CKR_MECHANISM_INVALID',
    'make P-384': 'CKR_MECHANISM_INVALID',
    'make P-521': 'CKR_MECHANISM_INVALID',
    CKM_SHA256_RSA_PKCS: 'CKR_MECHANISM_INVALID',
    CKM_ECDSA: 'holds no P-256 key',
    CKM_ECDSA_SHA256: 'holds no P-256 key',
    // It keeps the attribute, and knows no login for one signature.
    'authenticate always': 'CKR_USER_TYPE_INVALID',
  },
  'tpm2-pkcs11': {
    'make RSA-4096': 'CKR_ATTRIBUTE_VALUE_INVALID',
    // It makes the key and cannot sign with it: it stumbles over its own encoding of the public point.
    'make P-521': 'CKR_HOST_MEMORY',
    CKM_RSA_PKCS_PSS: 'CKR_MECHANISM_INVALID',
    ...NO_PIN_FLAGS,
  },
} as const satisfies Record<string, Gaps>;

export type ModuleName = keyof typeof GAPS;

export const gapsOf = (name: ModuleName): Gaps => GAPS[name];

/** The key types that a module can hold. */
export const keyTypesOf = (name: ModuleName): readonly KeySpec[] =>
  KEY_TYPES.filter((type) => gapsOf(name)[`make ${type}`] === undefined);
