import { execFileSync } from 'node:child_process';
import { createCipheriv, pbkdf2Sync, randomBytes } from 'node:crypto';
import { chmodSync } from 'node:fs';
import { children, read, type Tlv } from '../../src/der.ts';
import type { Place } from './key-files.ts';

/** What makes a file by `openssl pkcs12 -export` out of PEM in the same place, and returns its path. */
export const exporter =
  (files: Place) =>
  (from: string, passphrase: string | Uint8Array, ...options: readonly string[]): string => {
    const out = files.path('out.p12');
    const args = ['pkcs12', '-export', '-in', files.path(from), '-out', out, '-passout', 'stdin', ...options];
    const input = Buffer.concat([Buffer.from(passphrase as string), Buffer.from('\n')]);
    execFileSync('openssl', args, { stdio: 'pipe', input });
    chmodSync(out, 0o600);
    return out;
  };

/** Write one value, DER. */
export function tlv(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const value = Buffer.concat(parts);
  const { length } = value;
  const octets = [length >> 16, length >> 8, length].map((octet) => octet & 0xff);
  const needed = octets.slice(octets.findIndex((octet) => octet > 0));
  const header = length < 0x80 ? [tag, length] : [tag, 0x80 + needed.length, ...needed];
  return Buffer.concat([Buffer.from(header), value]);
}

const inside = (value: Uint8Array): Tlv[] => [...children(value)];
const only = (value: Uint8Array | undefined): Uint8Array => read(value ?? new Uint8Array())?.value ?? new Uint8Array();
const VERSION = Buffer.from('020103', 'hex');
const DATA = Buffer.from('06092a864886f70d010701', 'hex');

/** `PFX` (RFC 7292 §4) without a MAC, around an `AuthenticatedSafe`. */
export const pfxOf = (safe: Uint8Array): Buffer => tlv(0x30, VERSION, tlv(0x30, DATA, tlv(0xa0, tlv(0x04, safe))));

/** The `AuthenticatedSafe` of a DER file. */
export function safeOf(pfx: Uint8Array): Uint8Array {
  const [, contentInfo] = inside(only(pfx));
  return only(inside(contentInfo?.value ?? new Uint8Array())[1]?.value);
}

/** The contents of several files as one, without a MAC. */
export const joined = (...files: readonly Uint8Array[]): Buffer =>
  pfxOf(tlv(0x30, ...files.map((file) => only(safeOf(file)))));

const AES_256_CBC = Buffer.from('060960864801650304012a', 'hex');
const PBKDF2 = Buffer.from('06092a864886f70d01050c', 'hex');
const PBES2 = Buffer.from('06092a864886f70d01050d', 'hex');
const ENCRYPTED_DATA = Buffer.from('06092a864886f70d010706', 'hex');

/**
 * A `SafeContents` of our own choice, encrypted as the only content of a file without a MAC.
 *
 * @param derivation in place of that which was used
 */
export function encryptedFile(plain: Uint8Array, passphrase: string, derivation?: Uint8Array): Buffer {
  const [salt, iv] = [randomBytes(8), randomBytes(16)];
  const used = tlv(0x30, PBKDF2, tlv(0x30, tlv(0x04, salt), Buffer.from('020101', 'hex')));
  const algorithm = tlv(0x30, PBES2, tlv(0x30, derivation ?? used, tlv(0x30, AES_256_CBC, tlv(0x04, iv))));
  const cipher = createCipheriv('aes-256-cbc', pbkdf2Sync(passphrase, salt, 1, 32, 'sha1'), iv);
  const encrypted = tlv(0x80, cipher.update(plain), cipher.final());
  const content = tlv(0x30, Buffer.from('020100', 'hex'), tlv(0x30, DATA, algorithm, encrypted));
  return pfxOf(tlv(0x30, tlv(0x30, ENCRYPTED_DATA, tlv(0xa0, content))));
}

/** The `SafeContents` in an unencrypted file, as one. */
export const contentsOf = (pfx: Uint8Array): Buffer =>
  tlv(0x30, ...inside(only(safeOf(pfx))).map(({ value }) => only(only(inside(value)[1]?.value))));

const END = Buffer.alloc(2);
const indefinite = (tag: number, ...parts: readonly Uint8Array[]): Buffer =>
  Buffer.concat([Buffer.from([tag, 0x80]), ...parts, END]);

/** The same in BER as browsers write it: no lengths, OCTET STRINGs in pieces. */
export function toBer(der: Uint8Array): Buffer {
  return Buffer.concat(
    inside(der).map(({ tag, value }) => {
      if ((tag & 0x20) !== 0) return indefinite(tag, toBer(value));
      if (tag !== 0x04 && tag !== 0x80) return tlv(tag, value);
      const pieces: Buffer[] = [];
      for (let at = 0; at < value.length; at += 100) pieces.push(tlv(0x04, value.subarray(at, at + 100)));
      return indefinite(tag === 0x04 ? 0x24 : 0xa0, ...pieces);
    }),
  );
}
