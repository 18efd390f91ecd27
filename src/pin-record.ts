import { createHash, createHmac, scryptSync } from 'node:crypto';
import { existsSync, lstatSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { systemCodeOf } from './errors.ts';
import { printable } from './read-file.ts';
import { findRuntimeDir } from './runtime-dir.ts';
import { asksPerson, type Secret, type SecretOrigin, type SecretSource } from './secret.ts';
import { takeTurn } from './turn.ts';

/** A PIN that a token would not take, without the PIN. */
export interface Refusal {
  /** Of the PIN and the kind of login, hex: see `hashPin`. */
  readonly hash: string;
  /** What the token said of its tries right after. */
  readonly flags: number;
  /** The token was locked: it says nothing of the PIN. */
  readonly locked: boolean;
  /** ISO 8601. */
  readonly time: string;
  readonly from: RefusedOrigin;
}

/** Where the PIN lay. */
export interface RefusedOrigin {
  readonly kind: SecretOrigin['kind'] | 'person';
  readonly name: string;
  /** Of a file: its device, inode and last change, as they were after the refusal. */
  readonly file?: string | undefined;
}

/** What a process knows by itself. */
export interface Remembered extends Refusal {
  /** The directory that it was also recorded in: then the end of that record is its end, too. */
  readonly place?: string | undefined;
}

/** What a record says; `key` is random and goes into every hash. */
export interface Refusals {
  readonly key: Uint8Array;
  readonly refused: readonly Refusal[];
}

/** The record of one token, in the private directory. */
export interface PinRecord {
  readonly path: string;
  /** The directory it is in: another one when that was made anew. */
  readonly place: string;
  /** @returns undefined when nothing was refused; `damaged` when nobody can tell what was */
  read(): Refusals | 'damaged' | undefined;
  /** To be called by who has the turn, as `forget` is. */
  write(refusals: Refusals): void;
  forget(): void;
  /** Take away what stands where a turn is taken and is no turn, so that there can be one. */
  clear(): void;
  /** @returns how to give the turn back; undefined while another process has it */
  takeTurn(): (() => void) | undefined;
}

/**
 * @param token what tells it from others; for a TPM's key its Name stands for the serial number
 * @returns the record, whether it exists or not; why there can be none
 */
export function pinRecordOf(token: {
  readonly serial: string;
  readonly label: string;
  readonly model: string;
  readonly manufacturer: string;
}): PinRecord | string {
  const dir = findRuntimeDir();
  if (dir.path === undefined) return dir.why;
  const { serial, label, model, manufacturer } = token;
  const name = createHash('sha256').update([serial, label, model, manufacturer].join('\0')).digest('hex');
  const path = `${dir.path}/pin-${name.slice(0, 32)}`;
  return {
    path,
    place: dir.id,
    read: () => readRecord(path),
    write(refusals) {
      if (refusals.refused.length === 0) return rmSync(path, { force: true });
      const { key, refused } = refusals;
      const text = JSON.stringify({ key: Buffer.from(key).toString('hex'), refused });
      // A reader has no turn: it sees the old record or the new one. Nothing of anybody's may stand in the way.
      rmSync(`${path}.new`, { force: true, recursive: true });
      writeFileSync(`${path}.new`, text, { mode: 0o600, flag: 'wx' });
      renameSync(`${path}.new`, path);
    },
    forget: () => rmSync(path, { force: true, recursive: true }),
    clear() {
      for (const one of [`${path}.turn`, `${path}.turn.over`]) {
        if (!lstatSync(one, { throwIfNoEntry: false })?.isSymbolicLink()) rmSync(one, { force: true, recursive: true });
      }
    },
    takeTurn: () => takeTurn(`${path}.turn`),
  };
}

function readRecord(path: string): Refusals | 'damaged' | undefined {
  // The usual case, and an error would cost ten times as much.
  if (!existsSync(path)) return undefined;
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    return systemCodeOf(error) === 'ENOENT' ? undefined : 'damaged';
  }
  try {
    const { key, refused } = JSON.parse(text) as { key: unknown; refused: unknown };
    if (typeof key !== 'string' || !/^[0-9a-f]{64}$/.test(key)) return 'damaged';
    if (!Array.isArray(refused) || !refused.every(isRefusal)) return 'damaged';
    return { key: Buffer.from(key, 'hex'), refused };
  } catch {
    return 'damaged';
  }
}

function isRefusal(value: unknown): value is Refusal {
  const { hash, flags, locked, time, from } = (value ?? {}) as Partial<Record<keyof Refusal, unknown>>;
  const { kind, name } = (from ?? {}) as Partial<Record<keyof RefusedOrigin, unknown>>;
  return (
    [hash, time, kind, name].every((text) => typeof text === 'string') &&
    typeof flags === 'number' &&
    typeof locked === 'boolean'
  );
}

/** About ten milliseconds, and only where there is something to remember or to compare with: PINs are short. */
const SLOW = { N: 4096, r: 8, p: 1 };

/** One PIN for one kind of login, under a random key, hex. */
export const hashPin = (key: Uint8Array, user: number, { bytes }: Secret): string =>
  createHmac('sha256', key)
    .update(`${user}/`)
    .update(scryptSync(bytes, key, 32, SLOW))
    .digest('hex');

/** What can be said of a source without its secret. */
export function refusedOriginOf(source: SecretSource | undefined): RefusedOrigin {
  if (asksPerson(source)) return { kind: 'person', name: '' };
  const { kind, name } = (typeof source === 'function' ? source.origin : undefined) ?? { kind: 'value', name: '' };
  if (kind !== 'file' && kind !== 'credential') return { kind, name };
  try {
    const { dev, ino, mtimeNs } = statSync(name, { bigint: true });
    return { kind, name, file: `${dev}:${ino}:${mtimeNs}` };
  } catch {
    return { kind, name };
  }
}

/** `the file /run/pin`, for a person. */
export function originInWords({ kind, name }: RefusedOrigin): string {
  if (kind === 'value') return 'the caller';
  return kind === 'person' ? 'a person' : `the ${kind} ${printable(name)}`;
}
