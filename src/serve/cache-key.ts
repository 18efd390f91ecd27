import { type BigIntStats, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { checkSession } from '../check-session.ts';
import type { RolesAnywhereInit } from '../provider.ts';
import { looksLikeContent } from '../read-file.ts';
import { formatKeyUri, isShown, type KeyUri, parseKeyUri, textOf } from '../uri.ts';
import { sha256, stampOf } from './cache-content.ts';

/** What a session is bought with. Two calls that agree in all of it may share one. No secret is in it. */
export interface CacheKey {
  /** JSON, members in a fixed order. */
  readonly text: string;
  /** Certificates beside it: absolute paths of files, which count by their content. */
  readonly files: readonly string[];
  /** Milliseconds that were asked for. */
  readonly life: number;
}

/** Milliseconds that a session must still have for somebody to get it from the cache. */
export const LEAST_LEFT: number = 15 * 60_000;

/** Bytes. No certificate is that short; a PIN in a file that is named by mistake is, and its hash would give it away. */
const SHORTEST = 100;

/**
 * The key of these options, without a look into the private key or at a token.
 *
 * @param selector what decides among the certificates, where the options do not say it
 * @returns why their session cannot be shared, in words, where it cannot
 * @throws {HoldfastError} what {@link checkSession} throws; `ERR_URI_INVALID`
 */
export function cacheKeyOf(init: RolesAnywhereInit, selector?: string): CacheKey | string {
  const { url, region } = checkSession(init);
  const { trustAnchorArn, profileArn, roleArn, roleSessionName, durationSeconds = 3600, strictFiles } = init;
  const life = durationSeconds * 1000;
  if (life <= LEAST_LEFT) return `a session of ${durationSeconds} seconds is too short to be shared`;
  if (init.signer) return 'nobody can tell one signer from another';
  const files: string[] = [];
  try {
    const text = JSON.stringify({
      version: 1,
      key: nameOfKey(init.key ?? (init.certificate as string | KeyUri)),
      certificate: nameOfCertificates(init.certificate, files),
      chain: nameOfCertificates(init.chain, files),
      selector,
      trustAnchorArn,
      profileArn,
      roleArn,
      roleSessionName,
      durationSeconds,
      endpoint: url.href,
      region,
      strictFiles: strictFiles === true,
    });
    return { text, files, life };
  } catch (thrown) {
    if (thrown instanceof Unshared) return thrown.message;
    throw thrown;
  }
}

/** Why a session is not shared, from deep inside. */
class Unshared extends Error {}

/** A file that is replaced is another key; so is one whose permissions change, because they may be refused next time. */
function nameOfKey(given: string | KeyUri): string {
  const uri = typeof given === 'string' ? parseKeyUri(given) : given;
  if (uri.scheme === 'file') return `${pathOf(uri)} ${stampOf(regularFile(uri))}`;
  const file = uri.scheme === 'tpm' ? textOf(uri.path, 'file') : undefined;
  if (file === undefined) return nameOfUri(uri);
  const stamp = stampOf(regularFile({ location: file }));
  return `${nameOfUri({ ...uri, path: new Map([...uri.path, ['file', Buffer.from(resolve(file))]]) })} ${stamp}`;
}

function nameOfCertificates(given: string | Uint8Array | KeyUri | undefined, files: string[]): string {
  if (given === undefined) return 'none'; // those beside the key, as an empty chain
  if (given instanceof Uint8Array || (typeof given === 'string' && looksLikeContent(given))) return sha256(given);
  const uri = typeof given === 'string' ? parseKeyUri(given) : given;
  if (uri.scheme !== 'file') return nameOfUri(uri);
  if (regularFile(uri).size < SHORTEST) throw new Unshared('a file of certificates is too short to be one');
  files.push(pathOf(uri));
  return pathOf(uri);
}

const pathOf = ({ location }: KeyUri): string => resolve(location);

/** What comes out of a pipe can be read only once, and not here. A variable may hold the key itself. */
function nameOfUri(uri: KeyUri): string {
  const { location, scheme, path, query } = uri;
  if (scheme === 'env' || scheme === 'fd') throw new Unshared('the key or a certificate is no file and on no token');
  const named = (attributes: KeyUri['path']): [string, Uint8Array][] =>
    [...attributes]
      .filter(([name, value]) => isShown(name, value) && !name.endsWith('-source'))
      .sort(([one], [other]) => (one < other ? -1 : 1));
  return formatKeyUri({ scheme, path: named(path), query: named(query) }).replace(':', () => `:${location}`);
}

/** Through links, so that one that leads elsewhere tomorrow names another file. */
function regularFile({ location }: Pick<KeyUri, 'location'>): BigIntStats {
  try {
    const stat = statSync(location, { bigint: true });
    if (stat.isFile()) return stat;
  } catch {
    // Who opens it says what is wrong.
  }
  throw new Unshared('the key or a certificate is in no regular file');
}
