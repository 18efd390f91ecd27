import { ServiceError } from './errors.ts';
import type { HttpAnswer } from './http.ts';

/** Seconds that the answer's `Date` may differ from the local clock before holdfast speaks of it. */
const SKEW_NOTICED = 60;

/** What a refusal means, the likeliest cause first. Texts as seen on the service. */
const HINTS: readonly (readonly [text: RegExp, hint: string])[] = [
  [/^Invalid signature/i, 'check the clock; then that nothing between here and the service changes requests'],
  [
    /^Untrusted signing certificate/i,
    'give the intermediates (--intermediates) that lead from the certificate to this trust anchor, or name the right anchor',
  ],
  [
    /Insufficient certificate/i,
    'have the certificate issued again with key usage digitalSignature and CA:FALSE, as version 3',
  ],
  [/^Certificate revoked/i, 'the certificate is on a revocation list of the trust anchor: get a new one'],
  [/Trust Anchor wasn.t found/i, 'check the trust anchor ARN, its region and account'],
  [/Trust Anchor is disabled/i, 'enable the trust anchor'],
  [/Invalid or empty profile/i, 'check the profile ARN, its region and account'],
  [/isn.t one of those listed in the Profile/i, 'add the role to the profile, or name a role that it lists'],
  [/Not authorized to set roleSessionName/i, 'leave out the role session name, or let the profile accept one'],
  [/exceeds the MaxSessionDuration/i, "ask for a shorter session, or raise the role's maximum session duration"],
  [/failed to be mapped into session tags/i, 'delete the attribute mapping of the profile that yields the named value'],
  [
    /^Unable to assume role/i,
    'check the trust policy of the role: principal rolesanywhere.amazonaws.com, the actions AssumeRole, TagSession and SetSourceIdentity, and its conditions',
  ],
];

/** An answer that is not 2xx, in words: restJson1's error envelope, or whatever came instead. */
export function refusal(answer: HttpAnswer, host: string, now: Date): ServiceError {
  const { status, headers } = answer;
  const envelope = readEnvelope(answer.body);
  const awsCode = (headers['x-amzn-errortype'] ?? envelope.code)?.replace(/^.*#/, '').replace(/:.*$/, '');
  const requestId = headers['x-amzn-requestid'];
  const text = envelope.message ?? (envelope.json ? '' : describe(answer));
  const parts = [awsCode, text].filter(Boolean).join(': ');
  const message = `${host} answered ${status}${parts && ` ${parts}`}${requestId ? ` (request ${requestId})` : ''}`;
  const details = { status, awsCode, requestId };
  if (status === 429 || /throttl|too ?many/i.test(awsCode ?? '')) {
    return new ServiceError('ERR_SERVICE_THROTTLED', message, {
      ...details,
      hint: 'call less often: share one provider',
    });
  }
  if (status >= 500) {
    return new ServiceError('ERR_SERVICE_FAILED', message, { ...details, hint: 'try again later' });
  }
  if (!envelope.json) {
    const hint = 'check the endpoint and any proxy between: this is not how Roles Anywhere answers';
    return new ServiceError('ERR_SERVICE_ANSWER_INVALID', message, { ...details, hint });
  }
  const hint = HINTS.find(([pattern]) => pattern.test(envelope.message ?? ''))?.[1] ?? 'correct what the service names';
  const clock = /^Invalid signature/i.test(envelope.message ?? '') ? `${clockHint(answer, now)}; ` : '';
  return new ServiceError('ERR_SERVICE_REFUSED', message, { ...details, hint: `${clock}${hint}` });
}

function readEnvelope(body: string): { json: boolean; message?: string; code?: string } {
  try {
    const value: unknown = JSON.parse(body);
    if (typeof value !== 'object' || value === null) return { json: false };
    const { message, Message, code, __type } = value as Record<string, unknown>;
    const text = [message, Message].find((one) => typeof one === 'string') as string | undefined;
    const name = [code, __type].find((one) => typeof one === 'string') as string | undefined;
    return {
      json: true,
      ...(text !== undefined && { message: plain(text) }),
      ...(name !== undefined && { code: plain(name) }),
    };
  } catch {
    return { json: false };
  }
}

/** Text of a server, fit for one line on a terminal. */
const plain = (text: string): string =>
  text
    .replace(/[\p{Cc}\p{Cf}\s]+/gu, ' ')
    .trim()
    .slice(0, 500);

/** What came instead of JSON, without repeating it. */
export function describe({ headers, body }: HttpAnswer): string {
  if (body === '') return 'with an empty body';
  const type = headers['content-type']?.split(';')[0];
  return /^\s*<(!doctype|html)/i.test(body)
    ? 'with an HTML page'
    : `with ${body.length} characters${type ? ` of ${plain(type)}` : ''}`;
}

/** Milliseconds by which the server's clock is ahead of ours; undefined when the answer has no readable `Date`. */
export function clockSkew({ headers }: HttpAnswer, now: Date): number | undefined {
  const theirs = Date.parse(headers.date ?? '');
  return Number.isNaN(theirs) ? undefined : theirs - now.getTime();
}

function clockHint(answer: HttpAnswer, now: Date): string {
  const skew = clockSkew(answer, now);
  if (skew === undefined) return 'the answer has no date to compare the clock with';
  const seconds = Math.round(Math.abs(skew) / 1000);
  if (seconds < SKEW_NOTICED) return `the clock is right (within ${seconds} s of the service)`;
  return `the clock of this machine is ${seconds} s ${skew > 0 ? 'behind' : 'ahead of'} the service: set it`;
}
