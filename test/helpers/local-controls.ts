import { makeCertificate, toPem } from './certificate-maker.ts';
import {
  ANCHOR_ARN,
  ARNS,
  anchored,
  at,
  body,
  type Case,
  DIRECT,
  identity,
  impostor,
  MIDDLE,
  middle,
  middleCertificate,
  OTHER_ROLE_ARN,
  other,
  RSA,
  rootCertificate,
  SOUND,
} from './local-setup.ts';

/** Requests that are in order. */
export const CONTROLS: readonly Omit<Case, 'check' | 'text'>[] = [
  { name: 'EC, one intermediate' },
  { name: 'RSA', plan: { identity: RSA } },
  { name: 'straight under the anchor', plan: { identity: DIRECT } },
  { name: 'ARNs in the query, no body', plan: { body: '', query: Object.entries(ARNS) } },
  {
    name: 'ARNs in both: the body counts',
    plan: {
      query: [
        ['roleArn', OTHER_ROLE_ARN],
        ['trustAnchorArn', 'x'],
        ['profileArn', 'x'],
      ],
    },
  },
  { name: 'the bare host name signed', plan: { signedHost: '127.0.0.1' } },
  {
    name: 'copies of leaf and anchor in the chain',
    plan: { identity: { ...SOUND, chain: [SOUND.certificate, rootCertificate, middleCertificate] } },
  },
  {
    name: 'strangers in the chain',
    plan: { identity: { ...SOUND, chain: [impostor, impostor, impostor, impostor, middleCertificate] } },
  },
  {
    name: 'an anchor that is an intermediate',
    options: { anchors: [{ arn: ANCHOR_ARN, pem: toPem(middleCertificate) }] },
  },
  {
    name: 'an anchor of two certificates',
    options: { anchors: [{ arn: ANCHOR_ARN, pem: toPem(impostor, rootCertificate) }] },
  },
  { name: 'the anchor allows the one intermediate there is', options: anchored({ pathLength: 1 }) },
  {
    name: 'a self-issued certificate does not count as an intermediate',
    plan: {
      identity: {
        ...identity({ leaf: { issuerKey: other.privateKey } }),
        chain: [
          makeCertificate({ ...MIDDLE, issuer: 'middle', publicKey: other.publicKey, issuerKey: middle.privateKey }),
          makeCertificate({ ...MIDDLE, pathLength: 0 }),
        ],
      },
    },
  },
  { name: 'five minutes late', plan: { date: at(-300) } },
  { name: 'five minutes early', plan: { date: at(300) } },
  { name: 'ten minutes late where that is allowed', options: { clockWindowSeconds: 600 }, plan: { date: at(-600) } },
  { name: 'more headers than are asked for', plan: { headers: { 'Amz-Sdk-Request': 'attempt=1;   max=3 ' } } },
  {
    name: 'a session name',
    options: { acceptRoleSessionName: true },
    plan: body({ roleSessionName: 'a,b@c.d=e+f_-' }),
  },
  {
    name: 'twelve hours',
    options: { profileDurationSeconds: 43_200, maxSessionDuration: 43_200 },
    plan: body({ durationSeconds: 43_200 }),
  },
  { name: 'more than the profile gives is cut', plan: body({ durationSeconds: 43_200 }) },
  { name: 'members that do not matter', plan: body({ sessionName: 'x y', instanceProperties: { a: 'b' } }) },
];
