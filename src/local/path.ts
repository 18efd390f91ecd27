import type { Element } from './call.ts';

// Path validation after RFC 5280 §6.1, as far as the service's documentation goes.

export type Path = readonly Element[];

/**
 * Every way from a certificate up to one of the anchors, by the names in the certificates alone; whether they are true
 * is asked afterwards. The certificate comes first, the anchor last.
 *
 * @param pool in any order; each is used once at most. With five there are at most 326 ways.
 */
export function pathsUp(from: Element, pool: readonly Element[], anchors: readonly Element[]): Path[] {
  const isIssuer = (candidate: Element) => candidate.facts.subject === from.facts.issuer;
  const direct = anchors.filter(isIssuer).map((anchor) => [from, anchor]);
  const longer = pool
    .filter(isIssuer)
    .flatMap((next) =>
      pathsUp(
        next,
        pool.filter((element) => element !== next),
        anchors,
      ),
    )
    .map((path) => [from, ...path]);
  return [...direct, ...longer];
}

/** The pool without copies of a certificate. */
export const without = (pool: readonly Element[], unwanted: Element): readonly Element[] =>
  pool.filter((element) => Buffer.compare(element.der, unwanted.der) !== 0);

/** Each certificate was signed with the key of the next. */
export const isSigned = (path: Path): boolean =>
  path.every((element, index) => {
    const issuer = path[index + 1];
    if (!issuer) return true;
    try {
      return element.x509.verify(issuer.x509.publicKey);
    } catch {
      return false;
    }
  });

export const isValidAt = (path: Path, now: Date): boolean =>
  path.every(({ facts }) => facts.notBefore <= now && now <= facts.notAfter);

export const hasAuthorities = (path: Path): boolean => path.slice(1).every(({ facts }) => facts.isCa);

export const mayCertify = (path: Path): boolean =>
  path.slice(1).every(({ facts }) => facts.keyUsages?.includes('keyCertSign'));

/** No authority has more intermediates below it than its pathLength; self-issued ones do not count (§4.2.1.9). */
export const keepsPathLengths = (path: Path): boolean =>
  path.every(({ facts }, index) => {
    const below = path.slice(1, index).filter((element) => element.facts.subject !== element.facts.issuer).length;
    return facts.pathLength === undefined || index === 0 || below <= facts.pathLength;
  });

const STRONG_HASHES: readonly (string | undefined)[] = [
  ...['SHA-256', 'SHA-384', 'SHA-512'],
  ...['ML-DSA-44', 'ML-DSA-65', 'ML-DSA-87'],
];

export const isStrong = ({ facts }: Element): boolean => STRONG_HASHES.includes(facts.signatureHash);
