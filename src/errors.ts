/**
 * Every way holdfast can fail: the code, the exit status the CLI ends with, and who must act.
 * The codes are stable: new ones may come in a minor version, none changes its meaning.
 * `docs/errors.md` has a section for each.
 */
export const ERROR_CODES = {
  // 1: a bug in holdfast
  ERR_INTERNAL: { exit: 1, act: 'report it' },

  // 2: usage or configuration
  ERR_USAGE: { exit: 2, act: 'correct the command line' },
  ERR_FLAG_MISSING: { exit: 2, act: 'add the flag' },
  ERR_FLAG_CONFLICT: { exit: 2, act: 'drop one of the flags' },
  ERR_LINE_CONTINUATION: { exit: 2, act: 'put the command on one line' },
  ERR_OPTION_INVALID: { exit: 2, act: 'correct the value' },
  ERR_CONFIG_INVALID: { exit: 2, act: 'correct the config file' },
  ERR_ARN_INVALID: { exit: 2, act: 'correct the ARN' },
  ERR_ARN_MISMATCH: { exit: 2, act: 'use ARNs that belong together' },
  ERR_ENDPOINT_INVALID: { exit: 2, act: 'correct the endpoint' },
  ERR_URI_INVALID: { exit: 2, act: 'correct the key URI' },
  ERR_STORE_UNKNOWN: { exit: 2, act: 'use a store that exists' },
  ERR_STORE_INCAPABLE: { exit: 2, act: 'use another store for this' },

  // 3: store, driver or key
  ERR_DRIVER_NOT_INSTALLED: { exit: 3, act: 'install the optional package' },
  ERR_DRIVER_NOT_BUILT: { exit: 3, act: 'allow and run its install script' },
  ERR_MODULE_NOT_FOUND: { exit: 3, act: 'name the PKCS#11 module' },
  ERR_MODULE_AMBIGUOUS: { exit: 3, act: 'name one PKCS#11 module' },
  ERR_MODULE_FAILED: { exit: 3, act: 'mend the PKCS#11 module or its configuration' },
  ERR_STORE_CRASHED: { exit: 3, act: 'open the key again' },
  ERR_CHILD_MISSING: { exit: 3, act: "give childPath, or use isolation: 'in-place'" },
  ERR_TOKEN_NOT_FOUND: { exit: 3, act: 'plug in or name the token' },
  ERR_TOKEN_AMBIGUOUS: { exit: 3, act: 'name one token' },
  ERR_TOKEN_FAILED: { exit: 3, act: 'look after the token' },
  ERR_TOKEN_RESTING: { exit: 3, act: 'look after the token, which is tried again by itself' },
  ERR_FILE_NOT_FOUND: { exit: 3, act: 'correct the path' },
  ERR_FILE_UNREADABLE: { exit: 3, act: 'make the file readable' },
  ERR_FILE_UNWRITABLE: { exit: 3, act: 'make the place writable' },
  ERR_FILE_TOO_LARGE: { exit: 3, act: 'name the right file' },
  ERR_KEY_NOT_FOUND: { exit: 3, act: 'name a key that exists' },
  ERR_KEY_AMBIGUOUS: { exit: 3, act: 'name one key' },
  ERR_KEY_EXISTS: { exit: 3, act: 'choose another name' },
  ERR_KEY_INVALID: { exit: 3, act: 'mend or replace the key file' },
  ERR_KEY_UNSUPPORTED: { exit: 3, act: 'use an RSA or ECDSA key' },
  ERR_KEY_POLICY: { exit: 3, act: 'bring the TPM into the state that the key was made for' },
  ERR_KEY_EXPOSED: { exit: 3, act: 'tighten the permissions of the key file' },
  ERR_KEY_CLOSED: { exit: 3, act: 'open the key again' },

  // 4: a secret missing, refused or locked
  ERR_SECRET_REQUIRED: { exit: 4, act: 'give the PIN or passphrase' },
  ERR_SECRET_UNREADABLE: { exit: 4, act: 'mend the source of the secret' },
  ERR_SECRET_WRONG: { exit: 4, act: 'give the right PIN or passphrase' },
  ERR_SECRET_LAST_TRY: { exit: 4, act: 'enter the PIN yourself' },
  ERR_SECRET_LOCKED: { exit: 4, act: 'unblock the token' },

  // 5: certificate
  ERR_CERTIFICATE_REQUIRED: { exit: 5, act: 'give the certificate of the key' },
  ERR_CERTIFICATE_INVALID: { exit: 5, act: 'mend or replace the certificate' },
  ERR_CERTIFICATE_AMBIGUOUS: { exit: 5, act: 'name one certificate' },
  ERR_CERTIFICATE_EXPIRED: { exit: 5, act: 'renew the certificate' },
  ERR_CERTIFICATE_NOT_YET_VALID: { exit: 5, act: 'wait, or set the clock' },
  ERR_CERTIFICATE_UNSUITABLE: { exit: 5, act: 'have an end-entity certificate issued' },
  ERR_CERTIFICATE_MISMATCH: { exit: 5, act: 'use the certificate of this key' },

  // 6: the key would not sign
  ERR_SIGNING_FAILED: { exit: 6, act: 'look after the token or key' },
  ERR_SIGNING_TIMEOUT: { exit: 6, act: 'touch the device, or give more time' },

  // 7: the service refused
  ERR_SERVICE_REFUSED: { exit: 7, act: 'correct what the service names' },
  ERR_SERVICE_THROTTLED: { exit: 7, act: 'call less often' },
  ERR_SERVICE_FAILED: { exit: 7, act: 'try again later' },
  ERR_SERVICE_ANSWER_INVALID: { exit: 7, act: 'check the endpoint' },
  ERR_ROLE_MISMATCH: { exit: 7, act: 'check the endpoint' },

  // 8: the service was not reached
  ERR_SERVICE_UNREACHABLE: { exit: 8, act: 'check the network' },
  ERR_SERVICE_TIMEOUT: { exit: 8, act: 'check the network' },
  ERR_SERVICE_UNTRUSTED: { exit: 8, act: 'trust the right certificate authority' },
  ERR_PROXY_REFUSED: { exit: 8, act: 'give the proxy what it asks for' },

  // 130: interrupted
  ERR_INTERRUPTED: { exit: 130, act: 'nothing: it was asked for' },
} as const;

