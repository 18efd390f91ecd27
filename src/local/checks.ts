import { verify } from 'node:crypto';
import { type Call, ML_DSA } from './call.ts';
import { stringToSign } from './canonical.ts';
import {
  hasAuthorities,
  isSigned,
  isStrong,
  isValidAt,
  keepsPathLengths,
  mayCertify,
  type Path,
  pathsUp,
  without,
} from './path.ts';
import {
  denied,
  INSUFFICIENT_CERTIFICATE,
  INVALID_SIGNATURE,
  invalidMember,
  UNTRUSTED_CERTIFICATE,
} from './refusal.ts';
import { headerOf } from './wire.ts';
import type { TrustAnchor, World } from './world.ts';

/** One rule of the service: returns, or throws a `Refusal`. */
export interface Check {
  readonly name: string;
  readonly run: (call: Call, world: World) => void;
}

/** Refuse unless something holds. */
function must(holds: boolean, refusal: Error): asserts holds {
  if (!holds) throw refusal;
}

const ARN_LIMIT = 1011;

const arnCheck = (member: 'trustAnchorArn' | 'profileArn' | 'roleArn', pattern: RegExp): Check => ({
  name: `${member}-pattern`,
  run: (call) => {
    const value = call.fields()[member];
    const constraint = `Member must satisfy regular expression pattern: ${pattern.source}`;
    must(value.length <= ARN_LIMIT && pattern.test(value), invalidMember(member, value, constraint));
  },
});

const anchorOf = (call: Call, world: World): TrustAnchor | undefined =>
  world.anchors.find(({ arn }) => arn === call.fields().trustAnchorArn);

/** The paths that are left. Copies of leaf and anchor in the chain header are ignored: other clients send them. */
function pathsOf(call: Call, world: World): readonly Path[] {
  if (call.paths) return call.paths;
  // Without a named anchor every one will do: that happens only in a build that leaves out `anchor-exists`.
  const anchors = anchorOf(call, world)?.certificates ?? world.anchors.flatMap(({ certificates }) => certificates);
  const pool = [call.leaf(), ...anchors].reduce(without, call.pool());
  call.paths = pathsUp(call.leaf(), pool, anchors);
  return call.paths;
}

const leafCheck = (name: string, holds: (leaf: ReturnType<Call['leaf']>) => boolean): Check => ({
  name,
  run: (call) => must(holds(call.leaf()), denied(INSUFFICIENT_CERTIFICATE)),
});

/** Rules out paths; refuses when none is left. */
const pathCheck = (name: string, holds: (path: Path, world: World) => boolean): Check => ({
  name,
  run: (call, world) => {
    const paths = pathsOf(call, world);
    call.paths = paths.filter((path) => holds(path, world));
    must(call.paths.length > 0 || paths.length === 0, denied(UNTRUSTED_CERTIFICATE));
  },
});

const signatureCheck = (name: string, holds: (call: Call, world: World) => boolean): Check => ({
  name,
  run: (call, world) => must(holds(call, world), denied(INVALID_SIGNATURE)),
});

/** Like a signature check, but a lenient service only notes it. */
const strictCheck = (name: string, fault: (call: Call) => string | undefined): Check => ({
  name,
  run: (call, world) => {
    const found = fault(call);
    if (found === undefined) return;
    must(!world.strict, denied(INVALID_SIGNATURE));
    call.warnings.push(found);
  },
});

/**
 * RSASSA-PKCS1-v1_5 or ECDSA in DER, with SHA-256 whatever the key; or ML-DSA over the message itself with an empty
 * context, hedged or not: node:crypto's defaults for these keys.
 */
function isSignedByLeaf(call: Call): boolean {
  const authorization = call.authorization();
  const leaf = call.leaf();
  const hash = leaf.algorithm === ML_DSA ? null : 'sha256';
  const host = headerOf(call.request, 'host');
  // The Java client signs the bare host name where others sign host and port.
  const forms = new Set([host, host?.replace(/:\d+$/, '')]);
  return [...forms].some((form) => {
    const message = stringToSign(call.request, authorization, form);
    return message !== undefined && verify(hash, message, leaf.publicKey, authorization.signature);
  });
}

function uncoveredHeaders(call: Call): string | undefined {
  const required = ['content-type', 'host', 'x-amz-date', 'x-amz-x509'];
  if (headerOf(call.request, 'x-amz-x509-chain') !== undefined) required.push('x-amz-x509-chain');
  const missing = required.filter((name) => !call.authorization().signedHeaders.includes(name));
  return missing.length > 0 ? `not signed: ${missing.join(', ')}` : undefined;
}

const CHAIN_LIMIT = 5;

/** What the session will last, seconds: the smaller of what the profile allows and what was asked. */
export const durationOf = (call: Call, world: World): number =>
  Math.min(world.profile.durationSeconds, call.fields().durationSeconds ?? world.profile.durationSeconds);

