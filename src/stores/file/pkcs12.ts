import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import asn1, { type Asn1Node } from 'node-forge/lib/asn1.js';
import rc2 from 'node-forge/lib/rc2.js';
import util from 'node-forge/lib/util.js';
import { children, read, type Tlv } from '../../der.ts';
import { HoldfastError, SecretError } from '../../errors.ts';
import { printable } from '../../read-file.ts';
import { type SecretRequest, type SecretSource, withSecret } from '../../secret.ts';
import { oidOf } from './algorithms.ts';
import { type CipherBox, checkPlain, damaged, NOTHING, orUndecryptable, unsupported, wrong } from './cipher-box.ts';
import { type Decrypt, decryptPkcs12Scheme, decryptWith, MAX_PKCS12_ROUNDS, roundsOf } from './decrypt.ts';
import { HASHES, RC2_SCHEMES } from './encryption.ts';
import { derivePkcs12, PURPOSE } from './pkcs12-derive.ts';
import { viewOf } from './view-of.ts';

/*
 * PKCS#12 files (RFC 7292). node-forge reads their BER and has RC2, which Node has not. Its own PKCS#12 reader is not
 * used: it takes the passphrase in one encoding for all schemes (with PBES2 no umlaut works), holds it in strings,
 * writes certificates anew instead of handing them out as they are, and derives keys slowly.
 */

export interface Pkcs12 {
  readonly keys: readonly Pkcs12Key[];
  /** DER, in the order of the file. */
  readonly certificates: readonly Uint8Array[];
}

export interface Pkcs12Key {
  /** How the file calls it, for people: `"web" (localKeyID 01)`. */
  readonly label: string;
  /** @returns DER `PrivateKeyInfo` @throws {SecretError} `ERR_SECRET_WRONG` */
  open(): Promise<Buffer>;
}

/**
 * Look into a PKCS#12 file. Its passphrase is asked for when neither none nor an empty one opens it, and wiped once
 * `use` is done, which may be called for each of the three.
 *
 * @param request `of` is what the file is called, without an article
 * @throws {HoldfastError} `ERR_KEY_INVALID`, `ERR_KEY_UNSUPPORTED`, `ERR_SECRET_*`, and what `use` throws
 */
export async function withPkcs12<T>(
  data: Uint8Array,
  secret: SecretSource | undefined,
  request: SecretRequest,
  use: (contents: Pkcs12) => Promise<T>,
): Promise<T> {
  const name = request.of;
  const file = readFile(data, name);
  const attempt = async (passphrase: Uint8Array | undefined): Promise<T> => {
    const opening = file.checkMac(passphrase).then(() => Promise.all(file.safes.map((open) => open(passphrase))));
    const safes = await orUndecryptable(opening, name);
    return use(contentsOf(safes, passphrase, name));
  };
  for (const passphrase of [undefined, NOTHING]) {
    try {
      return await attempt(passphrase);
    } catch (error) {
      if (!(error instanceof SecretError)) throw error;
    }
  }
  return withSecret(secret, request, ({ bytes }) => attempt(bytes));
}

const DATA = '1.2.840.113549.1.7.1';
const SIGNED_DATA = '1.2.840.113549.1.7.2';
const ENVELOPED_DATA = '1.2.840.113549.1.7.3';
const ENCRYPTED_DATA = '1.2.840.113549.1.7.6';

/** Parts of a file, each of which may want a key derived: commonly two, one for keys and one for certificates. */
const MOST_CONTENTS = 16;

interface Pkcs12File {
  /** @throws {SecretError} `ERR_SECRET_WRONG` */
  checkMac(passphrase: Uint8Array | undefined): Promise<void>;
  /** What opens each `SafeContents`. */
  readonly safes: readonly Decrypt[];
}

/** `PFX` (RFC 7292 §4), without opening anything. */
function readFile(data: Uint8Array, name: string): Pkcs12File {
  const [, authenticated, macData] = sequence(read(toDer(data, name)), name);
  const { type, value } = contentInfo(authenticated, name);
  if (type === SIGNED_DATA) throw unreadable(name, 'is protected by a signature instead of a passphrase');
  if (type !== DATA) throw broken(name);
  const safe = octets(value, name);
  const contents = sequence(read(toDer(safe, name)), name);
  if (contents.length > MOST_CONTENTS) throw unreadable(name, `has more than ${MOST_CONTENTS} parts`);
  return {
    checkMac: macData ? macCheck(macData, safe, name) : async () => {},
    safes: contents.map((content) => safeOf(content, name)),
  };
}

