// A client of the local service, for tests: starts one, has a key certified, signs for it.
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { afterEach } from '@jest/globals';
import { type LocalOptions, type LocalRolesAnywhere, startLocalRolesAnywhere } from '../../src/local/index.ts';
import { vend } from './canaries.ts';
import { fromPem } from './certificate-maker.ts';
import { type Plan, signRequest, type TestIdentity } from './x509-request.ts';

/** Closed after each test. */
export const running: LocalRolesAnywhere[] = [];
afterEach(() => Promise.all(running.splice(0).map((service) => service.close())));

export async function start(options: LocalOptions = {}): Promise<LocalRolesAnywhere> {
  const service = await startLocalRolesAnywhere({ vend, ...options });
  running.push(service);
  return service;
}

export const KEYS: Record<string, { publicKey: KeyObject; privateKey: KeyObject }> = {
  'RSA-2048': generateKeyPairSync('rsa', { modulusLength: 2048 }),
  'P-256': generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  'P-384': generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  'P-521': generateKeyPairSync('ec', { namedCurve: 'P-521' }),
};

export async function enroll(
  service: LocalRolesAnywhere,
  more: Partial<Parameters<LocalRolesAnywhere['issue']>[0]> = {},
  keys = KEYS['P-256'] as { publicKey: KeyObject; privateKey: KeyObject },
): Promise<TestIdentity> {
  const publicKey = keys.publicKey.export({ type: 'spki', format: 'der' });
  const { certificate, chain } = await service.issue({ publicKey, ...more });
  return { key: keys.privateKey, certificate: fromPem(certificate)[0] as Buffer, chain: fromPem(chain) };
}

export const arnsOf = ({ trustAnchorArn, profileArn, roleArn }: LocalRolesAnywhere) => ({
  trustAnchorArn,
  profileArn,
  roleArn,
});

export const sign = (service: LocalRolesAnywhere, identity: TestIdentity, more: Partial<Plan> = {}) =>
  signRequest({
    identity,
    host: new URL(service.endpoint).host,
    region: service.region,
    date: new Date(),
    body: arnsOf(service),
    ...more,
  });

interface Vended {
  credentialSet: [
    {
      assumedRoleUser: { arn: string; assumedRoleId: string };
      credentials: { accessKeyId: string; secretAccessKey: string; sessionToken: string; expiration: string };
      sourceIdentity: string;
    },
  ];
  subjectArn: string;
}
export const vended = (text: string) => (JSON.parse(text) as Vended).credentialSet[0];
