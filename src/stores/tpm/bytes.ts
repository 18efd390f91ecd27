import { HoldfastError } from '../../errors.ts';

/** Big-endian throughout (TPM 2.0 Part 1 §5.2, "canonical form"). */

export const u8 = (value: number): Buffer => Buffer.of(value);

export function u16(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

export function u32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** A `TPM2B`: the size in two octets, then the octets (Part 2 §10.4). */
export const sized = (bytes: Uint8Array = new Uint8Array()): Buffer => Buffer.concat([u16(bytes.length), bytes]);

/** Without the zeros it ends with, as an authValue counts (Part 1 §19.6.5). */
export function withoutEndingZeros(bytes: Uint8Array): Uint8Array {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end -= 1;
  return bytes.subarray(0, end);
}

/** A number as many octets long as its place wants it; a TPM may leave leading zeros away (Part 2 §11.2.5.1). */
export function padded(bytes: Uint8Array, size: number): Buffer {
  if (bytes.length > size) throw damaged('a number is too long');
  const out = Buffer.alloc(size);
  out.set(bytes, size - bytes.length);
  return out;
}

/** What is left to read of a structure. */
export interface Reader {
  u8(): number;
  u16(): number;
  u32(): number;
  take(size: number): Buffer;
  /** The octets of a `TPM2B`. */
  sized(): Buffer;
  /** All that is left. */
  rest(): Buffer;
  /** There is nothing more. @throws {HoldfastError} */
  end(): void;
}

/** @throws {HoldfastError} `ERR_TOKEN_FAILED` from each reading that finds too little */
export function readerOf(bytes: Uint8Array): Reader {
  const data = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const take = (size: number): Buffer => {
    if (at + size > data.length) throw damaged('it ends too early');
    at += size;
    return data.subarray(at - size, at);
  };
  const reader: Reader = {
    take,
    u8: () => take(1).readUInt8(),
    u16: () => take(2).readUInt16BE(),
    u32: () => take(4).readUInt32BE(),
    sized: () => take(take(2).readUInt16BE()),
    rest: () => take(data.length - at),
    end() {
      if (at < data.length) throw damaged('it goes on behind its end');
    },
  };
  return reader;
}

/** An answer that no TPM gives. */
export const damaged = (what: string, cause?: unknown): HoldfastError =>
  new HoldfastError('ERR_TOKEN_FAILED', `the answer of the TPM is damaged: ${what}`, {
    hint: 'try again; where it stays so, something between this program and the TPM changes what they say',
    cause,
  });
