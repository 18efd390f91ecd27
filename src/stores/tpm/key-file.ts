import { children, read, type Tlv } from '../../der.ts';
import { HoldfastError } from '../../errors.ts';
import { sized } from './bytes.ts';
import { CC, RH } from './constants.ts';
import { type PolicyStep, pcrParameters } from './policy.ts';
import { keyObjectOf, type PublicArea, readPublicArea } from './public-area.ts';

/** A key that was encrypted by its TPM to a storage key of it (draft-bottomley-tpm2-keys §3.1). */
export interface KeyFile {
  /** Persistent handle, or the hierarchy whose storage key it is. */
  readonly parent: number;
  /** The storage key of the hierarchy is RSA-2048; undefined when the file does not say. */
  readonly rsaParent: boolean | undefined;
  /** Whether the key has no authValue. A hint: tpm2-tools 5.4 to 5.7 write the opposite. Undefined when it is not said. */
  readonly emptyAuth: boolean | undefined;
  readonly area: PublicArea;
  /** `TPM2B_PRIVATE`, without its size. */
  readonly privateBytes: Buffer;
  /** What must be done to use the key, in this order; empty when nothing must. */
  readonly policy: readonly PolicyStep[];
  readonly description: string | undefined;
}

/** Object identifiers below 2.23.133.10, in hex. */
const LOADABLE = '6781050a0103';
const OTHER_KINDS: ReadonlyMap<string, string> = new Map([
  ['6781050a0104', 'an importable key, which must be imported into the TPM first'],
  ['6781050a0105', 'sealed data and no key'],
]);
/** openssl_tpm2_engine before 2018. */
const OLD_LOADABLE = '6781050a02';

const [BOOLEAN, INTEGER, OCTET_STRING, OID, UTF8_STRING, SEQUENCE] = [0x01, 0x02, 0x04, 0x06, 0x0c, 0x30] as const;

/**
 * Read a key file: `TSS2 PRIVATE KEY`, the older `TSS2 KEY BLOB`, or the DER in it.
 *
 * @param name what the file is called in errors, without an article
 * @throws {HoldfastError} `ERR_KEY_INVALID`, `ERR_KEY_UNSUPPORTED`
 */
export function readKeyFile(content: Uint8Array, name: string): KeyFile {
  const outer = read(derIn(content, name));
  if (outer?.tag !== SEQUENCE) throw invalid(name, 'its DER is damaged or cut off');
  const [kind, ...fields] = children(outer.value);
  const id = kind?.tag === OID ? Buffer.from(kind.value).toString('hex') : '';
  const other = OTHER_KINDS.get(id);
  if (other) throw unsupported(name, other);
  if (id !== LOADABLE && id !== OLD_LOADABLE) throw invalid(name, 'it is of no kind that holdfast knows');

  const tagged = new Map(fields.filter(({ tag }) => tag >= 0xa0).map(({ tag, value }) => [tag & 0x1f, read(value)]));
  const plain = fields.filter(({ tag }) => tag < 0xa0);
  const [parent, publicBytes, privateBytes, policy] =
    id === LOADABLE
      ? [plain[0], plain[1], plain[2], tagged.get(1)]
      : [tagged.get(1), tagged.get(2), plain[0], tagged.get(3)];
  if (id === LOADABLE && tagged.get(2)) throw unsupported(name, OTHER_KINDS.get('6781050a0104') as string);
  if (id === LOADABLE && tagged.get(3)) {
    throw unsupported(name, 'a key with several policies to choose from (authPolicy), which holdfast cannot do yet');
  }
  const description = id === LOADABLE ? tagged.get(4) : undefined;
  return {
    parent: parentOf(parent, name),
    rsaParent: id === LOADABLE ? booleanOf(tagged.get(5)) : undefined,
    emptyAuth: booleanOf(tagged.get(0)),
    area: orInvalid(() => areaOf(blobOf(publicBytes, name)), name, 'its public part is damaged'),
    privateBytes: blobOf(privateBytes, name),
    policy: policy ? [...children(policy.value)].map((step) => stepOf(step, name)) : [],
    description: description?.tag === UTF8_STRING ? Buffer.from(description.value).toString('utf8') : undefined,
  };
}

