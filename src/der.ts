/**
 * The little DER of the hot path (ITU-T X.690): signatures, some fields of a certificate, the headers of key files.
 * Everything else about certificates is in `pki.ts`, which loads a library.
 */

/** One tag-length-value. */
export interface Tlv {
  readonly tag: number;
  /** The content octets. */
  readonly value: Uint8Array;
  /** Offset of the first octet behind it, in the octets it was read from. */
  readonly end: number;
}

const BOOLEAN = 0x01;
const INTEGER = 0x02;
const BIT_STRING = 0x03;
const OCTET_STRING = 0x04;
const OBJECT_IDENTIFIER = 0x06;
const SEQUENCE = 0x30;
const VERSION = 0xa0;
const EXTENSIONS = 0xa3;

/** Read one value. Lengths over four octets and indefinite lengths are not DER, or not for us: undefined. */
export function read(data: Uint8Array, offset = 0): Tlv | undefined {
  const tag = data[offset];
  const first = data[offset + 1];
  if (tag === undefined || first === undefined) return undefined;
  let start = offset + 2;
  let length = first;
  if (first >= 0x80) {
    const octets = first & 0x7f;
    if (octets === 0 || octets > 4) return undefined;
    length = 0;
    for (const octet of data.subarray(start, start + octets)) length = length * 256 + octet;
    start += octets;
  }
  const end = start + length;
  return end > data.length ? undefined : { tag, value: data.subarray(start, end), end };
}

/** The values inside a constructed value; stops at the first that cannot be read. */
export function* children(data: Uint8Array): Generator<Tlv, void> {
  for (let item = read(data); item; item = item.end < data.length ? read(data, item.end) : undefined) yield item;
}

/**
 * An ECDSA signature as tokens give it (r and s side by side, PKCS#11 §2.3.1) to DER `Ecdsa-Sig-Value`
 * (RFC 3279 §2.2.3). Into one buffer, as it is done for every signature.
 *
 * @param raw an even number of octets, at most 248: r and s, each as long as the curve's order
 */
export function ecdsaSignatureToDer(raw: Uint8Array): Buffer {
  const half = raw.length >> 1;
  const r = firstDigit(raw, 0, half);
  const s = firstDigit(raw, half, raw.length);
  const length = sizeOfInteger(raw, r, half) + sizeOfInteger(raw, s, raw.length);
  const header = length < 0x80 ? [SEQUENCE, length] : [SEQUENCE, 0x81, length];
  const der = Buffer.allocUnsafe(header.length + length);
  der.set(header);
  const at = writeInteger(der, header.length, raw, r, half);
  writeInteger(der, at, raw, s, raw.length);
  return der;
}

/** Behind the leading zeros of a number, one octet of which stays (X.690 §8.3). */
function firstDigit(octets: Uint8Array, start: number, end: number): number {
  let first = start;
  while (first < end - 1 && octets[first] === 0) first += 1;
  return first;
}

/** With tag and length, and a zero in front where the number would else be negative. */
const sizeOfInteger = (octets: Uint8Array, start: number, end: number): number =>
  2 + (isNegative(octets, start) ? 1 : 0) + end - start;

const isNegative = (octets: Uint8Array, start: number): boolean => (octets[start] as number) >= 0x80;

/** @returns the offset behind it */
function writeInteger(der: Buffer, at: number, octets: Uint8Array, start: number, end: number): number {
  const behind = at + sizeOfInteger(octets, start, end);
  der[at] = INTEGER;
  der[at + 1] = behind - at - 2;
  der[at + 2] = 0; // stays, or is written over by the first digit
  for (let index = end - start; index > 0; index -= 1) der[behind - index] = octets[end - index] as number;
  return behind;
}

/**
 * The other way round: DER `Ecdsa-Sig-Value` to r and s side by side.
 *
 * @param size octets of the curve's order: 32, 48 or 66 for P-256, P-384, P-521
 * @returns undefined when the input is not such a value
 */
export function ecdsaSignatureFromDer(der: Uint8Array, size: number): Uint8Array | undefined {
  const integers = [...children(read(der)?.value ?? new Uint8Array())];
  if (integers.length !== 2) return undefined;
  const raw = Buffer.alloc(size * 2);
  for (const [index, { value }] of integers.entries()) {
    const digits = value[0] === 0 ? value.subarray(1) : value;
    if (digits.length > size) return undefined;
    raw.set(digits, (index + 1) * size - digits.length);
  }
  // There is one way to write a value in DER (X.690 §10): what is not written so was something else.
  return Buffer.compare(ecdsaSignatureToDer(raw), der) === 0 ? raw : undefined;
}

/** `KeyUsage` bits (RFC 5280 §4.2.1.3) as they stand in the first octet of the BIT STRING. */
export const KEY_USAGE_DIGITAL_SIGNATURE = 0x80;

/**
 * The `KeyUsage` of a certificate.
 *
 * @returns the first octet of bits; 0 when the extension holds none; undefined when the certificate has no such extension
 */
export function keyUsageOf(certificate: Uint8Array): number | undefined {
  const extension = extensionOf(certificate, '551d0f');
  if (!extension) return undefined;
  const bits = read(extension);
  return bits?.tag === BIT_STRING ? (bits.value[1] ?? 0) : 0;
}

/** BasicConstraints CA:TRUE (RFC 5280 §4.2.1.9). Node's `ca` says false when the key usage lacks keyCertSign. */
export function hasCaFlag(certificate: Uint8Array): boolean {
  const constraints = read(extensionOf(certificate, '551d13') ?? new Uint8Array());
  const flag = read(constraints?.value ?? new Uint8Array());
  return flag?.tag === BOOLEAN && flag.value[0] !== 0;
}

/** The SubjectPublicKeyInfo of a certificate, whole; empty when it has none (RFC 5280 §4.1: the version is optional). */
export function publicKeyOf(certificate: Uint8Array): Uint8Array {
  const toBeSigned = read(read(certificate)?.value ?? new Uint8Array())?.value ?? new Uint8Array();
  const fields = [...children(toBeSigned)];
  const index = fields[0]?.tag === VERSION ? 6 : 5;
  return toBeSigned.subarray(fields[index - 1]?.end ?? 0, fields[index]?.end ?? 0);
}

/** The algorithm of a SubjectPublicKeyInfo, as the hex of its object identifier; undefined when it is none. */
export function algorithmOf(publicKey: Uint8Array): string | undefined {
  const algorithm = read(read(publicKey)?.value ?? new Uint8Array());
  const id = read(algorithm?.value ?? new Uint8Array());
  return id?.tag === OBJECT_IDENTIFIER ? Buffer.from(id.value).toString('hex') : undefined;
}

/** The content of one extension, by the hex of its object identifier (RFC 5280 §4.1). */
function extensionOf(certificate: Uint8Array, oid: string): Uint8Array | undefined {
  const toBeSigned = read(read(certificate)?.value ?? new Uint8Array());
  for (const field of children(toBeSigned?.value ?? new Uint8Array())) {
    if (field.tag !== EXTENSIONS) continue;
    for (const { value } of children(read(field.value)?.value ?? new Uint8Array())) {
      const [id, ...rest] = children(value);
      if (id?.tag !== OBJECT_IDENTIFIER || Buffer.from(id.value).toString('hex') !== oid) continue;
      return rest.find(({ tag }) => tag === OCTET_STRING)?.value;
    }
  }
  return undefined;
}
