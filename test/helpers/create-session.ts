import type { HttpAnswer } from '../../src/http.ts';
import { vend } from './canaries.ts';

/** ARNs that belong together. */
export const ARNS = {
  trustAnchorArn: 'arn:aws:rolesanywhere:eu-central-1:111122223333:trust-anchor/0f8fad5b-d9cb-469f-a165-70867728950e',
  profileArn: 'arn:aws:rolesanywhere:eu-central-1:111122223333:profile/7c9e6679-7425-40de-944b-e07fc1f90ae7',
  roleArn: 'arn:aws:iam::111122223333:role/deploy',
} as const;

/** An answer in the service's form. */
export const answer = (status: number, body: unknown, headers: Record<string, string> = {}): HttpAnswer => ({
  status,
  headers: { 'content-type': 'application/json', 'x-amzn-requestid': 'c0ffee', ...headers },
  body: typeof body === 'string' ? body : JSON.stringify(body),
});

export const refused = (message: string, headers: Record<string, string> = {}): HttpAnswer =>
  answer(403, { message }, { 'x-amzn-errortype': 'AccessDeniedException', ...headers });

/** What CreateSession grants, each part of which a test may replace. */
export const grant = (credentials: Record<string, unknown> = {}, rest: Record<string, unknown> = {}) => ({
  assumedRoleUser: { arn: 'arn:aws:sts::111122223333:assumed-role/deploy/01', assumedRoleId: 'AROA:01' },
  credentials: {
    accessKeyId: 'ASIAEXAMPLE',
    ...vend,
    expiration: '2026-05-04T13:00:00Z',
    ...credentials,
  },
  packedPolicySize: 10,
  roleArn: ARNS.roleArn,
  sourceIdentity: 'CN=build-01',
  ...rest,
});

/** 201 with credentials that expire then, in whole seconds as the service writes it. */
export const granted = (expiration: Date): HttpAnswer =>
  answer(201, { credentialSet: [grant({ expiration: expiration.toISOString().replace(/\.\d+/, '') })] });
