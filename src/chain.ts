import type { Certificate } from './certificate.ts';

/** Most certificates that Roles Anywhere reads from `X-Amz-X509-Chain`. */
export const CHAIN_LIMIT = 5;

/**
 * The path from a leaf towards its root, from a pool in any order: closest to the leaf first, without the leaf, without
 * a self-signed root (the service has the anchor already), at most five. Each link is proven by its signature.
 *
 * Where several certificates of one issuer would do, the one valid now counts, then the latest `notAfter`, then the
 * lowest serial number.
 */
export function buildChain(leaf: Certificate, pool: readonly Certificate[], now: Date): Certificate[] {
  const path: Certificate[] = [];
  const isOn = (one: Certificate): boolean => [leaf, ...path].some((other) => Buffer.compare(one.der, other.der) === 0);
  for (let last = leaf; path.length < CHAIN_LIMIT; ) {
    const issuers = pool
      .filter((candidate) => candidate.isCa && !isOn(candidate) && last.isIssuedBy(candidate))
      .sort((a, b) => preference(a, b, now));
    // The root itself stays here, but a certificate that another root gave it goes along: the anchor may be that one.
    const issuer = issuers.find((candidate) => !candidate.isIssuedBy(candidate));
    if (!issuer || (!isValid(issuer, now) && issuers.some((other) => isValid(other, now)))) break;
    path.push(issuer);
    last = issuer;
  }
  return path;
}

/** Sorts the better of two certificates that say the same to the front: the house's rule for certificates of one key. */
export function preference(a: Certificate, b: Certificate, now: Date): number {
  const serial = BigInt(a.serialNumber) - BigInt(b.serialNumber);
  return (
    Number(isValid(b, now)) - Number(isValid(a, now)) ||
    b.notAfter.getTime() - a.notAfter.getTime() ||
    (serial < 0n ? -1 : serial > 0n ? 1 : 0)
  );
}

const isValid = ({ notBefore, notAfter }: Certificate, now: Date): boolean => notBefore <= now && now <= notAfter;
