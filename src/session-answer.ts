import { clockHint, describe, NOT_THE_SERVICE, requestIdOf } from './answer.ts';
import { type ServiceDetails, ServiceError } from './errors.ts';
import type { HttpAnswer } from './http.ts';

/** Temporary AWS credentials in the AWS SDK's own shape, and where they came from. */
export interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken: string;
  readonly expiration: Date;
  /** 12 digits, that of the role. */
  readonly accountId: string;
}

/** What was asked of whom. */
interface Asked {
  readonly url: URL;
  /** 12 digits. */
  readonly account: string;
  readonly roleArn: string;
}

/**
 * The credentials in a 2xx answer.
 *
 * @param now the time by the service's clock
 * @throws {ServiceError} `ERR_SERVICE_ANSWER_INVALID`, `ERR_ROLE_MISMATCH`
 */
export function readSession(answer: HttpAnswer, { url, account, roleArn }: Asked, now: Date): Credentials {
  const details = (): ServiceDetails => ({ status: answer.status, requestId: requestIdOf(answer) });
  const unusable = (what: string, hint = NOT_THE_SERVICE): never => {
    const message = `${url.host} answered ${answer.status} ${what}`;
    throw new ServiceError('ERR_SERVICE_ANSWER_INVALID', message, { ...details(), hint });
  };
  const [granted] = credentialSet(answer.body) ?? unusable(describe(answer));
  if (!granted?.credentials) return unusable('with an empty credential set');
  const assumed = /^arn:[^:]*:sts::(\d{12}):assumed-role\/([^/]+)\//.exec(String(granted.assumedRoleUser?.arn));
  const isAsked =
    (granted.roleArn === undefined || granted.roleArn === roleArn) &&
    (!assumed || (assumed[1] === account && assumed[2] === roleArn.split('/').at(-1)));
  if (!isAsked) {
    const message = `${url.host} returned credentials of another role than was asked`;
    const hint = 'do not use this endpoint: it is not the Roles Anywhere you asked';
    throw new ServiceError('ERR_ROLE_MISMATCH', message, { ...details(), hint });
  }
  if (!assumed && granted.roleArn === undefined) return unusable('without the role that the credentials are for');
  const { accessKeyId, secretAccessKey, sessionToken, expiration } = granted.credentials;
  const expires = new Date(isText(expiration) && RFC_3339.test(expiration) ? expiration : Number.NaN);
  if (!isText(accessKeyId) || !isText(secretAccessKey) || !isText(sessionToken) || Number.isNaN(expires.getTime())) {
    return unusable('with incomplete credentials');
  }
  // Each call for them would ask for new ones, and each time the key would sign.
  if (expires <= now) {
    return unusable(`with credentials that expired at ${expires.toISOString()}`, clockHint(answer, now));
  }
  return { accessKeyId, secretAccessKey, sessionToken, expiration: expires, accountId: account };
}

interface Granted {
  readonly credentials?: Record<'accessKeyId' | 'secretAccessKey' | 'sessionToken' | 'expiration', unknown>;
  readonly roleArn?: unknown;
  readonly assumedRoleUser?: { readonly arn?: unknown };
}

/** The answer's credential set; empty when it has none, undefined when the answer is no JSON. */
function credentialSet(body: string): readonly (Granted | null)[] | undefined {
  try {
    const set: unknown = (JSON.parse(body) as { credentialSet?: unknown } | null)?.credentialSet;
    return Array.isArray(set) ? set : [];
  } catch {
    return undefined;
  }
}

const RFC_3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/;

const isText = (value: unknown): value is string => typeof value === 'string' && value !== '';
