// Every text of the service, from the service of this machine over the wire to the error that a user reads.
import { describe, expect, test } from '@jest/globals';
import { parseCertificate } from '../../src/certificate.ts';
import type { SessionOptions } from '../../src/check-session.ts';
import type { ServiceError } from '../../src/errors.ts';
import { type Send, send } from '../../src/http.ts';
import type { LocalOptions, LocalRolesAnywhere } from '../../src/local/index.ts';
import { fromPem } from '../../src/pki.ts';
import { createSession } from '../../src/session.ts';
import type { SigningIdentity } from '../../src/sigv4.ts';
import { countingSigner, makeIdentity, makeKeyPair } from '../helpers/certificates.ts';
import { arnsOf, start } from '../helpers/local-client.ts';

interface Case {
  readonly text: string;
  readonly hint: RegExp;
  readonly local?: LocalOptions;
  readonly asked?: (service: LocalRolesAnywhere) => Partial<SessionOptions>;
  readonly identity?: () => Promise<SigningIdentity>;
  readonly status?: number;
  readonly awsCode?: string;
  /** Signatures that it takes until the error is there. Default: 1. */
  readonly signatures?: number;
}

const OTHER_ROLE = 'arn:aws:iam::111122223333:role/other';
/** The client's clock, in whole seconds as the answer's `Date` is. */
const NOW = new Date('2026-05-04T12:00:00Z');
const later = (hours: number) => (): Date => new Date(NOW.getTime() + hours * 3_600_000);

const stranger = async (options: Parameters<typeof makeIdentity>[0] = {}): Promise<SigningIdentity> => {
  const { certificate, signer } = await makeIdentity(options);
  return { certificate: parseCertificate(certificate), chain: [], signer };
};

/** Somebody on the way who changes the body after it was signed. */
const tampering =
  (from: string | RegExp, to: string): Send =>
  (request, options) =>
    send({ ...request, body: request.body.replace(from, to) }, options);

/** The answer of a service that knows more than the one of this machine. */
const saying = (status: number, code: string, message: string): LocalOptions => ({
  trouble: (_request, answer) => ({
    ...answer,
    status,
    headers: { ...answer.headers, 'X-Amzn-ErrorType': code },
    body: JSON.stringify({ message }),
  }),
});

