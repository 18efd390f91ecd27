import { randomBytes } from 'node:crypto';
import { HoldfastError, messageOf } from '../errors.ts';
import { type Authority, createAuthority, fromPem, type IssueOptions, toPem } from '../pki.ts';
import { type Element, toElement } from './call.ts';
import type { LocalOptions } from './options.ts';

export interface TrustAnchor {
  readonly arn: string;
  readonly enabled: boolean;
  readonly certificates: readonly Element[];
}

export interface Profile {
  readonly arn: string;
  readonly enabled: boolean;
  readonly roleArns: readonly string[];
  readonly durationSeconds: number;
  readonly acceptRoleSessionName: boolean;
}

export interface Role {
  readonly arn: string;
  /** First half of the user id of its sessions. */
  readonly id: string;
  readonly maxSessionDuration: number;
}

/** Credentials that were vended. */
export interface Session {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken: string;
  readonly expiration: Date;
  readonly arn: string;
  readonly userId: string;
}

/** One account in one region: all that exists for the service. */
export interface World {
  readonly accountId: string;
  readonly region: string;
  readonly anchors: readonly TrustAnchor[];
  readonly profile: Profile;
  readonly role: Role;
  readonly authority: Authority;
  readonly clockWindowSeconds: number;
  readonly strict: boolean;
  readonly lifeSeconds: number | undefined;
  readonly vend: NonNullable<LocalOptions['vend']>;
  readonly now: () => Date;
  /** What was vended, by access key id. */
  readonly sessions: Map<string, Session>;
}

const DAY = 86_400_000;

/** @throws {HoldfastError} `ERR_ARN_INVALID`, `ERR_ARN_MISMATCH`, `ERR_CERTIFICATE_INVALID` for what the caller gave */
export async function createWorld(options: LocalOptions = {}): Promise<World> {
  const { region = 'us-east-1', accountId = '111122223333', now = () => new Date() } = options;
  const rolesAnywhere = `arn:aws:rolesanywhere:${region}:${accountId}`;
  const {
    trustAnchorArn = `${rolesAnywhere}:trust-anchor/a0000000-0000-4000-8000-000000000001`,
    profileArn = `${rolesAnywhere}:profile/b0000000-0000-4000-8000-000000000001`,
    roleArn = `arn:aws:iam::${accountId}:role/holdfast-local`,
    anchors = [],
    anchorEnabled: enabled = true,
  } = options;
  for (const arn of [trustAnchorArn, profileArn, ...anchors.map((anchor) => anchor.arn)]) {
    checkArn(arn, 'rolesanywhere', region, accountId);
  }
  checkArn(roleArn, 'iam', '', accountId);
  const authority = await createAuthority({
    commonName: 'holdfast local CA',
    notBefore: new Date(now().getTime() - DAY),
    notAfter: new Date(now().getTime() + 365 * DAY),
  });
  return {
    accountId,
    region,
    anchors: [
      { arn: trustAnchorArn, enabled, certificates: [toElement(authority.certificate)] },
      ...anchors.map(({ arn, pem }) => ({ arn, enabled, certificates: readAnchor(arn, pem) })),
    ],
    profile: {
      arn: profileArn,
      enabled: options.profileEnabled ?? true,
      roleArns: options.profileRoleArns ?? [roleArn],
      durationSeconds: options.profileDurationSeconds ?? 3600,
      acceptRoleSessionName: options.acceptRoleSessionName ?? false,
    },
    role: { arn: roleArn, id: `AROA${randomId()}`, maxSessionDuration: options.maxSessionDuration ?? 3600 },
    authority,
    clockWindowSeconds: options.clockWindowSeconds ?? 300,
    strict: options.signedHeaders !== 'warn',
    lifeSeconds: options.lifeSeconds,
    vend: options.vend ?? {},
    now,
    sessions: new Map(),
  };
}

/** Everything lives in one account and one region, so that "elsewhere" and "not there" are one answer. */
function checkArn(arn: string, service: string, region: string, accountId: string): void {
  const [prefix, partition, ...parts] = arn.split(':');
  if (prefix !== 'arn' || !partition || parts.length < 4) {
    throw new HoldfastError('ERR_ARN_INVALID', `this is no ARN: ${arn}`, { hint: 'correct the ARN' });
  }
  if (parts[0] === service && parts[1] === region && parts[2] === accountId) return;
  throw new HoldfastError(
    'ERR_ARN_MISMATCH',
    `${arn} is not of ${service} in account ${accountId} ${region}`.trimEnd(),
    {
      hint: 'give "accountId" and "region" that fit the ARNs',
    },
  );
}

function readAnchor(arn: string, pem: string): Element[] {
  try {
    const elements = fromPem(pem).map(toElement);
    if (elements.length > 0) return elements;
    throw new Error('there is no PEM in it');
  } catch (cause) {
    throw new HoldfastError('ERR_CERTIFICATE_INVALID', `cannot read the trust anchor ${arn}: ${messageOf(cause)}`, {
      hint: 'give its certificate as PEM',
      cause,
    });
  }
}

/** 16 letters and digits, as AWS's ids end. */
export const randomId = (): string =>
  Array.from(randomBytes(16), (byte) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'[byte % 32]).join('');

/** Defaults: `holdfast local leaf`, valid for thirty days. */
export interface LocalIssueOptions extends IssueOptions {
  /** How many intermediates stand between the leaf and the trust anchor. Default: 0. */
  intermediates?: number | undefined;
}

/** Certify a key under the trust anchor. */
export async function issue(world: World, options: LocalIssueOptions): Promise<{ certificate: string; chain: string }> {
  const {
    intermediates = 0,
    notBefore = new Date(world.now().getTime() - 300_000),
    notAfter = new Date(world.now().getTime() + 30 * DAY),
    commonName = 'holdfast local leaf',
    ...more
  } = options;
  let issuer = world.authority;
  const chain: Uint8Array[] = [];
  for (let depth = 1; depth <= intermediates; depth++) {
    const name = `holdfast local intermediate ${depth}`;
    issuer = await createAuthority({ commonName: name, issuer, notBefore, notAfter });
    chain.unshift(issuer.certificate);
  }
  const certificate = await issuer.issue({ notBefore, notAfter, commonName, ...more });
  return { certificate: toPem([certificate]), chain: toPem(chain) };
}
