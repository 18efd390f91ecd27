import { constants, lstatSync, readdirSync, renameSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { systemCodeOf } from '../errors.ts';
import type { Credentials } from '../session-answer.ts';
import { type Content, haveContents, readRegular } from './cache-content.ts';
import type { CacheKey } from './cache-key.ts';

/** What somebody left for others. */
export interface CacheEntry {
  /** When it was left, milliseconds since 1970. */
  readonly at: number;
  /** The same by a clock that nobody sets, milliseconds since the system started. */
  readonly steady: number;
  /** Milliseconds for which the credentials were good then, by the service's clock; 0 after a failure. */
  readonly left: number;
  /** Undefined after a failure. */
  readonly credentials: Credentials | undefined;
}

/** One file a key, in the private directory. */
export interface CacheFile {
  readonly path: string;
  /** Where the lock stands of who buys. */
  readonly turn: string;
  /** Where the lock stands of who asks a person, while they may take their time. */
  readonly asking: string;
  /** @returns undefined when there is none that is whole, ours, of this key and of what is in its files now */
  read(): CacheEntry | undefined;
  /**
   * Replaces what is there, whatever it is; a directory only when it is empty.
   *
   * @param contents what was in the key's files before the session was bought
   * @throws {Error} a system error
   */
  write(entry: CacheEntry, contents: readonly Content[]): void;
}

/** Largest entry that is read, bytes: session tokens have about 1,000, and a policy may make them several times longer. */
const LIMIT = 64 * 1024;

/** Milliseconds after which no session lives: twelve hours, and one more for clocks. */
const LONGEST_LIFE = 13 * 3_600_000;

const PREFIX = 'session-';

/** @param directory private, checked */
export function cacheFileOf(directory: string, key: CacheKey): CacheFile {
  const path = join(directory, `${PREFIX}${nameOf(key.text)}`);
  return {
    path,
    turn: `${path}.turn`,
    asking: `${path}.asking`,
    read: () => parseEntry(readOwn(path), key),
    write(entry, contents) {
      const temporary = `${path}.${process.pid}${Math.random().toString(36).slice(1)}`;
      try {
        const text = JSON.stringify({ key: JSON.parse(key.text) as unknown, contents, ...entry });
        writeFileSync(temporary, text, { flag: 'wx', mode: 0o600 }); // O_EXCL: follows no link
        replace(path, temporary);
      } catch (error) {
        rmSync(temporary, { force: true });
        throw error;
      }
    },
  };
}

function replace(path: string, by: string): void {
  try {
    renameSync(by, path);
  } catch (error) {
    if (systemCodeOf(error) !== 'EISDIR') throw error;
    rmdirSync(path);
    renameSync(by, path);
  }
}

/**
 * FNV-1a, 32 bits from either end: the name only has to differ. What the entry is for stands in it, and is compared; and a
 * hash of node:crypto would cost each hit two or three milliseconds.
 */
function nameOf(text: string): string {
  let [forwards, backwards] = [0x811c9dc5, 0x811c9dc5];
  for (let at = 0; at < text.length; at += 1) {
    forwards = Math.imul(forwards ^ text.charCodeAt(at), 0x01000193);
    backwards = Math.imul(backwards ^ text.charCodeAt(text.length - 1 - at), 0x01000193);
  }
  return [forwards, backwards].map((sum) => (sum >>> 0).toString(16).padStart(8, '0')).join('');
}

/** @returns undefined for what is not there, cannot be read, or is not as we write it */
function readOwn(path: string): string | undefined {
  // The usual case of a miss, and an error would cost ten times as much.
  if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return undefined;
  const isOurs = ({ uid, mode }: { uid: number; mode: number }): boolean =>
    uid === process.geteuid?.() && (mode & 0o077) === 0;
  return readRegular(path, LIMIT, constants.O_NOFOLLOW, isOurs)?.toString('utf8');
}

function parseEntry(text: string | undefined, { text: key, files }: CacheKey): CacheEntry | undefined {
  if (text === undefined) return undefined;
  try {
    const entry = JSON.parse(text) as Record<string, unknown> & { credentials?: Record<string, unknown> };
    const { at, steady, left, credentials, contents } = entry;
    if (JSON.stringify(entry.key) !== key || !isNumber(at) || !isNumber(steady) || !isNumber(left)) return undefined;
    if (!haveContents(files, contents as readonly Content[])) return undefined;
    if (credentials === undefined) return { at, steady, left, credentials };
    const { accessKeyId, secretAccessKey, sessionToken, accountId } = credentials;
    const expiration = new Date(credentials.expiration as string);
    const isWhole =
      isText(accessKeyId) && isText(secretAccessKey) && isText(sessionToken) && isText(accountId) && +expiration > 0;
    return isWhole
      ? { at, steady, left, credentials: { accessKeyId, secretAccessKey, sessionToken, accountId, expiration } }
      : undefined;
  } catch {
    return undefined;
  }
}

const isNumber = (value: unknown): value is number => typeof value === 'number';

const isText = (value: unknown): value is string => typeof value === 'string' && value !== '';

/** Take away what nobody can want any more: a key that is never asked for again would keep its last session. */
export function sweep(directory: string, now: number): void {
  for (const name of readdirSync(directory)) {
    if (!name.startsWith(PREFIX)) continue;
    const path = join(directory, name);
    const since = lstatSync(path, { throwIfNoEntry: false })?.mtimeMs ?? now;
    if (now - since <= LONGEST_LIFE) continue;
    try {
      rmSync(path, { force: true });
    } catch {
      // A directory is nothing of ours.
    }
  }
}
