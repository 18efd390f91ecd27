// For each check of the local service, requests that break the rule it guards and no other.
import { constants, sign } from 'node:crypto';
import { toPem } from './certificate-maker.ts';
import { CERTIFICATE_CASES } from './local-certificate-cases.ts';
import {
  ACCOUNT,
  ANCHOR_ARN,
  at,
  body,
  type Case,
  leaf,
  OTHER_ROLE_ARN,
  other,
  PROFILE_ARN,
  ROLE_ARN,
  ROLES_ANYWHERE,
  RSA,
  rootCertificate,
  rsa,
  SOUND,
} from './local-setup.ts';

const INVALID = 'Invalid signature';
const invalid = (value: string, member: string, constraint: string) =>
  `1 validation error detected: Value '${value}' at '${member}' failed to satisfy constraint: Member must ${constraint}`;

const badAnchorArn = `${ROLES_ANYWHERE}:anchor/a1`;
const badProfileArn = `${ROLES_ANYWHERE}:prof/p1`;
const badRoleArn = `arn:aws:iam::${ACCOUNT}:user/web`;
const longRoleArn = `arn:aws:iam::${ACCOUNT}:role/${'a'.repeat(1000)}`;
const ANCHOR_PATTERN = 'satisfy regular expression pattern: ^arn:aws(-[^:]+)?:rolesanywhere(:.*){2}(:trust-anchor.*)$';
const PROFILE_PATTERN = 'satisfy regular expression pattern: ^arn:aws(-[^:]+)?:rolesanywhere(:.*){2}(:profile.*)$';
const ROLE_PATTERN = 'satisfy regular expression pattern: ^arn:aws(-[^:]+)?:iam(:.*){2}(:role.*)$';
const NAME_PATTERN = 'satisfy regular expression pattern: [\\w+=,.@-]{2,64}';

const badName = (name: string): Case => ({
  name: `a session name of ${name.length} characters, ${JSON.stringify(name.slice(0, 8))}`,
  check: 'roleSessionName-pattern',
  options: { acceptRoleSessionName: true },
  plan: body({ roleSessionName: name }),
  status: 400,
  text: invalid(name, 'roleSessionName', NAME_PATTERN),
});

const unsigned = (header: string): Case => ({
  name: `${header} is not signed`,
  check: 'signed-headers',
  plan: { unsigned: [header] },
  text: INVALID,
});

