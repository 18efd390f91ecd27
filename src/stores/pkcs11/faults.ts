import { type ErrorCode, HoldfastError, messageOf } from '../../errors.ts';

/** Return values (PKCS#11 v2.40 §5.1, v3.0 where v2.40 ends): number, name without `CKR_`, what it means to the user. */
const RETURN_VALUES: readonly (readonly [number, string, string])[] = [
  [0x02, 'HOST_MEMORY', 'the module ran out of memory'],
  [0x03, 'SLOT_ID_INVALID', 'its slot is gone'],
  [0x05, 'GENERAL_ERROR', 'the module gave no reason'],
  [0x06, 'FUNCTION_FAILED', 'the module gave no reason'],
  [0x07, 'ARGUMENTS_BAD', 'the module was called wrongly, or needs configuration'],
  [0x10, 'ATTRIBUTE_READ_ONLY', 'an attribute cannot be set'],
  [0x11, 'ATTRIBUTE_SENSITIVE', 'an attribute is kept secret'],
  [0x12, 'ATTRIBUTE_TYPE_INVALID', 'the token does not know an attribute'],
  [0x13, 'ATTRIBUTE_VALUE_INVALID', 'the token refuses the value of an attribute'],
  [0x1b, 'ACTION_PROHIBITED', 'the token does not allow it'],
  [0x20, 'DATA_INVALID', 'the token refuses the data'],
  [0x21, 'DATA_LEN_RANGE', 'the token refuses data of this length'],
  [0x30, 'DEVICE_ERROR', 'the device does not answer as it should'],
  [0x31, 'DEVICE_MEMORY', 'the device is full'],
  [0x32, 'DEVICE_REMOVED', 'the device was removed'],
  [0x50, 'FUNCTION_CANCELED', 'it was cancelled on the device'],
  [0x54, 'FUNCTION_NOT_SUPPORTED', 'the module cannot do this'],
  [0x60, 'KEY_HANDLE_INVALID', 'the key is gone'],
  [0x62, 'KEY_SIZE_RANGE', 'the token does not take keys of this size'],
  [0x63, 'KEY_TYPE_INCONSISTENT', 'the key is not of the type for this'],
  [0x68, 'KEY_FUNCTION_NOT_PERMITTED', 'the key is not allowed to do this'],
  [0x70, 'MECHANISM_INVALID', 'the token does not know the mechanism'],
  [0x71, 'MECHANISM_PARAM_INVALID', 'the token refuses the parameters of the mechanism'],
  [0x82, 'OBJECT_HANDLE_INVALID', 'the key is gone, or somebody logged out'],
  [0x90, 'OPERATION_ACTIVE', 'another operation is under way'],
  [0x91, 'OPERATION_NOT_INITIALIZED', 'the operation has ended already'],
  [0xa0, 'PIN_INCORRECT', 'the PIN is wrong'],
  [0xa1, 'PIN_INVALID', 'the PIN has a character that the token does not allow'],
  [0xa2, 'PIN_LEN_RANGE', 'the PIN is too short or too long'],
  [0xa3, 'PIN_EXPIRED', 'the PIN must be changed first'],
  [0xa4, 'PIN_LOCKED', 'the PIN is locked'],
  [0xb0, 'SESSION_CLOSED', 'the PKCS#11 session was closed'],
  [0xb1, 'SESSION_COUNT', 'the token has no PKCS#11 session left'],
  [0xb3, 'SESSION_HANDLE_INVALID', 'the PKCS#11 session was closed'],
  [0xb5, 'SESSION_READ_ONLY', 'the PKCS#11 session is read-only'],
  [0xd0, 'TEMPLATE_INCOMPLETE', 'the token wants more attributes'],
  [0xd1, 'TEMPLATE_INCONSISTENT', 'the token refuses this set of attributes'],
  [0xe0, 'TOKEN_NOT_PRESENT', 'the token was removed'],
  [0xe1, 'TOKEN_NOT_RECOGNIZED', 'the token was not recognised'],
  [0xe2, 'TOKEN_WRITE_PROTECTED', 'the token is write-protected'],
  [0x100, 'USER_ALREADY_LOGGED_IN', 'somebody is logged in already'],
  [0x101, 'USER_NOT_LOGGED_IN', 'nobody is logged in'],
  [0x102, 'USER_PIN_NOT_INITIALIZED', 'no user PIN was ever set'],
  [0x103, 'USER_TYPE_INVALID', 'the token does not know this kind of login'],
  [0x104, 'USER_ANOTHER_ALREADY_LOGGED_IN', 'somebody else is logged in, the security officer perhaps'],
  [0x105, 'USER_TOO_MANY_TYPES', 'too many users are logged in'],
  [0x150, 'BUFFER_TOO_SMALL', 'the signature is longer than expected'],
  [0x190, 'CRYPTOKI_NOT_INITIALIZED', 'somebody else in this process finalised the module'],
  [0x191, 'CRYPTOKI_ALREADY_INITIALIZED', 'somebody else in this process initialised the module'],
  [0x200, 'FUNCTION_REJECTED', 'it was refused on the device'],
  [0x201, 'TOKEN_RESOURCE_EXCEEDED', 'the token has not enough resources left'],
  [0x202, 'OPERATION_CANCEL_FAILED', 'the operation cannot be cancelled'],
];