/** `MacData` (RFC 7292 §4): over the contents as they are, before anything is decrypted. */
function macCheck(macData: Tlv, content: Uint8Array, name: string): Pkcs12File['checkMac'] {
  const [digestInfo, salt, count] = sequence(macData, name);
  const [algorithm, digest] = sequence(digestInfo, name);
  const hash = HASHES.get(oidOf(sequence(algorithm, name)[0]?.value ?? NOTHING));
  if (!hash) throw unreadable(name, 'is protected by a MAC that holdfast does not know');
  const expected = octets(digest, name);
  const derivation = { salt: octets(salt, name), rounds: count ? roundsOf(count, MAX_PKCS12_ROUNDS, name) : 1, hash };
  return async (passphrase) => {
    const key = await derivePkcs12(passphrase, derivation, PURPOSE.mac, createHash(hash).digest().length);
    const mac = createHmac(hash, key).update(content).digest();
    key.fill(0);
    if (mac.length !== expected.length || !timingSafeEqual(mac, expected)) throw wrong(name);
  };
}

/** One `ContentInfo` of an `AuthenticatedSafe` (RFC 7292 §4.1). */
function safeOf(content: Tlv, name: string): Decrypt {
  const { type, value } = contentInfo(content, name);
  if (type === DATA) {
    const plain = viewOf(octets(value, name));
    return async () => plain;
  }
  if (type === ENVELOPED_DATA) throw unreadable(name, 'is encrypted for a certificate instead of with a passphrase');
  if (type !== ENCRYPTED_DATA) throw broken(name);
  const [, algorithm, encrypted] = sequence(sequence(value, name)[1], name);
  return decryption(algorithm, octets(encrypted, name), name);
}

function decryption(algorithm: Tlv | undefined, encrypted: Uint8Array, name: string): Decrypt {
  const [id, parameters] = sequence(algorithm, name);
  const bits = RC2_SCHEMES.get(oidOf(id?.value ?? NOTHING));
  if (bits === undefined) return decryptWith(algorithm, encrypted, name);
  return decryptPkcs12Scheme(parameters, rc2Box(bits, encrypted, name), name);
}

/** Octets: the package's RC2 takes seconds for four times as many, and minutes for sixteen times. */
const RC2_LIMIT = 65_536;

function rc2Box(bits: number, encrypted: Uint8Array, name: string): CipherBox {
  if (encrypted.length > RC2_LIMIT) throw unsupported(name, `RC2 in a part of more than ${RC2_LIMIT} bytes`);
  if (encrypted.length === 0 || encrypted.length % 8 !== 0) throw damaged(name);
  const open = (key: Uint8Array, iv: Uint8Array): Buffer => {
    const cipher = rc2.createDecryptionCipher(binary(key), bits);
    cipher.start(binary(iv));
    cipher.update(util.createBuffer(binary(encrypted)));
    if (!cipher.finish()) throw wrong(name);
    return checkPlain(Buffer.from(cipher.output.getBytes(), 'latin1'), name);
  };
  return { keyLength: bits / 8, ivLength: 8, open };
}

const KEY = '1.2.840.113549.1.12.10.1.1';
const SHROUDED_KEY = '1.2.840.113549.1.12.10.1.2';
const CERTIFICATE = '1.2.840.113549.1.12.10.1.3';
const X509_CERTIFICATE = '1.2.840.113549.1.9.22.1';

