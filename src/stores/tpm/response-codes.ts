import { HoldfastError } from '../../errors.ts';
import { nameOfCommand } from './constants.ts';

/** Format one (bit 7 set): the lower six bits (TPM 2.0 Part 2 §6.6.3, `RC_FMT1`). */
const FORMAT_ONE: ReadonlyMap<number, readonly [name: string, what: string]> = new Map([
  [0x01, ['ASYMMETRIC', 'the asymmetric algorithm is not supported or not correct']],
  [0x02, ['ATTRIBUTES', 'inconsistent attributes']],
  [0x03, ['HASH', 'the hash algorithm is not supported or not appropriate']],
  [0x04, ['VALUE', 'the value is out of range or not correct for the context']],
  [0x05, ['HIERARCHY', 'the hierarchy is not enabled or not correct for the use']],
  [0x07, ['KEY_SIZE', 'the key size is not supported']],
  [0x08, ['MGF', 'the mask generation function is not supported']],
  [0x09, ['MODE', 'the mode of operation is not supported']],
  [0x0a, ['TYPE', 'the type of the value is not appropriate for the use']],
  [0x0b, ['HANDLE', 'the handle is not correct for the use']],
  [0x0c, ['KDF', 'the key derivation function is not supported']],
  [0x0d, ['RANGE', 'the value is out of the allowed range']],
  [0x0e, ['AUTH_FAIL', 'the authorisation failed, and the try was counted']],
  [0x0f, ['NONCE', 'the nonce is of a wrong size or value']],
  [0x10, ['PP', 'physical presence is required']],
  [0x12, ['SCHEME', 'the scheme is not supported or not compatible']],
  [0x15, ['SIZE', 'the structure is of a wrong size']],
  [0x16, ['SYMMETRIC', 'the symmetric algorithm or key size is not supported']],
  [0x17, ['TAG', 'the structure has a wrong tag']],
  [0x18, ['SELECTOR', 'the union selector is not correct']],
  [0x1a, ['INSUFFICIENT', 'there is too little data in a structure']],
  [0x1b, ['SIGNATURE', 'the signature is not valid']],
  [0x1c, ['KEY', 'the key fields are not compatible with the use']],
  [0x1d, ['POLICY_FAIL', 'a policy check failed']],
  [0x1f, ['INTEGRITY', 'the integrity check failed']],
  [0x20, ['TICKET', 'the ticket is not valid']],
  [0x21, ['RESERVED_BITS', 'reserved bits are not zero']],
  [0x22, ['BAD_AUTH', 'the authorisation failed, and the try is not counted']],
  [0x23, ['EXPIRED', 'the policy has expired']],
  [0x24, ['POLICY_CC', 'the policy is for another command']],
  [0x25, ['BINDING', 'the public and the sensitive half do not belong together']],
  [0x26, ['CURVE', 'the curve is not supported']],
  [0x27, ['ECC_POINT', 'the point is not on the curve']],
]);

/** Format zero, errors: 0x100 and the lower seven bits (`RC_VER1`). */
const ERRORS: ReadonlyMap<number, readonly [name: string, what: string]> = new Map([
  [0x100, ['INITIALIZE', 'the TPM was not started']],
  [0x101, ['FAILURE', 'the TPM is in failure mode']],
  [0x103, ['SEQUENCE', 'a sequence handle was used wrongly']],
  [0x10b, ['PRIVATE', 'a private structure is not valid']],
  [0x119, ['HMAC', 'an HMAC handle was used wrongly']],
  [0x120, ['DISABLED', 'the command is disabled']],
  [0x121, ['EXCLUSIVE', 'the audit sequence required exclusivity']],
  [0x124, ['AUTH_TYPE', 'the authorisation handle is not correct for the command']],
  [0x125, ['AUTH_MISSING', 'the command needs an authorisation session']],
  [0x126, ['POLICY', 'a policy failed in mathematics, or is incompatible']],
  [0x127, ['PCR', 'the PCR check failed']],
  [0x128, ['PCR_CHANGED', 'the PCRs have changed since they were checked']],
  [0x12d, ['UPGRADE', 'the TPM is being upgraded']],
  [0x12e, ['TOO_MANY_CONTEXTS', 'the context counter is at its maximum']],
  [0x12f, ['AUTH_UNAVAILABLE', 'the object takes no authValue for this, only its policy']],
  [0x130, ['REBOOT', 'the TPM must be restarted first']],
  [0x131, ['UNBALANCED', 'the protection algorithms are of different strength']],
  [0x142, ['COMMAND_SIZE', 'the command is of a wrong size']],
  [0x143, ['COMMAND_CODE', 'the command is not supported']],
  [0x144, ['AUTHSIZE', 'the authorisation area is of a wrong size']],
  [0x145, ['AUTH_CONTEXT', 'the command takes no authorisation session']],
  [0x146, ['NV_RANGE', 'the NV offset and size are out of range']],
  [0x147, ['NV_SIZE', 'the NV index is smaller than asked for']],
  [0x148, ['NV_LOCKED', 'the NV index is locked']],
  [0x149, ['NV_AUTHORIZATION', 'the NV index does not allow this authorisation']],
  [0x14a, ['NV_UNINITIALIZED', 'the NV index was never written']],
  [0x14b, ['NV_SPACE', 'there is no space in the memory of the TPM']],
  [0x14c, ['NV_DEFINED', 'the handle is in use already']],
  [0x150, ['BAD_CONTEXT', 'the saved context is not valid']],
  [0x151, ['CPHASH', 'the cpHash is set already, or wrong']],
  [0x152, ['PARENT', 'the handle of the parent is no valid parent']],
  [0x153, ['NEEDS_TEST', 'a function needs its self-test']],
  [0x154, ['NO_RESULT', 'a self-test did not complete']],
  [0x155, ['SENSITIVE', 'the sensitive area did not unmarshal']],
]);

