/** A request that the service turns down, in the service's own words. */
export class Refusal extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export const denied = (message: string): Refusal => new Refusal(403, 'AccessDeniedException', message);

/** The style of the service's own validation errors. */
export const invalidMember = (member: string, value: string | undefined, constraint: string): Refusal => {
  const shown = value === undefined ? 'null' : `'${value}'`;
  const text = `1 validation error detected: Value ${shown} at '${member}' failed to satisfy constraint: ${constraint}`;
  return new Refusal(400, 'ValidationException', text);
};

export const malformed = (message: string): Refusal => new Refusal(400, 'ValidationException', message);

// Texts seen on the service; the cause is often less than the words say.
export const INSUFFICIENT_CERTIFICATE = 'Untrusted certificate. Insufficient certificate';
export const UNTRUSTED_CERTIFICATE = 'Untrusted signing certificate';
export const INVALID_SIGNATURE = 'Invalid signature';
