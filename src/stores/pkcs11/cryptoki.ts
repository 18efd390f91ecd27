/** The numbers of PKCS#11 v2.40 (pkcs11t.h) that this store needs, under their own names. */
export const CK = {
  CKF_RW_SESSION: 0x2,
  CKF_SERIAL_SESSION: 0x4,
  CKF_OS_LOCKING_OK: 0x2,

  CKU_USER: 1,
  CKU_CONTEXT_SPECIFIC: 2,

  CKO_CERTIFICATE: 1,
  CKO_PUBLIC_KEY: 2,
  CKO_PRIVATE_KEY: 3,
  CKC_X_509: 0,
  CKK_RSA: 0,
  CKK_EC: 3,

  CKA_CLASS: 0x0,
  CKA_LABEL: 0x3,
  CKA_VALUE: 0x11,
  CKA_CERTIFICATE_TYPE: 0x80,
  CKA_KEY_TYPE: 0x100,
  CKA_SUBJECT: 0x101,
  CKA_ID: 0x102,
  CKA_SIGN: 0x108,
  CKA_MODULUS: 0x120,
  CKA_PUBLIC_EXPONENT: 0x122,
  CKA_EC_PARAMS: 0x180,
  CKA_EC_POINT: 0x181,
  CKA_ALWAYS_AUTHENTICATE: 0x202,

  CKM_RSA_PKCS: 0x1,
  CKM_SHA256_RSA_PKCS: 0x40,
  CKM_SHA384_RSA_PKCS: 0x41,
  CKM_SHA512_RSA_PKCS: 0x42,
  CKM_ECDSA: 0x1041,
  CKM_ECDSA_SHA256: 0x1044,
  CKM_ECDSA_SHA384: 0x1045,
  CKM_ECDSA_SHA512: 0x1046,
} as const;

/** Token flags (`CK_TOKEN_INFO.flags`, PKCS#11 v2.40 §3.2). */
export const CKF = {
  LOGIN_REQUIRED: 0x4,
  USER_PIN_INITIALIZED: 0x8,
  PROTECTED_AUTHENTICATION_PATH: 0x100,
  TOKEN_INITIALIZED: 0x400,
  USER_PIN_COUNT_LOW: 0x10000,
  USER_PIN_FINAL_TRY: 0x20000,
  USER_PIN_LOCKED: 0x40000,
} as const;

/** The NIST curves: DER of the object identifier as `CKA_EC_PARAMS` has it, and octets of the order. */
export const CURVES: readonly {
  readonly name: 'P-256' | 'P-384' | 'P-521';
  readonly oid: string;
  readonly size: number;
}[] = [
  { name: 'P-256', oid: '06082a8648ce3d030107', size: 32 },
  { name: 'P-384', oid: '06052b81040022', size: 48 },
  { name: 'P-521', oid: '06052b81040023', size: 66 },
];

/** Without `node:os`, which a start would have to load. */
const IS_LITTLE_ENDIAN: boolean = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

/** A `CK_ULONG` as the machine has it: 8 octets, 4 on Windows and on 32-bit systems. */
export function ulongOf(bytes: Buffer): bigint {
  const ordered = IS_LITTLE_ENDIAN ? Buffer.from(bytes).reverse() : bytes;
  return BigInt(`0x${ordered.toString('hex') || '0'}`);
}
