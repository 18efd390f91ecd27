/** Names for the object identifiers of the keys that a key file may hold, in the words of a person. */

/** An OBJECT IDENTIFIER's content as dotted numbers (X.690 §8.19). */
export function oidOf(content: Uint8Array): string {
  const arcs: number[] = [];
  let arc = 0;
  for (const octet of content) {
    arc = arc * 128 + (octet & 0x7f);
    if (octet >= 0x80) continue;
    if (arcs.length === 0) {
      const first = Math.min(2, Math.floor(arc / 40));
      arcs.push(first, arc - first * 40);
    } else arcs.push(arc);
    arc = 0;
  }
  return arcs.join('.');
}

/** `PrivateKeyInfo.privateKeyAlgorithm` of the keys that sign here (RFC 8017 §A.1, RFC 5480 §2.1.1). */
export const SIGNING_KEYS: ReadonlySet<string> = new Set(['1.2.840.113549.1.1.1', '1.2.840.10045.2.1']);

/** The same for ML-DSA, by its parameter sets (RFC 9881 §6). */
export const ML_DSA_KEYS: ReadonlyMap<string, string> = new Map([
  ['2.16.840.1.101.3.4.3.17', 'ML-DSA-44'],
  ['2.16.840.1.101.3.4.3.18', 'ML-DSA-65'],
  ['2.16.840.1.101.3.4.3.19', 'ML-DSA-87'],
]);

/** The others, named by what a person calls them. */
export const OTHER_KEYS: ReadonlyMap<string, string> = new Map([
  ['1.2.840.113549.1.1.10', 'an RSA key bound to PSS'],
  ['1.2.840.10040.4.1', 'a DSA key'],
  ['1.2.840.10046.2.1', 'a Diffie-Hellman key'],
  ['1.2.840.113549.1.3.1', 'a Diffie-Hellman key'],
  ['1.3.101.110', 'an X25519 key'],
  ['1.3.101.111', 'an X448 key'],
  ['1.3.101.112', 'an Ed25519 key'],
  ['1.3.101.113', 'an Ed448 key'],
]);
