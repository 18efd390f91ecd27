import type { LocalOptions } from './options.ts';
import { type LocalRolesAnywhere, startServer } from './server.ts';

export type { LocalOptions } from './options.ts';
export type { LocalRolesAnywhere, LoggedRequest } from './server.ts';
export type { Answer, WireRequest } from './wire.ts';
export type { LocalIssueOptions } from './world.ts';

/**
 * Start a Roles Anywhere on 127.0.0.1 that really verifies: a throw-away CA, trust anchor, profile and role,
 * `POST /sessions` with the service's own answers and refusals, and an STS that knows the credentials it vended.
 *
 * @throws {HoldfastError} `ERR_OPTION_INVALID` when the port is taken; `ERR_ARN_INVALID`, `ERR_ARN_MISMATCH`,
 *   `ERR_CERTIFICATE_INVALID` for ARNs and anchors that do not fit
 */
export const startLocalRolesAnywhere = (options: LocalOptions = {}): Promise<LocalRolesAnywhere> =>
  startServer(options);