/** Every rule, in the order in which they are asked. The service's own is not documented; this one fits its texts. */
export const CHECKS: readonly Check[] = [
  arnCheck('trustAnchorArn', /^arn:aws(-[^:]+)?:rolesanywhere(:.*){2}(:trust-anchor.*)$/),
  arnCheck('profileArn', /^arn:aws(-[^:]+)?:rolesanywhere(:.*){2}(:profile.*)$/),
  arnCheck('roleArn', /^arn:aws(-[^:]+)?:iam(:.*){2}(:role.*)$/),
  {
    name: 'durationSeconds-range',
    run: (call) => {
      const { durationSeconds: value = 900 } = call.fields();
      const at = (bound: string) => invalidMember('durationSeconds', String(value), `Member must have value ${bound}`);
      must(value >= 900, at('greater than or equal to 900'));
      must(value <= 43_200, at('less than or equal to 43200'));
    },
  },
  {
    name: 'roleSessionName-pattern',
    run: (call) => {
      const { roleSessionName: value } = call.fields();
      const constraint = 'Member must satisfy regular expression pattern: [\\w+=,.@-]{2,64}';
      must(
        value === undefined || /^[\w+=,.@-]{2,64}$/.test(value),
        invalidMember('roleSessionName', value, constraint),
      );
    },
  },

  {
    name: 'anchor-exists',
    run: (call, world) => must(anchorOf(call, world) !== undefined, denied("Specified Trust Anchor wasn't found.")),
  },
  {
    name: 'anchor-enabled',
    run: (call, world) => must(anchorOf(call, world)?.enabled !== false, denied('Specified Trust Anchor is disabled.')),
  },

  {
    name: 'profile-exists',
    run: (call, world) =>
      must(call.fields().profileArn === world.profile.arn, denied('Invalid or empty profile provided.')),
  },
  {
    name: 'profile-enabled',
    run: (_call, world) => must(world.profile.enabled, denied('Specified Profile is disabled.')),
  },
  {
    name: 'profile-lists-role',
    run: (call, world) =>
      must(
        world.profile.roleArns.includes(call.fields().roleArn),
        denied("Requested Role isn't one of those listed in the Profile."),
      ),
  },

  leafCheck('leaf-version', ({ facts }) => facts.version === 3),
  leafCheck('leaf-not-ca', ({ facts }) => !facts.isCa),
  leafCheck('leaf-key-usage', ({ facts }) => facts.keyUsages?.includes('digitalSignature') ?? false),
  leafCheck('leaf-hash', isStrong),
  leafCheck('leaf-subject', ({ facts }) => facts.subject !== ''),

  {
    name: 'chain-limit',
    run: (call) => must(call.pool().length <= CHAIN_LIMIT, denied(UNTRUSTED_CERTIFICATE)),
  },
  {
    name: 'path-exists',
    run: (call, world) => must(pathsOf(call, world).length > 0, denied(UNTRUSTED_CERTIFICATE)),
  },
  pathCheck('path-signatures', isSigned),
  pathCheck('path-validity', (path, world) => isValidAt(path, world.now())),
  pathCheck('path-authorities', hasAuthorities),
  pathCheck('path-key-usage', mayCertify),
  pathCheck('path-length', keepsPathLengths),
  pathCheck('path-hash', (path) => path.slice(1).every(isStrong)),

  signatureCheck(
    'credential-serial',
    (call) => call.authorization().id === BigInt(`0x${call.leaf().facts.serialNumber}`).toString(),
  ),
  signatureCheck(
    'scope-date',
    (call) => call.date().toISOString().slice(0, 10).replaceAll('-', '') === call.authorization().date,
  ),
  signatureCheck('scope-region', (call, world) => call.authorization().region === world.region),
  signatureCheck('scope-service', (call) => call.authorization().service === 'rolesanywhere'),
  signatureCheck('scope-terminator', (call) => call.authorization().terminator === 'aws4_request'),
  signatureCheck(
    'clock',
    (call, world) => Math.abs(call.date().getTime() - world.now().getTime()) <= world.clockWindowSeconds * 1000,
  ),
  strictCheck('algorithm', (call) => {
    const { algorithm } = call.authorization();
    return algorithm === call.leaf().algorithm ? undefined : `algorithm ${algorithm} does not fit the key`;
  }),
  signatureCheck('signature', isSignedByLeaf),
  strictCheck('signed-headers', uncoveredHeaders),

  {
    name: 'roleSessionName-allowed',
    run: (call, world) =>
      must(
        call.fields().roleSessionName === undefined || world.profile.acceptRoleSessionName,
        denied('Not authorized to set roleSessionName.'),
      ),
  },
  {
    name: 'role-exists',
    run: (call, world) =>
      must(call.fields().roleArn === world.role.arn, denied(`Unable to assume role for ${call.fields().roleArn}.`)),
  },
  {
    name: 'role-duration',
    run: (call, world) => {
      const text = 'The requested DurationSeconds exceeds the MaxSessionDuration set for this role.';
      const isWithin = durationOf(call, world) <= world.role.maxSessionDuration;
      must(isWithin, denied(`Unable to assume role for ${call.fields().roleArn}. ${text}`));
    },
  },
];

/**
 * Ask every rule.
 *
 * @param leaveOut names of checks to skip; for tests that show what each check is for
 * @throws {Refusal} of the first rule that is broken
 */
export function runChecks(call: Call, world: World, leaveOut: readonly string[] = []): void {
  call.paths = undefined;
  for (const check of CHECKS) if (!leaveOut.includes(check.name)) check.run(call, world);
}