function known(code: number): { readonly name: string; readonly words: string } | undefined {
  const [, name, words] = RETURN_VALUES.find(([value]) => value === code) ?? [];
  return name === undefined || words === undefined ? undefined : { name: `CKR_${name}`, words };
}

/**
 * The return value behind anything the driver threw. Decided by number: the driver's text reads CKR_VENDOR_DEFINED for
 * every value it does not know, and C_FindObjects throws a bare error with the number in its text.
 */
export function returnValueOf(thrown: unknown): number | undefined {
  const code = (thrown as { code?: unknown } | null | undefined)?.code;
  if (typeof code === 'number' && code > 0) return code;
  const inText = /CKR_\w+:(\d+)/.exec(String((thrown as { message?: unknown } | null | undefined)?.message));
  return inText ? Number(inText[1]) : undefined;
}

/** The return value behind an error of ours as well, however often it was told again. */
export function valueBehind(thrown: unknown): number | undefined {
  let cause = thrown;
  while (cause instanceof HoldfastError) ({ cause } = cause);
  return returnValueOf(cause);
}

/** `the device was removed (CKR_DEVICE_REMOVED)`. */
function inWords(thrown: unknown): string {
  const code = returnValueOf(thrown);
  if (code === undefined) return messageOf(thrown);
  const { name: ours, words } = known(code) ?? {};
  if (ours !== undefined) return `${words} (${ours})`;
  const name = code >= 0x80000000 ? 'CKR_VENDOR_DEFINED' : 'CKR';
  return `the module has its own reason (${name} 0x${code.toString(16)})`;
}

const LOOK = 'see whether pkcs11-tool, or what came with the token, can use it (native-notes/pkcs11.md)';

/**
 * A failure of the token in the user's words. An error that is ours already passes through.
 *
 * @param failed what did not work, such as `key "web" on token "prod" did not sign`
 */
export function fault(code: ErrorCode, failed: string, thrown: unknown, hint: string = LOOK): HoldfastError {
  if (thrown instanceof HoldfastError) return thrown;
  return new HoldfastError(code, `${failed}: ${inWords(thrown)}`, { cause: thrown, hint });
}

/** `CKR_PIN_INCORRECT`, for a message that has its own words. */
export function nameOf(thrown: unknown): string {
  const code = typeof thrown === 'number' ? thrown : (returnValueOf(thrown) ?? 0);
  return known(code)?.name ?? `CKR 0x${code.toString(16)}`;
}

/** Run calls of the module; what they throw comes out as `fault`. */
export function guarded<T>(code: ErrorCode, failed: string, call: () => T): T {
  try {
    return call();
  } catch (thrown) {
    throw fault(code, failed, thrown);
  }
}