/** The keys and certificates among the `SafeBag`s (RFC 7292 §4.2). */
function contentsOf(safes: readonly Uint8Array[], passphrase: Uint8Array | undefined, name: string): Pkcs12 {
  const bags = safes.flatMap((safe) =>
    sequence(read(toDer(safe, name)), name).map((bag) => {
      const [id, wrapper, attributes] = sequence(bag, name);
      return { id: oidOf(id?.value ?? NOTHING), content: wrapper?.value ?? NOTHING, attributes };
    }),
  );
  const keys = bags.flatMap(({ id, content, attributes }): Pkcs12Key[] => {
    const label = labelOf(attributes);
    if (id === KEY) return [{ label, open: async () => Buffer.from(content) }];
    if (id !== SHROUDED_KEY) return [];
    const [algorithm, encrypted] = sequence(read(content), name);
    const open = decryption(algorithm, octets(encrypted, name), name);
    return [{ label, open: () => open(passphrase) }];
  });
  const certificates = bags.flatMap(({ id, content }) => {
    if (id !== CERTIFICATE) return [];
    const [kind, wrapper] = sequence(read(content), name);
    if (oidOf(kind?.value ?? NOTHING) !== X509_CERTIFICATE) return [];
    return [octets(read(wrapper?.value ?? NOTHING), name)];
  });
  return { keys, certificates };
}

const FRIENDLY_NAME = '1.2.840.113549.1.9.20';
const LOCAL_KEY_ID = '1.2.840.113549.1.9.21';

/** The attributes that tell a key from another (RFC 7292 §4.2). */
function labelOf(attributes: Tlv | undefined): string {
  const values = new Map<string, Uint8Array | undefined>();
  for (const { value } of children(attributes?.value ?? NOTHING)) {
    const [id, set] = children(value);
    values.set(oidOf(id?.value ?? NOTHING), read(set?.value ?? NOTHING)?.value);
  }
  const [name, id] = [values.get(FRIENDLY_NAME), values.get(LOCAL_KEY_ID)];
  const even = name && Buffer.from(name.subarray(0, Math.min(200, name.length - (name.length % 2))));
  return [
    even ? `"${printable(even.swap16().toString('utf16le'))}"` : 'one without a name',
    ...(id ? [`(localKeyID ${Buffer.from(id.subarray(0, 32)).toString('hex')})`] : []),
  ].join(' ');
}

/** BER, such as browsers and Windows write it, as DER. */
function toDer(data: Uint8Array, name: string): Buffer {
  try {
    const value = asn1.fromDer(binary(data), { decodeBitStrings: false });
    joinOctets(value);
    return Buffer.from(asn1.toDer(value).getBytes(), 'latin1');
  } catch (cause) {
    throw broken(name, cause);
  }
}

/** In BER an OCTET STRING may be cut into pieces (X.690 §8.7.3). */
function joinOctets(node: Asn1Node): void {
  if (typeof node.value === 'string') return;
  for (const child of node.value) joinOctets(child);
  if (node.tagClass !== 0 || node.type !== 0x04) return;
  node.value = node.value.map(({ value }) => (typeof value === 'string' ? value : '')).join('');
  node.constructed = false;
  node.composed = false;
}

/** Octets as node-forge takes them. */
const binary = (octets: Uint8Array): string => viewOf(octets).toString('latin1');

function sequence(value: Tlv | undefined, name: string): Tlv[] {
  if (value?.tag === 0x30) return [...children(value.value)];
  throw broken(name);
}

function contentInfo(value: Tlv | undefined, name: string): { type: string; value: Tlv | undefined } {
  const [type, wrapper] = sequence(value, name);
  return { type: oidOf(type?.value ?? NOTHING), value: read(wrapper?.value ?? NOTHING) };
}

/** An OCTET STRING, also under an implicit [0], where its pieces are still apart. */
function octets(value: Tlv | undefined, name: string): Uint8Array {
  if (value?.tag === 0x04 || value?.tag === 0x80) return value.value;
  if (value?.tag !== 0xa0) throw broken(name);
  return Buffer.concat([...children(value.value)].map((piece) => octets(piece, name)));
}

const broken = (name: string, cause?: unknown): HoldfastError =>
  new HoldfastError('ERR_KEY_INVALID', `the PKCS#12 in the ${name} is damaged`, { hint: 'copy the file again', cause });

const unreadable = (name: string, what: string): HoldfastError =>
  new HoldfastError('ERR_KEY_UNSUPPORTED', `the PKCS#12 in the ${name} ${what}`, {
    hint: 'export it anew, with a passphrase',
  });