const CASES: readonly Case[] = [
  {
    text: 'Untrusted signing certificate',
    hint: /^name the trust anchor whose CA issued .* or give the intermediates/,
    identity: stranger,
  },
  {
    text: 'Untrusted certificate. Insufficient certificate',
    hint: /^have the certificate issued again with key usage digitalSignature/,
    identity: () => stranger({ keyUsages: [] }),
  },
  {
    text: "Specified Trust Anchor wasn't found.",
    hint: /^check the trust anchor ARN/,
    asked: ({ trustAnchorArn }) => ({ trustAnchorArn: trustAnchorArn.replace(/.$/, '2') }),
  },
  {
    text: 'Specified Trust Anchor is disabled.',
    hint: /^enable the trust anchor$/,
    local: { anchorEnabled: false },
  },
  {
    text: 'Invalid or empty profile provided.',
    hint: /^check the profile ARN/,
    asked: ({ profileArn }) => ({ profileArn: profileArn.replace(/.$/, '2') }),
  },
  { text: 'Specified Profile is disabled.', hint: /^enable the profile$/, local: { profileEnabled: false } },
  {
    text: "Requested Role isn't one of those listed in the Profile.",
    hint: /^add the role to the profile/,
    local: { profileRoleArns: [OTHER_ROLE] },
  },
  {
    text: 'Not authorized to set roleSessionName.',
    hint: /^leave out the role session name/,
    asked: () => ({ roleSessionName: 'web' }),
  },
  {
    text: `Unable to assume role for ${OTHER_ROLE}.`,
    hint: /^check the trust policy of the role: .* then check that the role exists$/,
    local: { profileRoleArns: [OTHER_ROLE] },
    asked: () => ({ roleArn: OTHER_ROLE }),
  },
  {
    text: 'Unable to assume role for arn:aws:iam::111122223333:role/holdfast-local. The requested DurationSeconds exceeds the MaxSessionDuration set for this role.',
    hint: /^ask for a shorter session/,
    local: { maxSessionDuration: 900 },
  },
  {
    text: "1 validation error detected: Value '60' at 'durationSeconds' failed to satisfy constraint: Member must have value greater than or equal to 900",
    hint: /^ask for a session inside the bounds/,
    status: 400,
    awsCode: 'ValidationException',
    asked: () => ({ send: tampering('"durationSeconds":3600', '"durationSeconds":60') }),
  },
  {
    text: "1 validation error detected: Value 'x' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w+=,.@-]{2,64}",
    hint: /^choose a role session name/,
    status: 400,
    awsCode: 'ValidationException',
    asked: () => ({ send: tampering(/\}$/, ',"roleSessionName":"x"}') }),
  },
  {
    text: 'Invalid signature',
    hint: /^the clock is right: it agrees with the service's to within \d+ s; then check that the endpoint .* no proxy changes requests$/,
    asked: () => ({ send: tampering('3600', '3599') }),
  },
  {
    text: 'Invalid signature',
    hint: /^set the clock of this machine: it is 7200 s behind the service; then check/,
    local: { now: later(2) },
    asked: () => ({ send: tampering('3600', '3599'), now: later(0) }),
    signatures: 2, // once more with the service's own time
  },
  {
    text: 'Invalid signature',
    hint: /^set the clock of this machine: it is 7200 s ahead of the service; then check/,
    local: { now: later(-2) },
    asked: () => ({ send: tampering('3600', '3599'), now: later(0) }),
    signatures: 2,
  },
  {
    text: 'Certificate revoked',
    hint: /revocation list/,
    local: saying(403, 'AccessDeniedException', 'Certificate revoked'),
  },
  {
    text: 'Unable to assume role for arn:x. Some attributes failed to be mapped into session tags. Issuer: [ CN ]; Subject: [  ]; SAN: [ DNS/2 ]',
    hint: /^delete the attribute mapping/,
    local: saying(
      403,
      'AccessDeniedException',
      'Unable to assume role for arn:x. Some attributes failed to be mapped into session tags. Issuer: [ CN ]; Subject: [  ]; SAN: [ DNS/2 ]',
    ),
  },
];

const titled = CASES.map((one) => [one.text, one.hint, one] as const);

describe('from the wire to the words', () => {
  test.each(titled)('%s: %s', async (text, hint, { local = {}, asked, identity, ...expected }) => {
    const { status = 403, awsCode = 'AccessDeniedException', signatures = 1 } = expected;
    const service = await start(local);
    const keyPair = makeKeyPair();
    const signer = countingSigner(keyPair.privateKey);
    const issued = await service.issue({ publicKey: keyPair.publicKey, intermediates: 1 });
    const [certificate, ...chain] = fromPem(issued.certificate + issued.chain).map((der) => parseCertificate(der));
    const own = { certificate: certificate as NonNullable<typeof certificate>, chain, signer };
    const thrown: unknown = await createSession((await identity?.()) ?? own, {
      ...arnsOf(service),
      endpoint: service.endpoint,
      ...asked?.(service),
    }).catch((error: unknown) => error);

    const requestId = (thrown as ServiceError).requestId as string;
    expect(requestId).toMatch(/^[0-9a-f-]{36}$/);
    const { host } = new URL(service.endpoint);
    expect(thrown).toMatchObject({
      code: 'ERR_SERVICE_REFUSED',
      status,
      awsCode,
      message: `${host} answered ${status} ${awsCode}: ${text} (request ${requestId})`,
      hint: expect.stringMatching(hint),
    });
    if (!identity) expect(signer.calls).toBe(signatures);
    expect(service.requests).toHaveLength(signatures);
  });
});