/** Format zero, warnings: 0x900 and the lower seven bits (`RC_WARN`). */
const WARNINGS: ReadonlyMap<number, readonly [name: string, what: string]> = new Map([
  [0x901, ['CONTEXT_GAP', 'the gap for context ids is too large']],
  [0x902, ['OBJECT_MEMORY', 'no memory for another object']],
  [0x903, ['SESSION_MEMORY', 'no memory for another session']],
  [0x904, ['MEMORY', 'no memory']],
  [0x905, ['SESSION_HANDLES', 'no handle for another session']],
  [0x906, ['OBJECT_HANDLES', 'no handle for another object']],
  [0x907, ['LOCALITY', 'wrong locality']],
  [0x908, ['YIELDED', 'the TPM gave way to something else']],
  [0x909, ['CANCELED', 'the command was cancelled']],
  [0x90a, ['TESTING', 'the TPM is testing itself']],
  [0x920, ['NV_RATE', 'the TPM limits how often its memory is written']],
  [0x921, ['LOCKOUT', 'the TPM is in lockout after too many wrong authValues']],
  [0x922, ['RETRY', 'the TPM was not able to start the command']],
  [0x923, ['NV_UNAVAILABLE', 'the memory of the TPM cannot be reached']],
]);

/** Codes without their place: what callers compare with. */
export const RC = {
  INITIALIZE: 0x100,
  PCR_CHANGED: 0x128,
  AUTH_UNAVAILABLE: 0x12f,
  NV_DEFINED: 0x14c,
  OBJECT_MEMORY: 0x902,
  SESSION_MEMORY: 0x903,
  MEMORY: 0x904,
  SESSION_HANDLES: 0x905,
  OBJECT_HANDLES: 0x906,
  YIELDED: 0x908,
  TESTING: 0x90a,
  NV_RATE: 0x920,
  LOCKOUT: 0x921,
  RETRY: 0x922,
  ASYMMETRIC: 0x81,
  HASH: 0x83,
  VALUE: 0x84,
  KEY_SIZE: 0x87,
  TYPE: 0x8a,
  HANDLE: 0x8b,
  AUTH_FAIL: 0x8e,
  SCHEME: 0x92,
  POLICY_FAIL: 0x9d,
  INTEGRITY: 0x9f,
  BAD_AUTH: 0xa2,
  POLICY_CC: 0xa4,
  CURVE: 0xa6,
} as const;

/** Without the layer that added its own (bits 16 and up) and, in format one, without parameter, session or handle. */
const essenceOf = (code: number): number => (code & 0x80 ? code & 0xbf : code & 0xfff);

/** What a response code says: `session 1: the authorisation failed ... (TPM_RC_AUTH_FAIL, 0x98e)`. */
export function explain(code: number): string {
  const shown = `0x${code.toString(16)}`;
  if (code & 0x80) {
    const number = (code >> 8) & 0xf;
    const [name, what] = FORMAT_ONE.get(code & 0x3f) ?? ['unknown', 'a reason that is not known'];
    const place = placeOf(number, (code & 0x40) !== 0);
    return `${place}${what} (TPM_RC_${name}, ${shown})`;
  }
  if ((code & 0xfff) >= 0x910 && (code & 0xfff) <= 0x91e) {
    const isSession = (code & 0x8) !== 0;
    const which = `${isSession ? 'session' : 'handle'} ${(code & 0x7) + 1}`;
    return `${which} is not there any more (TPM_RC_REFERENCE_${isSession ? 'S' : 'H'}${code & 0x7}, ${shown})`;
  }
  const [name, what] = ERRORS.get(code & 0xfff) ??
    WARNINGS.get(code & 0xfff) ?? ['unknown', 'a reason that is not known'];
  return `${what} (${code & 0x400 ? 'vendor' : `TPM_RC_${name}`}, ${shown})`;
}

/** Part 2 §6.6.2: bit 6 says parameter; else bit 11 tells a session from a handle. */
function placeOf(number: number, isParameter: boolean): string {
  if (isParameter) return `parameter ${number}: `;
  if (number === 0) return '';
  return number & 0x8 ? `session ${number & 0x7}: ` : `handle ${number}: `;
}

/** A response code that is no success. */
export class TpmError extends HoldfastError {
  /** As it came. */
  readonly responseCode: number;

  constructor(command: number, responseCode: number) {
    super('ERR_TOKEN_FAILED', `the TPM refused ${nameOfCommand(command)}: ${explain(responseCode)}`, {
      hint: HINTS.get(essenceOf(responseCode)),
    });
    this.responseCode = responseCode;
  }
}

const HINTS: ReadonlyMap<number, string> = new Map([
  [0x101, 'restart the machine; for swtpm: its state directory must be there and be writable'],
  [0x130, 'restart the machine'],
  [RC.OBJECT_MEMORY, 'other programs left keys loaded: tpm2_flushcontext -t, or use /dev/tpmrm0'],
  [RC.SESSION_MEMORY, 'other programs left sessions: tpm2_flushcontext -l, or use /dev/tpmrm0'],
]);

/** Whether something thrown is one of these response codes. */
export const isResponse = (thrown: unknown, ...codes: readonly number[]): thrown is TpmError =>
  thrown instanceof TpmError && codes.includes(essenceOf(thrown.responseCode));

/** What was loaded is not there any more: the TPM was reset, or somebody flushed it. */
export const isGone = (thrown: unknown): boolean =>
  thrown instanceof TpmError &&
  ((thrown.responseCode & 0xfe0) === 0x900 ? (thrown.responseCode & 0x10) !== 0 : isResponse(thrown, RC.INITIALIZE));
