import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type LocalRolesAnywhere, startLocalRolesAnywhere } from '../../src/local/index.ts';
import { vend } from '../helpers/canaries.ts';
import { type CliIdentity, MAIN, makeCliIdentity, processArgs, start } from '../helpers/cli.ts';
import { testUnless } from '../helpers/exercised.ts';

// Sessions that live for two seconds: whoever uses them for longer must have them bought again, by credential_process.
const LIFE = 2;
const ROUNDS = 3;

const AWS = ['/usr/bin/aws', '/usr/local/bin/aws'].find((path) => existsSync(path)) ?? 'aws';
const PYTHON = '/usr/bin/python3'; // Debian's, not a version manager's

const botoTest = await testUnless('boto3');
const awsTest = await testUnless('aws-cli');

let service: LocalRolesAnywhere;
let me: CliIdentity;
let dir: string;

beforeAll(async () => {
  service = await startLocalRolesAnywhere({ vend, lifeSeconds: LIFE });
  me = await makeCliIdentity(service);
  dir = await mkdtemp(join(tmpdir(), 'holdfast-refresh-'));
  const command = [process.execPath, MAIN, ...processArgs(me.flags)].join(' ');
  await writeFile(join(dir, 'config'), `[profile web]\nregion = ${service.region}\ncredential_process = ${command}\n`);
});

afterAll(async () => {
  await service.close();
  await me.remove();
  await rm(dir, { recursive: true, force: true });
});

const bought = (): number =>
  service.requests.filter(({ path, status }) => path === '/sessions' && status === 201).length;

/** @param times how often a program that makes all its calls in one process is started */
async function overRefreshes(program: string, args: readonly string[], times: number): Promise<void> {
  const before = bought();
  const env = {
    AWS_CONFIG_FILE: join(dir, 'config'),
    AWS_SHARED_CREDENTIALS_FILE: join(dir, 'none'),
    AWS_PROFILE: 'web',
    AWS_EC2_METADATA_DISABLED: 'true',
    HOME: dir,
  };
  const cwd = fileURLToPath(new URL('../..', import.meta.url));
  const said: string[] = [];
  for (let i = 0; i < times; i += 1) {
    if (i > 0) await new Promise((resolve) => setTimeout(resolve, LIFE * 1000 + 100));
    const { status, stdout, stderr } = await start(args, { program, env, cwd }).finished;
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    said.push(...stdout.trim().split('\n'));
  }
  expect(said).toHaveLength(ROUNDS);
  for (const line of said) expect(line).toMatch(/arn:aws:sts::\d{12}:assumed-role\/holdfast-local\//);
  // The STS lets no session in that has ended. Some clients have them bought more often than they must.
  expect(bought() - before).toBeGreaterThanOrEqual(ROUNDS);
}

awsTest('the AWS CLI has each session bought anew when the last one has ended', () => {
  const args = ['sts', 'get-caller-identity', '--endpoint-url', service.stsEndpoint, '--output', 'text'];
  return overRefreshes(AWS, [...args, '--query', 'Arn'], ROUNDS);
});

botoTest('one boto3 client outlives its sessions', () => {
  const code = `
import boto3, sys, time
client = boto3.client("sts", sys.argv[1], endpoint_url=sys.argv[2])
for i in range(${ROUNDS}):
    time.sleep(i and ${LIFE} + .1)
    print(client.get_caller_identity()["Arn"], flush=True)
`;
  return overRefreshes(PYTHON, ['-c', code, service.region, service.stsEndpoint], 1);
});

test('one @aws-sdk client outlives its sessions', () => {
  const code = `
    import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts';
    const client = new STSClient({ region: '${service.region}', endpoint: '${service.stsEndpoint}' });
    for (let i = 0; i < ${ROUNDS}; i += 1) {
      if (i > 0) await new Promise((resolve) => setTimeout(resolve, ${LIFE * 1000 + 100}));
      console.log((await client.send(new GetCallerIdentityCommand({}))).Arn);
    }
  `;
  return overRefreshes(process.execPath, ['--no-warnings', '--input-type=module', '-e', code], 1);
});
