import { createHmac, randomUUID, timingSafeEqual } from 'node:crypto';
import { readAuthorization, readDate, stringToSign } from './canonical.ts';
import type { Spoken } from './session.ts';
import { headerOf, type WireRequest } from './wire.ts';
import type { Session, World } from './world.ts';

// GetCallerIdentity of STS, by the Query protocol: the proof that vended credentials are good for something.

const NAMESPACE = 'https://sts.amazonaws.com/doc/2011-06-15/';
/** How far the date of an ordinary SigV4 request may be off, milliseconds. */
const CLOCK_WINDOW = 900_000;

const TEXTS = {
  MissingAuthenticationToken: 'Request is missing Authentication Token',
  IncompleteSignature: 'The request signature does not conform to AWS standards',
  InvalidClientTokenId: 'The security token included in the request is invalid.',
  ExpiredToken: 'The security token included in the request is expired',
  SignatureDoesNotMatch:
    'The request signature we calculated does not match the signature you provided. ' +
    'Check your AWS Secret Access Key and signing method. Consult the service documentation for details.',
  InvalidAction: 'Could not find the operation that was asked for',
};

/** Answer a `POST /`: only to somebody who signed with a secret that was vended here and has not expired. */
export function getCallerIdentity(request: WireRequest, world: World): Spoken {
  if (headerOf(request, 'authorization') === undefined) return refuse(403, 'MissingAuthenticationToken');
  const authorization = readAuthorization(request);
  const date = readDate(request);
  if (!authorization || !date) return refuse(400, 'IncompleteSignature');
  const session = world.sessions.get(authorization.id);
  if (!session || headerOf(request, 'x-amz-security-token') !== session.sessionToken) {
    return refuse(403, 'InvalidClientTokenId');
  }
  if (world.now() >= session.expiration) return refuse(403, 'ExpiredToken');
  const isInTime = Math.abs(date.getTime() - world.now().getTime()) <= CLOCK_WINDOW;
  if (!isInTime || !isSignedWith(session, request, world)) return refuse(403, 'SignatureDoesNotMatch');
  const action = new URLSearchParams(Buffer.from(request.body).toString()).get('Action');
  if (action !== 'GetCallerIdentity') return refuse(400, 'InvalidAction');
  const { arn, userId } = session;
  return answer(
    200,
    `<GetCallerIdentityResponse xmlns="${NAMESPACE}"><GetCallerIdentityResult>` +
      `<Arn>${escapeXml(arn)}</Arn><UserId>${escapeXml(userId)}</UserId><Account>${world.accountId}</Account>` +
      '</GetCallerIdentityResult>',
    'GetCallerIdentityResponse',
  );
}

/** AWS Signature Version 4 with its chain of keys: date, region, service, `aws4_request`. */
function isSignedWith({ secretAccessKey }: Session, request: WireRequest, world: World): boolean {
  const authorization = readAuthorization(request);
  if (authorization?.algorithm !== 'AWS4-HMAC-SHA256') return false;
  const { date, region, service, terminator, signedHeaders, signature } = authorization;
  const isInScope =
    headerOf(request, 'x-amz-date')?.slice(0, 8) === date &&
    region === world.region &&
    service === 'sts' &&
    terminator === 'aws4_request';
  const isCovered = ['host', 'x-amz-date', 'x-amz-security-token'].every((name) => signedHeaders.includes(name));
  const message = stringToSign(request, authorization);
  if (!isInScope || !isCovered || !message) return false;
  const key = [date, region, service, terminator].reduce<string | Buffer>(
    (secret, part) => createHmac('sha256', secret).update(part).digest(),
    `AWS4${secretAccessKey}`,
  );
  const expected = createHmac('sha256', key).update(message).digest();
  return expected.length === signature.length && timingSafeEqual(expected, signature);
}

const refuse = (status: number, code: keyof typeof TEXTS): Spoken =>
  answer(
    status,
    `<ErrorResponse xmlns="${NAMESPACE}"><Error><Type>Sender</Type><Code>${code}</Code>` +
      `<Message>${TEXTS[code]}</Message></Error>`,
    'ErrorResponse',
    `${code}: ${TEXTS[code]}`,
  );

function answer(status: number, opened: string, element: string, message?: string): Spoken {
  const id = randomUUID();
  const metadata = `<RequestId>${id}</RequestId>`;
  const end = message === undefined ? `<ResponseMetadata>${metadata}</ResponseMetadata>` : metadata;
  return {
    status,
    headers: { 'Content-Type': 'text/xml', 'x-amzn-RequestId': id },
    body: `${opened}${end}</${element}>`,
    message,
    warnings: [],
  };
}

const escapeXml = (text: string): string => text.replace(/[&<>]/g, (mark) => `&#${mark.charCodeAt(0)};`);