export type ErrorCode = keyof typeof ERROR_CODES;

export interface ErrorDetails {
  /** What to do next, in the imperative. The CLI prints it as `hint:`. */
  hint?: string | undefined;
  cause?: unknown;
}

/** Any failure of holdfast: `code` for programs, `message` and `hint` for people. Neither ever holds a secret. */
export class HoldfastError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  /** AWS SDK credential chains read this: a broken token must not fall through to other credentials. */
  readonly tryNextLink: false = false;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.code = code;
    this.hint = details.hint;
  }
}

/** A PIN or passphrase was missing, refused, or is locked out (`ERR_SECRET_*`). */
export class SecretError extends HoldfastError {
  /** Tries left before the token locks; undefined when the store cannot tell. */
  readonly triesLeft: number | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails & { triesLeft?: number | undefined } = {}) {
    super(code, message, details);
    this.triesLeft = details.triesLeft;
  }
}

export interface ServiceDetails extends ErrorDetails {
  status?: number | undefined;
  awsCode?: string | undefined;
  requestId?: string | undefined;
}

/** Roles Anywhere refused, gave an unusable answer, or was not reached (`ERR_SERVICE_*`, `ERR_PROXY_*`, `ERR_ROLE_MISMATCH`). */
export class ServiceError extends HoldfastError {
  /** HTTP status; undefined when no answer came. */
  readonly status: number | undefined;
  /** The service's own code, such as `AccessDeniedException`. */
  readonly awsCode: string | undefined;
  readonly requestId: string | undefined;

  constructor(code: ErrorCode, message: string, details: ServiceDetails = {}) {
    super(code, message, details);
    this.status = details.status;
    this.awsCode = details.awsCode;
    this.requestId = details.requestId;
  }
}

/** The message of anything thrown, for use inside another message. */
export const messageOf = (thrown: unknown): string => (thrown instanceof Error ? thrown.message : String(thrown));

/** The system error code (`ENOENT`, `EACCES`, ...) of anything thrown, when it has one. */
export const systemCodeOf = (thrown: unknown): string | undefined => {
  const code = (thrown as { code?: unknown } | null | undefined)?.code;
  return typeof code === 'string' ? code : undefined;
};