const PEM = /-----BEGIN (TSS2 PRIVATE KEY|TSS2 KEY BLOB)-----([A-Za-z0-9+/=\s]*)-----END \1-----/;

function derIn(content: Uint8Array, name: string): Uint8Array {
  if (content[0] === SEQUENCE) return content;
  const text = Buffer.from(content).toString('latin1');
  const base64 = PEM.exec(text)?.[2];
  if (base64 !== undefined) return Buffer.from(base64, 'base64');
  if (text.includes('-----BEGIN TSS2 ')) throw invalid(name, 'its PEM is damaged or cut off');
  const label = /-----BEGIN ([A-Z0-9 ]+)-----/.exec(text)?.[1];
  throw new HoldfastError('ERR_KEY_INVALID', `the ${name} is no TPM key file${label ? `: it holds a ${label}` : ''}`, {
    hint: label?.endsWith('PRIVATE KEY')
      ? 'use it with file:PATH'
      : 'name a file that begins with -----BEGIN TSS2 PRIVATE KEY-----',
  });
}

/** No octet is 0xff for TRUE only in DER: some write another. */
const booleanOf = (field: Tlv | undefined): boolean | undefined =>
  field?.tag === BOOLEAN && field.value.length === 1 ? field.value[0] !== 0 : undefined;

function parentOf(field: Tlv | undefined, name: string): number {
  // Old files leave it away, or write 0.
  if (field === undefined) return RH.OWNER;
  const parent = field.tag === INTEGER ? numberOf(field.value) : undefined;
  if (parent === undefined) throw invalid(name, 'its parent is no handle');
  return parent === 0 ? RH.OWNER : parent;
}

/** Some write a handle with its highest bit set as a negative number of four octets. */
function numberOf(octets: Uint8Array): number | undefined {
  const digits = octets.length === 5 && octets[0] === 0 ? octets.subarray(1) : octets;
  if (digits.length === 0 || digits.length > 4) return undefined;
  return digits.reduce((number, octet) => number * 256 + octet, 0);
}

/** It must be the public half of a key, too: a point may be on no curve. */
function areaOf(bytes: Buffer): PublicArea {
  const area = readPublicArea(bytes);
  keyObjectOf(area);
  return area;
}

/** What would be a damaged answer, if a TPM had said it, is a damaged file. */
function orInvalid<T>(readPart: () => T, name: string, what: string): T {
  try {
    return readPart();
  } catch (error) {
    if (error instanceof HoldfastError && error.code !== 'ERR_TOKEN_FAILED') throw error;
    throw invalid(name, what);
  }
}

/** A `TPM2B` in an OCTET STRING. */
function blobOf(field: Tlv | undefined, name: string): Buffer {
  const bytes = field?.tag === OCTET_STRING ? Buffer.from(field.value) : Buffer.alloc(0);
  const blob = bytes.subarray(2);
  if (bytes.length < 4 || !sized(blob).equals(bytes)) throw invalid(name, 'a part of it is missing or damaged');
  return blob;
}

function stepOf(field: Tlv, name: string): PolicyStep {
  const [code, parameters] = [...children(field.value)].map(({ value }) => read(value));
  const command = code?.tag === INTEGER ? numberOf(code.value) : undefined;
  if (command === undefined || (parameters && parameters.tag !== OCTET_STRING)) {
    throw invalid(name, 'its policy is damaged');
  }
  const step: PolicyStep = { command, parameters: Buffer.from(parameters?.value ?? []) };
  if (command === CC.PolicyPCR) orInvalid(() => pcrParameters(step.parameters), name, 'its policy is damaged');
  return step;
}

const invalid = (name: string, what: string): HoldfastError =>
  new HoldfastError('ERR_KEY_INVALID', `the ${name} is no TPM key file that can be read: ${what}`, {
    hint: 'copy the file again, or make the key anew',
  });

const unsupported = (name: string, what: string): HoldfastError =>
  new HoldfastError('ERR_KEY_UNSUPPORTED', `the ${name} holds ${what}`, { hint: 'make a loadable key' });