export const CASES: readonly Case[] = [
  {
    name: 'an anchor ARN of another kind',
    check: 'trustAnchorArn-pattern',
    options: { anchors: [{ arn: badAnchorArn, pem: toPem(rootCertificate) }] },
    plan: body({ trustAnchorArn: badAnchorArn }),
    status: 400,
    text: invalid(badAnchorArn, 'trustAnchorArn', ANCHOR_PATTERN),
  },
  {
    name: 'a profile ARN of another kind',
    check: 'profileArn-pattern',
    options: { profileArn: badProfileArn },
    plan: body({ profileArn: badProfileArn }),
    status: 400,
    text: invalid(badProfileArn, 'profileArn', PROFILE_PATTERN),
  },
  {
    name: 'a role ARN of another kind',
    check: 'roleArn-pattern',
    options: { roleArn: badRoleArn },
    plan: body({ roleArn: badRoleArn }),
    status: 400,
    text: invalid(badRoleArn, 'roleArn', ROLE_PATTERN),
  },
  {
    name: 'a role ARN of over a thousand characters',
    check: 'roleArn-pattern',
    options: { roleArn: longRoleArn },
    plan: body({ roleArn: longRoleArn }),
    status: 400,
    text: invalid(longRoleArn, 'roleArn', ROLE_PATTERN),
  },
  ...[899, 0, -1].map(
    (seconds): Case => ({
      name: `${seconds} seconds`,
      check: 'durationSeconds-range',
      plan: body({ durationSeconds: seconds }),
      status: 400,
      text: invalid(String(seconds), 'durationSeconds', 'have value greater than or equal to 900'),
    }),
  ),
  {
    name: '43201 seconds',
    check: 'durationSeconds-range',
    plan: body({ durationSeconds: 43_201 }),
    status: 400,
    text: invalid('43201', 'durationSeconds', 'have value less than or equal to 43200'),
  },
  ...['a', 'two words', 'x'.repeat(65), ''].map(badName),

  {
    name: 'an anchor nobody made',
    check: 'anchor-exists',
    plan: body({ trustAnchorArn: `${ROLES_ANYWHERE}:trust-anchor/a2` }),
    text: "Specified Trust Anchor wasn't found.",
  },
  {
    name: 'the anchor in another region',
    check: 'anchor-exists',
    plan: body({ trustAnchorArn: ANCHOR_ARN.replace('us-east-1', 'us-west-2') }),
    text: "Specified Trust Anchor wasn't found.",
  },
  {
    name: 'a disabled anchor',
    check: 'anchor-enabled',
    options: { anchorEnabled: false },
    text: 'Specified Trust Anchor is disabled.',
  },
  {
    name: 'a profile nobody made',
    check: 'profile-exists',
    plan: body({ profileArn: `${ROLES_ANYWHERE}:profile/p2` }),
    text: 'Invalid or empty profile provided.',
  },
  {
    name: 'the profile in another account',
    check: 'profile-exists',
    plan: body({ profileArn: PROFILE_ARN.replace(ACCOUNT, '444455556666') }),
    text: 'Invalid or empty profile provided.',
  },
  {
    name: 'a disabled profile',
    check: 'profile-enabled',
    options: { profileEnabled: false },
    text: 'Specified Profile is disabled.',
  },
  {
    name: 'a role that the profile does not list',
    check: 'profile-lists-role',
    options: { profileRoleArns: [OTHER_ROLE_ARN] },
    text: "Requested Role isn't one of those listed in the Profile.",
  },

  ...CERTIFICATE_CASES,

  { name: 'the serial of another certificate', check: 'credential-serial', plan: { serial: '662317' }, text: INVALID },
  { name: 'the serial in hex', check: 'credential-serial', plan: { serial: '0a1b2c' }, text: INVALID },
  { name: 'the scope of yesterday', check: 'scope-date', plan: { scope: { date: '20260614' } }, text: INVALID },
  {
    name: 'the scope of another region',
    check: 'scope-region',
    plan: { scope: { region: 'us-west-2' } },
    text: INVALID,
  },
  { name: 'the scope of another service', check: 'scope-service', plan: { scope: { service: 'sts' } }, text: INVALID },
  {
    name: 'a scope that ends otherwise',
    check: 'scope-terminator',
    plan: { scope: { terminator: 'aws5_request' } },
    text: INVALID,
  },
  ...[-301, 301, -1800, 1800].map(
    (seconds): Case => ({
      name: `a clock off by ${seconds} s`,
      check: 'clock',
      plan: { date: at(seconds) },
      text: INVALID,
    }),
  ),
  {
    name: 'an EC key under the RSA token',
    check: 'algorithm',
    plan: { algorithm: 'AWS4-X509-RSA-SHA256' },
    text: INVALID,
  },
  {
    name: 'an RSA key under the EC token',
    check: 'algorithm',
    plan: { identity: RSA, algorithm: 'AWS4-X509-ECDSA-SHA256' },
    text: INVALID,
  },
  {
    name: 'the key of somebody else',
    check: 'signature',
    plan: { identity: { ...SOUND, key: other.privateKey } },
    text: INVALID,
  },
  {
    name: 'RSA with PSS',
    check: 'signature',
    plan: {
      identity: RSA,
      sign: (message) => sign('sha256', message, { key: rsa.privateKey, padding: constants.RSA_PKCS1_PSS_PADDING }),
    },
    text: INVALID,
  },
  {
    name: 'ECDSA with r and s side by side',
    check: 'signature',
    plan: { sign: (message) => sign('sha256', message, { key: leaf.privateKey, dsaEncoding: 'ieee-p1363' }) },
    text: INVALID,
  },
  {
    name: 'another hash',
    check: 'signature',
    plan: { sign: (message) => sign('sha384', message, leaf.privateKey) },
    text: INVALID,
  },
  {
    name: 'another host',
    check: 'signature',
    plan: { signedHost: 'rolesanywhere.us-east-1.amazonaws.com' },
    text: INVALID,
  },
  { name: 'another port', check: 'signature', plan: { signedHost: '127.0.0.1:4712' }, text: INVALID },
  ...['content-type', 'host', 'x-amz-date', 'x-amz-x509', 'x-amz-x509-chain'].map(unsigned),

  {
    name: 'a session name where the profile accepts none',
    check: 'roleSessionName-allowed',
    plan: body({ roleSessionName: 'build' }),
    text: 'Not authorized to set roleSessionName.',
  },
  {
    name: 'a role that is listed and does not exist',
    check: 'role-exists',
    options: { profileRoleArns: [OTHER_ROLE_ARN] },
    plan: body({ roleArn: OTHER_ROLE_ARN }),
    text: `Unable to assume role for ${OTHER_ROLE_ARN}.`,
  },
  {
    name: 'twelve hours of a role for one',
    check: 'role-duration',
    options: { profileDurationSeconds: 43_200 },
    plan: body({ durationSeconds: 43_200 }),
    text: `Unable to assume role for ${ROLE_ARN}. The requested DurationSeconds exceeds the MaxSessionDuration set for this role.`,
  },
  {
    name: 'what the profile gives unasked is too long for the role',
    check: 'role-duration',
    options: { profileDurationSeconds: 3601 },
    plan: body({}),
    text: `Unable to assume role for ${ROLE_ARN}. The requested DurationSeconds exceeds the MaxSessionDuration set for this role.`,
  },
];
