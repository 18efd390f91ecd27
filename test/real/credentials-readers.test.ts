import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type LocalRolesAnywhere, startLocalRolesAnywhere } from '../../src/local/index.ts';
import { setProfile } from '../../src/serve/credentials-file.ts';
import { vend } from '../helpers/canaries.ts';
import { type CliIdentity, type Finished, makeCliIdentity, processArgs, start, startCli } from '../helpers/cli.ts';
import { testUnless } from '../helpers/exercised.ts';
import { type BotocoreRead, checkIndented, readWithBotocore } from '../helpers/indented-credentials.mjs';
import { newCredentials, oddFile, PROFILE } from '../helpers/odd-credentials.mjs';

// Programs of others that read the credentials file. Debian's, not a version manager's.
const PYTHON = '/usr/bin/python3';
const AWS = ['/usr/bin/aws', '/usr/local/bin/aws'].find((path) => existsSync(path)) ?? 'aws';

const botoTest = await testUnless('boto3');
const awsTest = await testUnless('aws-cli');

let service: LocalRolesAnywhere;
let me: CliIdentity;
let dir: string;

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'holdfast-readers-'));
  service = await startLocalRolesAnywhere({ vend, lifeSeconds: 9 });
  me = await makeCliIdentity(service);
});

afterAll(async () => {
  await service.close();
  await me.remove();
  rmSync(dir, { recursive: true, force: true });
});

botoTest('botocore reads what was written into 400 odd files, and the other profiles as before', () => {
  const cases = Array.from({ length: 400 }, (_, at) => {
    const file = oddFile(at);
    const credentials = newCredentials(at);
    const [before, after] = [join(dir, `${at}.before`), join(dir, `${at}.after`)] as const;
    writeFileSync(before, file.data);
    writeFileSync(after, setProfile(file.data, PROFILE, credentials).data);
    return { file, credentials, before, after };
  });
  const was = readWithBotocore(cases.map(({ before }) => before));
  const is = readWithBotocore(cases.map(({ after }) => after));
  let compared = 0;
  for (const [at, { file, credentials }] of cases.entries()) {
    const { keys, others, error } = is[at] as BotocoreRead;
    // What it refuses as a whole is none of our doing.
    if (file.isTwice || !file.isUtf8 || file.hasBom) expect(error).toBe('ConfigParseError');
    else {
      expect([at, error]).toEqual([at, undefined]);
      expect(keys).toEqual([credentials.accessKeyId, credentials.secretAccessKey, credentials.sessionToken]);
    }
    const before = (was[at] as BotocoreRead).others;
    if (others === undefined || before === undefined || file.hasKeysInValues) continue;
    expect(others).toEqual({ [PROFILE]: {}, ...before });
    compared += 1;
  }
  expect(compared).toBeGreaterThan(100);
});

botoTest('what botocore could read of 400 files full of indented lines, it can read after', () => {
  expect(checkIndented(setProfile, 1, 400)).toBeGreaterThan(150);
});

const expiryIn = (file: string): string =>
  /^# holdfast: expires (\S+)$/m.exec(readFileSync(file, 'utf8'))?.[1] as string;

/** Ask the STS who one is with each session, while `holdfast update` refreshes the file twice. */
async function overRefreshes(file: string, ask: (env: NodeJS.ProcessEnv) => Promise<Finished>): Promise<void> {
  const env = { AWS_SHARED_CREDENTIALS_FILE: file, AWS_PROFILE: 'web', AWS_EC2_METADATA_DISABLED: 'true', HOME: dir };
  writeFileSync(file, '[default]\naws_access_key_id = AKIAOTHER\naws_secret_access_key = other\n', { mode: 0o600 });
  const [, ...flags] = processArgs(me.flags);
  const updating = startCli(['update', '--profile', 'web', ...flags], { env });
  try {
    await updating.saw('Credentials will be refreshed at');
    const seen = new Set<string>();
    while (seen.size < 3) {
      for (; seen.has(expiryIn(file)); await sleep(100)) expect(updating.child.exitCode).toBe(null);
      seen.add(expiryIn(file));
      const { status, stdout, stderr } = await ask(env);
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
      expect(stdout).toMatch(/arn:aws:sts::\d{12}:assumed-role\/holdfast-local\//);
    }
  } finally {
    updating.child.kill('SIGTERM');
    expect(await updating.finished).toMatchObject({ signal: 'SIGTERM', stdout: '' });
  }
}

awsTest(
  'the AWS CLI lives on the file over two refreshes',
  () =>
    overRefreshes(join(dir, 'for-aws'), (env) => {
      const args = ['sts', 'get-caller-identity', '--endpoint-url', service.stsEndpoint, '--region', service.region];
      return start(args, { program: AWS, env }).finished;
    }),
  120_000,
);

botoTest(
  'boto3 lives on the file over two refreshes',
  () =>
    overRefreshes(join(dir, 'for-boto3'), (env) => {
      const code =
        'import boto3, sys; print(boto3.client("sts", sys.argv[1], endpoint_url=sys.argv[2]).get_caller_identity()["Arn"])';
      return start(['-c', code, service.region, service.stsEndpoint], { program: PYTHON, env }).finished;
    }),
  120_000,
);

test(
  'an unmodified @aws-sdk client lives on the file over two refreshes',
  () =>
    overRefreshes(join(dir, 'for-sdk'), (env) => {
      const code = `
        import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts';
        const client = new STSClient({ region: '${service.region}', endpoint: '${service.stsEndpoint}' });
        console.log((await client.send(new GetCallerIdentityCommand({}))).Arn);
      `;
      const cwd = fileURLToPath(new URL('../..', import.meta.url));
      return start(['--no-warnings', '--input-type=module', '-e', code], { env, cwd }).finished;
    }),
  120_000,
);
