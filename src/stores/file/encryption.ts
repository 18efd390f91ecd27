/** Names for the object identifiers of what a key file may be encrypted with, in the words of a person. */

export const PBES2 = '1.2.840.113549.1.5.13';
export const PBKDF2 = '1.2.840.113549.1.5.12';
export const SCRYPT = '1.3.6.1.4.1.11591.4.11';

/** PBES2 encryption schemes (RFC 8018 §B.2 and the national ones), by the names that node:crypto has for them. */
export const CIPHERS: ReadonlyMap<string, string> = new Map([
  ['1.2.840.113549.3.7', 'des-ede3-cbc'],
  ['2.16.840.1.101.3.4.1.2', 'aes-128-cbc'],
  ['2.16.840.1.101.3.4.1.3', 'aes-128-ofb'],
  ['2.16.840.1.101.3.4.1.4', 'aes-128-cfb'],
  ['2.16.840.1.101.3.4.1.22', 'aes-192-cbc'],
  ['2.16.840.1.101.3.4.1.23', 'aes-192-ofb'],
  ['2.16.840.1.101.3.4.1.24', 'aes-192-cfb'],
  ['2.16.840.1.101.3.4.1.42', 'aes-256-cbc'],
  ['2.16.840.1.101.3.4.1.43', 'aes-256-ofb'],
  ['2.16.840.1.101.3.4.1.44', 'aes-256-cfb'],
  ['1.2.392.200011.61.1.1.1.2', 'camellia-128-cbc'],
  ['1.2.392.200011.61.1.1.1.3', 'camellia-192-cbc'],
  ['1.2.392.200011.61.1.1.1.4', 'camellia-256-cbc'],
  ['1.2.410.200046.1.1.2', 'aria-128-cbc'],
  ['1.2.410.200046.1.1.7', 'aria-192-cbc'],
  ['1.2.410.200046.1.1.12', 'aria-256-cbc'],
  ['1.2.156.10197.1.104.2', 'sm4-cbc'],
  // OpenSSL 3 keeps these in its legacy provider, which Node does not load: recognised to be named.
  ['1.3.14.3.2.7', 'des-cbc'],
  ['1.2.840.113549.3.2', 'rc2-cbc'],
  ['1.2.840.113549.3.9', 'rc5-cbc'],
]);

/** PBKDF2 pseudo-random functions (RFC 8018 §B.1): the hash of the HMAC, by node:crypto's name. */
export const PRFS: ReadonlyMap<string, string> = new Map([
  ['1.2.840.113549.2.5', 'md5'],
  ['1.2.840.113549.2.7', 'sha1'],
  ['1.2.840.113549.2.8', 'sha224'],
  ['1.2.840.113549.2.9', 'sha256'],
  ['1.2.840.113549.2.10', 'sha384'],
  ['1.2.840.113549.2.11', 'sha512'],
  ['1.2.840.113549.2.12', 'sha512-224'],
  ['1.2.840.113549.2.13', 'sha512-256'],
  ['2.16.840.1.101.3.4.2.13', 'sha3-224'],
  ['2.16.840.1.101.3.4.2.14', 'sha3-256'],
  ['2.16.840.1.101.3.4.2.15', 'sha3-384'],
  ['2.16.840.1.101.3.4.2.16', 'sha3-512'],
  ['1.2.156.10197.1.401.2', 'sm3'],
]);

/** PKCS#12's own schemes (RFC 7292 §C) whose ciphers Node has, by the names that node:crypto has for them. */
export const PKCS12_CIPHERS: ReadonlyMap<string, string> = new Map([
  ['1.2.840.113549.1.12.1.3', 'des-ede3-cbc'],
  ['1.2.840.113549.1.12.1.4', 'des-ede-cbc'],
]);

/** Those whose cipher, RC2 in CBC mode, a package has: bits of the key. */
export const RC2_SCHEMES: ReadonlyMap<string, number> = new Map([
  ['1.2.840.113549.1.12.1.5', 128],
  ['1.2.840.113549.1.12.1.6', 40],
]);

/** Hashes that PKCS#12 files are made with, by node:crypto's names. */
export const HASHES: ReadonlyMap<string, string> = new Map([
  ['1.3.14.3.2.26', 'sha1'],
  ['2.16.840.1.101.3.4.2.1', 'sha256'],
  ['2.16.840.1.101.3.4.2.2', 'sha384'],
  ['2.16.840.1.101.3.4.2.3', 'sha512'],
  ['2.16.840.1.101.3.4.2.4', 'sha224'],
]);

/** The whole schemes before PBES2 (RFC 8018 §A.3, RFC 7292 §C). */
export const OLD_SCHEMES: ReadonlyMap<string, string> = new Map([
  ['1.2.840.113549.1.5.1', 'MD2 and DES'],
  ['1.2.840.113549.1.5.3', 'MD5 and DES'],
  ['1.2.840.113549.1.5.4', 'MD2 and RC2'],
  ['1.2.840.113549.1.5.6', 'MD5 and RC2'],
  ['1.2.840.113549.1.5.10', 'SHA-1 and DES'],
  ['1.2.840.113549.1.5.11', 'SHA-1 and RC2'],
  ['1.2.840.113549.1.12.1.1', 'SHA-1 and RC4'],
  ['1.2.840.113549.1.12.1.2', 'SHA-1 and RC4'],
  ['1.2.840.113549.1.12.1.5', 'SHA-1 and RC2'],
  ['1.2.840.113549.1.12.1.6', 'SHA-1 and RC2'],
]);
