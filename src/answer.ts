import type { HttpAnswer } from './http.ts';

/** Seconds that the answer's `Date` may differ from the local clock before holdfast speaks of it. */
const SKEW_NOTICED = 60;

/** For an answer that Roles Anywhere cannot have given. */
export const NOT_THE_SERVICE = 'check the endpoint and any proxy between: this is not how Roles Anywhere answers';

export const requestIdOf = ({ headers }: HttpAnswer): string | undefined =>
  headers['x-amzn-requestid'] && plain(headers['x-amzn-requestid']);

/** Text of a server, fit for one line on a terminal. */
export const plain = (text: string): string =>
  text
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ')
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

/** What to do about our clock; undefined when it is right, or the answer has nothing to compare it with. */
export function clockHint(answer: HttpAnswer, now: Date): string | undefined {
  const skew = clockSkew(answer, now) ?? 0;
  const seconds = Math.round(Math.abs(skew) / 1000);
  if (seconds < SKEW_NOTICED) return undefined;
  return `set the clock of this machine: it is ${seconds} s ${skew > 0 ? 'behind' : 'ahead of'} the service`;
}
