import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { type Call, startCall } from './call.ts';
import { durationOf, runChecks } from './checks.ts';
import { Refusal } from './refusal.ts';
import type { Answer, WireRequest } from './wire.ts';
import { randomId, type Session, type World } from './world.ts';

/** What the service says, and what it said it about. */
export interface Spoken extends Answer {
  /** The refusal; undefined when there is none. */
  readonly message: string | undefined;
  readonly warnings: readonly string[];
}

/** `POST /sessions`: run every check but those left out, then vend. */
export const createSession = (request: WireRequest, world: World, leaveOut: readonly string[] = []): Spoken =>
  answerCall(startCall(request), world, leaveOut);

/** The same for a request that is being read already: reading its certificates costs more than all checks together. */
export function answerCall(call: Call, world: World, leaveOut: readonly string[] = []): Spoken {
  try {
    runChecks(call, world, leaveOut);
    return { ...json(201, vend(call, world)), message: undefined, warnings: call.warnings };
  } catch (thrown) {
    if (!(thrown instanceof Refusal)) throw thrown;
    return { ...refusalAnswer(thrown), warnings: call.warnings };
  }
}

export function refusalAnswer(refusal: Refusal): Spoken {
  const answer = json(refusal.status, { message: refusal.message });
  answer.headers['X-Amzn-ErrorType'] = refusal.code;
  return { ...answer, message: refusal.message, warnings: [] };
}

const json = (status: number, body: unknown): Answer => ({
  status,
  headers: { 'Content-Type': 'application/json', 'x-amzn-RequestId': randomUUID() },
  body: JSON.stringify(body),
});

function vend(call: Call, world: World): unknown {
  const { roleArn, roleSessionName } = call.fields();
  const { facts } = call.leaf();
  const name = roleSessionName ?? facts.serialNumber;
  const life = world.lifeSeconds ?? durationOf(call, world);
  const [, partition = 'aws'] = roleArn.split(':');
  const session: Session = {
    accessKeyId: `ASIA${randomId()}`,
    secretAccessKey: world.vend.secretAccessKey ?? randomBytes(30).toString('base64'),
    sessionToken: world.vend.sessionToken ?? randomBytes(240).toString('base64'),
    // Whole seconds, as the wire has them: the STS here counts with what the client was told.
    expiration: new Date(Math.floor(world.now().getTime() / 1000 + life) * 1000),
    arn: `arn:${partition}:sts::${world.accountId}:assumed-role/${roleArn.split('/').at(-1)}/${name}`,
    userId: `${world.role.id}:${name}`,
  };
  world.sessions.set(session.accessKeyId, session);
  const { accessKeyId, secretAccessKey, sessionToken } = session;
  const expiration = session.expiration.toISOString().replace('.000Z', 'Z');
  return {
    credentialSet: [
      {
        assumedRoleUser: { arn: session.arn, assumedRoleId: session.userId },
        credentials: { accessKeyId, secretAccessKey, sessionToken, expiration },
        packedPolicySize: 0,
        roleArn,
        sourceIdentity: sourceIdentity(facts),
      },
    ],
    subjectArn: subjectArn(facts.subject, world),
  };
}

/** `CN=` goes in front while the whole fits into the 64 characters of STS. */
function sourceIdentity({
  commonName,
  serialNumber,
}: {
  commonName: string | undefined;
  serialNumber: string;
}): string {
  if (commonName === undefined) return `ID=${serialNumber}`;
  return commonName.length <= 61 ? `CN=${commonName}` : commonName;
}

/** One Subject for each distinct subject name: its id is made from the name. */
function subjectArn(subject: string, world: World): string {
  const hash = createHash('sha256').update(subject).digest('hex');
  const id = [
    hash.slice(0, 8),
    hash.slice(8, 12),
    `4${hash.slice(13, 16)}`,
    `8${hash.slice(17, 20)}`,
    hash.slice(20, 32),
  ];
  const [, partition] = world.profile.arn.split(':');
  return `arn:${partition}:rolesanywhere:${world.region}:${world.accountId}:subject/${id.join('-')}`;
}
