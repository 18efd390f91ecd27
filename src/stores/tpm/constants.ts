/** Names of TPM 2.0 Part 2, as far as they are used here. */

/** `TPM_ST` (§6.9). */
export const ST = { NO_SESSIONS: 0x8001, SESSIONS: 0x8002, HASHCHECK: 0x8024 } as const;

/** `TPM_CC` (§6.5.2). */
export const CC = {
  EvictControl: 0x120,
  CreatePrimary: 0x131,
  Startup: 0x144,
  PolicySecret: 0x151,
  Create: 0x153,
  Load: 0x157,
  Sign: 0x15d,
  FlushContext: 0x165,
  PolicyAuthValue: 0x16b,
  PolicyCommandCode: 0x16c,
  ReadPublic: 0x173,
  StartAuthSession: 0x176,
  GetCapability: 0x17a,
  PCR_Read: 0x17e,
  PolicyPCR: 0x17f,
  PolicyRestart: 0x180,
  PolicyGetDigest: 0x189,
  PolicyPassword: 0x18c,
} as const;

/** Steps of policies that are not done here, for their names in errors. */
const OTHER_COMMANDS: readonly (readonly [code: number, name: string])[] = [
  [0x149, 'PolicyNV'],
  [0x160, 'PolicySigned'],
  [0x16a, 'PolicyAuthorize'],
  [0x16d, 'PolicyCounterTimer'],
  [0x16e, 'PolicyCpHash'],
  [0x16f, 'PolicyLocality'],
  [0x170, 'PolicyNameHash'],
  [0x171, 'PolicyOR'],
  [0x172, 'PolicyTicket'],
  [0x187, 'PolicyPhysicalPresence'],
  [0x188, 'PolicyDuplicationSelect'],
  [0x18f, 'PolicyNvWritten'],
  [0x190, 'PolicyTemplate'],
  [0x192, 'PolicyAuthorizeNV'],
];

const COMMANDS: ReadonlyMap<number, string> = new Map([
  ...Object.entries(CC).map(([name, code]) => [code, name] as const),
  ...OTHER_COMMANDS,
]);

export const nameOfCommand = (code: number): string => `TPM2_${COMMANDS.get(code) ?? `0x${code.toString(16)}`}`;

/** `TPM_ALG_ID` (§6.3). */
export const ALG = {
  RSA: 0x01,
  SHA1: 0x04,
  AES: 0x06,
  KEYEDHASH: 0x08,
  SHA256: 0x0b,
  SHA384: 0x0c,
  SHA512: 0x0d,
  NULL: 0x10,
  RSASSA: 0x14,
  RSAES: 0x15,
  RSAPSS: 0x16,
  OAEP: 0x17,
  ECDSA: 0x18,
  ECDAA: 0x1a,
  ECC: 0x23,
  SYMCIPHER: 0x25,
  CFB: 0x43,
} as const;

/** `TPM_ECC_CURVE` (§6.4). */
export interface Curve {
  readonly id: number;
  /** Of a JSON Web Key. */
  readonly name: 'P-256' | 'P-384' | 'P-521';
  /** Of OpenSSL. */
  readonly openssl: string;
  /** Octets of a coordinate, and of the order. */
  readonly size: number;
}

export const CURVES: readonly Curve[] = [
  { id: 0x03, name: 'P-256', openssl: 'prime256v1', size: 32 },
  { id: 0x04, name: 'P-384', openssl: 'secp384r1', size: 48 },
  { id: 0x05, name: 'P-521', openssl: 'secp521r1', size: 66 },
];

/** `TPM_RH` (§7.4). */
export const RH = {
  OWNER: 0x40000001,
  NULL: 0x40000007,
  PASSWORD: 0x40000009,
  ENDORSEMENT: 0x4000000b,
  PLATFORM: 0x4000000c,
} as const;

/** Hierarchies that have storage keys, by their names. */
export const HIERARCHIES: ReadonlyMap<string, number> = new Map([
  ['owner', RH.OWNER],
  ['null', RH.NULL],
  ['endorsement', RH.ENDORSEMENT],
  ['platform', RH.PLATFORM],
]);

/** A hierarchy as a person calls it, else the handle. */
export const nameOfParent = (handle: number): string => {
  const found = [...HIERARCHIES].find(([, one]) => one === handle)?.[0];
  return found === undefined ? `storage key ${hex(handle)}` : `${found} hierarchy`;
};

/** The most significant octet of a handle: `TPM_HT` (§7.2). */
export const HT = {
  HMAC_SESSION: 0x02,
  POLICY_SESSION: 0x03,
  PERMANENT: 0x40,
  TRANSIENT: 0x80,
  PERSISTENT: 0x81,
} as const;

export const kindOfHandle = (handle: number): number => handle >>> 24;

export const hex = (handle: number): string => `0x${handle.toString(16).padStart(8, '0')}`;

/** `TPMA_OBJECT` (§8.3). */
export const OBJECT = {
  fixedTPM: 0x2,
  stClear: 0x4,
  fixedParent: 0x10,
  sensitiveDataOrigin: 0x20,
  userWithAuth: 0x40,
  adminWithPolicy: 0x80,
  noDA: 0x400,
  restricted: 0x10000,
  decrypt: 0x20000,
  sign: 0x40000,
} as const;

/** `TPMA_SESSION` (§8.4). */
export const SESSION = { continueSession: 0x01, decrypt: 0x20, encrypt: 0x40 } as const;

/** `TPM_SE` (§6.11). */
export const SE = { HMAC: 0x00, POLICY: 0x01, TRIAL: 0x03 } as const;

/** `TPM_CAP` (§6.12) and `TPM_PT` (§6.13). */
export const CAP = { ALGS: 0, HANDLES: 1, PCRS: 5, TPM_PROPERTIES: 6, ECC_CURVES: 8 } as const;
export const PT = {
  MANUFACTURER: 0x105,
  VENDOR_STRING_1: 0x106,
  FIRMWARE_VERSION_1: 0x10b,
  PERMANENT: 0x200,
  LOCKOUT_COUNTER: 0x20e,
  MAX_AUTH_FAIL: 0x20f,
  LOCKOUT_INTERVAL: 0x210,
  LOCKOUT_RECOVERY: 0x211,
} as const;

/** `TPMA_PERMANENT` (§8.6). */
export const IN_LOCKOUT = 0x200;
