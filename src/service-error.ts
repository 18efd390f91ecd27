import { clockHint, clockSkew, describe, NOT_THE_SERVICE, plain, requestIdOf } from './answer.ts';
import { type ErrorCode, ServiceError } from './errors.ts';
import type { HttpAnswer } from './http.ts';

/** What a refusal means, the likeliest cause first. Texts as seen on the service; the cause is often less than they say. */
const HINTS: readonly (readonly [text: RegExp, hint: string])[] = [
  [
    /^Untrusted signing certificate/i,
    'name the trust anchor whose CA issued the certificate, or give the intermediates that lead up to it (--intermediates)',
  ],
  [
    /Insufficient certificate/i,
    'have the certificate issued again with key usage digitalSignature, as version 3, with CA:FALSE, by the CA of this trust anchor',
  ],
  [/^Certificate revoked/i, 'the certificate is on a revocation list of the trust anchor: get a new one'],
  [/Trust Anchor wasn.t found/i, 'check the trust anchor ARN, its region and account'],
  [/Trust Anchor is disabled/i, 'enable the trust anchor'],
  [/Invalid or empty profile/i, 'check the profile ARN, its region and account'],
  [/Profile is disabled/i, 'enable the profile'],
  [/isn.t one of those listed in the Profile/i, 'add the role to the profile, or name a role that it lists'],
  [/Not authorized to set roleSessionName/i, 'leave out the role session name, or let the profile accept one'],
  [/exceeds the MaxSessionDuration/i, "ask for a shorter session, or raise the role's maximum session duration"],
  [
    /failed to be mapped into session tags/i,
    'delete the attribute mapping of the profile that yields the named value, then check the trust policy of the role',
  ],
  [
    /^Unable to assume role/i,
    'check the trust policy of the role: principal rolesanywhere.amazonaws.com, the actions AssumeRole, TagSession and SetSourceIdentity, then its conditions; then check that the role exists',
  ],
  [/at 'durationSeconds' failed/i, 'ask for a session inside the bounds that the service names (--session-duration)'],
  [/at 'roleSessionName' failed/i, 'choose a role session name that the service takes'],
  [/at '\w+Arn' failed/i, 'copy the ARN once more'],
  // Of the operations that make a trust anchor.
  [/Incorrect basic constraints/i, 'give the certificate of a CA: one with CA:TRUE'],
  [/AWS PCA did not allow/i, 'check the ARN of the private CA, that it is active, and that Roles Anywhere may read it'],
];

/** An answer that is not 2xx, in words: restJson1's error envelope, or whatever came instead. */
export function refusal(answer: HttpAnswer, host: string, now: Date): ServiceError {
  const { status, headers } = answer;
  const envelope = readEnvelope(answer.body);
  const awsCode = nameOf(headers['x-amzn-errortype'] ?? envelope.code);
  const requestId = requestIdOf(answer);
  const known = awsCode !== undefined || envelope.message !== undefined;
  const parts = [awsCode, envelope.message ?? (known ? '' : describe(answer))].filter(Boolean).join(': ');
  const message = `${host} answered ${status}${parts && ` ${parts}`}${requestId ? ` (request ${requestId})` : ''}`;
  const error = (code: ErrorCode, hint: string): ServiceError =>
    new ServiceError(code, message, { status, awsCode, requestId, hint });

  if (status === 429 || /throttl|too ?many/i.test(awsCode ?? '')) {
    return error('ERR_SERVICE_THROTTLED', 'call less often: share one provider');
  }
  if (status >= 500) return error('ERR_SERVICE_FAILED', 'try again later');
  if (!known) return error('ERR_SERVICE_ANSWER_INVALID', wantsTls(answer) ? WITH_TLS : NOT_THE_SERVICE);
  const hint = isSignatureRefused(answer)
    ? signatureHint(answer, now)
    : HINTS.find(([pattern]) => pattern.test(envelope.message ?? ''))?.[1];
  return error('ERR_SERVICE_REFUSED', hint ?? 'correct what the service names');
}

/** As Go, nginx and Apache answer to plain HTTP where they expect TLS. */
const wantsTls = ({ status, body }: HttpAnswer): boolean =>
  status === 400 && /HTTP request .*to an? HTTPS server|plain HTTP .*(HTTPS|SSL-enabled server) port/i.test(body);

const WITH_TLS = 'begin the endpoint with https://: TLS is spoken at that port';

/** Did the service refuse the signature? A wrong clock looks the same to it as a wrong key. */
export const isSignatureRefused = ({ status, body }: HttpAnswer): boolean =>
  status === 403 && /^Invalid signature/i.test(readEnvelope(body).message ?? '');

/** restJson1: what stands behind `#` and before `:`. */
const nameOf = (code: string | undefined): string | undefined =>
  (code && plain(code.split('#').at(-1)?.split(':')[0] ?? '')) || undefined;

function readEnvelope(body: string): { message?: string; code?: string } {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    return {};
  }
  const { message, Message, code, __type } = (value ?? {}) as Record<string, unknown>;
  const text = [message, Message].find((one) => typeof one === 'string');
  const name = [code, __type].find((one) => typeof one === 'string');
  return { ...(text !== undefined && { message: plain(text) }), ...(name !== undefined && { code: name }) };
}

/** Seconds: a `Date` is cut off, so that the server's clock is up to a second ahead of it (RFC 9110 §5.6.7). */
const withinOf = (skew: number): number => Math.ceil(Math.max(Math.abs(skew), Math.abs(skew + 1000)) / 1000);

/** Every signature was verified before it left, so the key is right: it is the clock, else something on the way. */
function signatureHint(answer: HttpAnswer, now: Date): string {
  const skew = clockSkew(answer, now);
  const clock =
    skew === undefined
      ? 'check the clock of this machine'
      : (clockHint(answer, now) ?? `the clock is right: it agrees with the service's to within ${withinOf(skew)} s`);
  return `${clock}; then check that the endpoint is of the trust anchor's region and that no proxy changes requests`;
}
