import { sized, u32 } from './bytes.ts';
import type { KeyFile } from './key-file.ts';

const [BOOLEAN, INTEGER, OCTET_STRING, UTF8_STRING, SEQUENCE] = [0x01, 0x02, 0x04, 0x0c, 0x30] as const;
/** 2.23.133.10.1.3, with its tag and length. */
const LOADABLE: Buffer = Buffer.from('06066781050a0103', 'hex');

/** One value of DER. */
function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const value = Buffer.concat(parts);
  const { length } = value;
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.of(tag, ...size), value]);
}

/** The number in its context of a tagged field. */
const tagged = (number: number, value: Uint8Array): Buffer => der(0xa0 | number, value);

/** Without leading zeros but the one that keeps it from being negative. */
function integer(number: number): Buffer {
  const digits = Buffer.concat([Buffer.of(0), u32(number)]);
  const first = digits.findIndex((octet, at) => octet !== 0 || (digits[at + 1] ?? 0x80) >= 0x80);
  return der(INTEGER, digits.subarray(first));
}

/**
 * A key file that others can read, too: `TSS2 PRIVATE KEY` (draft-bottomley-tpm2-keys §3.1).
 *
 * `emptyAuth` is always written: tpm2-openssl 1.1.1 takes a file without it for one without an authValue.
 */
export function writeKeyFile(key: Omit<KeyFile, 'rsaParent' | 'emptyAuth'> & { readonly emptyAuth: boolean }): string {
  const steps = key.policy.map(({ command, parameters }) =>
    der(SEQUENCE, tagged(0, integer(command)), tagged(1, der(OCTET_STRING, parameters))),
  );
  const content = der(
    SEQUENCE,
    LOADABLE,
    tagged(0, der(BOOLEAN, Buffer.of(key.emptyAuth ? 0xff : 0))),
    ...(steps.length > 0 ? [tagged(1, der(SEQUENCE, ...steps))] : []),
    ...(key.description === undefined ? [] : [tagged(4, der(UTF8_STRING, Buffer.from(key.description)))]),
    integer(key.parent),
    der(OCTET_STRING, sized(key.area.bytes)),
    der(OCTET_STRING, sized(key.privateBytes)),
  );
  const lines = content.toString('base64').match(/.{1,64}/g) as string[];
  return ['-----BEGIN TSS2 PRIVATE KEY-----', ...lines, '-----END TSS2 PRIVATE KEY-----', ''].join('\n');
}
