// Certificates that break one rule each.
import { DIGITAL_SIGNATURE, KEY_CERT_SIGN, makeCertificate } from './certificate-maker.ts';
import {
  anchored,
  at,
  type Case,
  identity,
  impostor,
  LEAF,
  MIDDLE,
  middle,
  other,
  rsa,
  SOUND,
  without,
} from './local-setup.ts';

const INSUFFICIENT = 'Untrusted certificate. Insufficient certificate';
const UNTRUSTED = 'Untrusted signing certificate';

export const CERTIFICATE_CASES: readonly Case[] = [
  {
    name: 'a leaf of version 1',
    check: 'leaf-version',
    plan: { identity: identity({ leaf: { version: 1 } }) },
    text: INSUFFICIENT,
  },
  {
    name: 'a CA as leaf',
    check: 'leaf-not-ca',
    plan: { identity: identity({ leaf: { ca: true } }) },
    text: INSUFFICIENT,
  },
  {
    name: 'a leaf that may only certify',
    check: 'leaf-key-usage',
    plan: { identity: identity({ leaf: { keyUsage: KEY_CERT_SIGN } }) },
    text: INSUFFICIENT,
  },
  {
    name: 'a leaf without keyUsage',
    check: 'leaf-key-usage',
    plan: { identity: { ...SOUND, certificate: makeCertificate(without(LEAF, 'keyUsage')) } },
    text: INSUFFICIENT,
  },
  {
    name: 'a leaf signed with SHA-1',
    check: 'leaf-hash',
    plan: { identity: identity({ leaf: { hash: 'sha1' } }) },
    text: INSUFFICIENT,
  },
  {
    name: 'a leaf signed with MD5',
    check: 'leaf-hash',
    plan: {
      identity: identity({ middle: { publicKey: rsa.publicKey }, leaf: { issuerKey: rsa.privateKey, hash: 'md5' } }),
    },
    text: INSUFFICIENT,
  },
  {
    name: 'a leaf without a subject',
    check: 'leaf-subject',
    plan: { identity: identity({ leaf: { subject: '' } }) },
    text: INSUFFICIENT,
  },

  {
    name: 'six certificates in the chain header',
    check: 'chain-limit',
    plan: { identity: { ...SOUND, chain: [...SOUND.chain, ...Array.from({ length: 5 }, () => impostor)] } },
    text: UNTRUSTED,
  },
  {
    name: 'the intermediate is missing',
    check: 'path-exists',
    plan: { identity: { ...SOUND, chain: [] } },
    text: UNTRUSTED,
  },
  {
    name: 'a leaf of another authority',
    check: 'path-exists',
    plan: { identity: identity({ leaf: { issuer: 'nobody', issuerKey: other.privateKey } }) },
    text: UNTRUSTED,
  },
  {
    name: 'a leaf that says it is of the intermediate, and is not',
    check: 'path-signatures',
    plan: { identity: identity({ leaf: { issuerKey: other.privateKey } }) },
    text: UNTRUSTED,
  },
  {
    name: 'an intermediate that says it is of the root, and is not',
    check: 'path-signatures',
    plan: { identity: identity({ middle: { issuerKey: other.privateKey } }) },
    text: UNTRUSTED,
  },
  ...(
    [
      ['an expired leaf', { leaf: { notAfter: at(-1) } }],
      ['a leaf of tomorrow', { leaf: { notBefore: at(1) } }],
      ['an expired intermediate', { middle: { notAfter: at(-1) } }],
      ['an intermediate of tomorrow', { middle: { notBefore: at(1) } }],
    ] as const
  ).map(
    ([name, change]): Case => ({
      name,
      check: 'path-validity',
      plan: { identity: identity(change) },
      text: UNTRUSTED,
    }),
  ),
  { name: 'an expired anchor', check: 'path-validity', options: anchored({ notAfter: at(-1) }), text: UNTRUSTED },
  {
    name: 'an intermediate that is no CA',
    check: 'path-authorities',
    plan: { identity: identity({ middle: { ca: false } }) },
    text: UNTRUSTED,
  },
  {
    name: 'an intermediate without basicConstraints',
    check: 'path-authorities',
    plan: { identity: { ...SOUND, chain: [makeCertificate(without(MIDDLE, 'ca'))] } },
    text: UNTRUSTED,
  },
  { name: 'an anchor that is no CA', check: 'path-authorities', options: anchored({ ca: false }), text: UNTRUSTED },
  {
    name: 'an intermediate that may not certify',
    check: 'path-key-usage',
    plan: { identity: identity({ middle: { keyUsage: DIGITAL_SIGNATURE } }) },
    text: UNTRUSTED,
  },
  {
    name: 'an intermediate without keyUsage',
    check: 'path-key-usage',
    plan: { identity: { ...SOUND, chain: [makeCertificate(without(MIDDLE, 'keyUsage'))] } },
    text: UNTRUSTED,
  },
  {
    name: 'an anchor that allows no intermediate',
    check: 'path-length',
    options: anchored({ pathLength: 0 }),
    text: UNTRUSTED,
  },
  {
    name: 'an intermediate that allows none below it',
    check: 'path-length',
    plan: {
      identity: {
        ...identity({ leaf: { issuer: 'lower', issuerKey: other.privateKey }, middle: { pathLength: 0 } }),
        chain: [
          makeCertificate({
            ...MIDDLE,
            subject: 'lower',
            issuer: 'middle',
            publicKey: other.publicKey,
            issuerKey: middle.privateKey,
          }),
          makeCertificate({ ...MIDDLE, pathLength: 0 }),
        ],
      },
    },
    text: UNTRUSTED,
  },
  {
    name: 'an intermediate signed with SHA-1',
    check: 'path-hash',
    plan: { identity: identity({ middle: { hash: 'sha1' } }) },
    text: UNTRUSTED,
  },
];
