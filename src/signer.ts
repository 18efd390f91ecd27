/** The hashes a signer may be asked for. Roles Anywhere itself uses SHA-256 whatever the key. */
export type HashName = 'SHA-256' | 'SHA-384' | 'SHA-512';

/** A private key that signs and never shows itself. */
export interface Signer {
  /**
   * Sign a message.
   *
   * @param message the message itself, never its digest: each store knows best where to hash
   * @param hash    default `SHA-256`; ignored by keys that hash by themselves (ML-DSA)
   * @returns RSA: RSASSA-PKCS1-v1_5 (RFC 8017 §8.2), as long as the modulus. EC: DER `Ecdsa-Sig-Value` (RFC 3279 §2.2.3).
   *   ML-DSA: the signature as FIPS 204 §5.2 gives it, with an empty context
   */
  sign(message: Uint8Array, hash?: HashName): Promise<Uint8Array>;
}
