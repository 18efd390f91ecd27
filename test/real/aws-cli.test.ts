import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect } from '@jest/globals';
import { type LocalRolesAnywhere, startLocalRolesAnywhere } from '../../src/local/index.ts';
import { vend } from '../helpers/canaries.ts';
import { type CliIdentity, type Finished, MAIN, makeCliIdentity, processArgs, start } from '../helpers/cli.ts';
import { testUnless } from '../helpers/exercised.ts';

// A version manager may put a program of the same name before Debian's.
const AWS = ['/usr/bin/aws', '/usr/local/bin/aws'].find((path) => existsSync(path)) ?? 'aws';

const awsTest = await testUnless('aws-cli');

let service: LocalRolesAnywhere;
let me: CliIdentity;
let dir: string;

beforeAll(async () => {
  service = await startLocalRolesAnywhere({ vend });
  me = await makeCliIdentity(service);
  dir = await mkdtemp(join(tmpdir(), 'holdfast-aws-'));
});

afterAll(async () => {
  await service.close();
  await me.remove();
  await rm(dir, { recursive: true, force: true });
});

/** The AWS CLI with a profile whose credential_process is the given command; it sees no other credentials. */
async function whoAmI(command: string): Promise<Finished> {
  const config = join(dir, 'config');
  await writeFile(config, `[profile web]\nregion = ${service.region}\ncredential_process = ${command}\n`);
  const env = {
    AWS_CONFIG_FILE: config,
    AWS_SHARED_CREDENTIALS_FILE: join(dir, 'no-credentials'),
    AWS_PROFILE: 'web',
    AWS_EC2_METADATA_DISABLED: 'true',
    HOME: dir,
  };
  const args = ['sts', 'get-caller-identity', '--endpoint-url', service.stsEndpoint, '--output', 'json'];
  return start(args, { program: AWS, env }).finished;
}

const holdfast = (flags: Readonly<Record<string, string | undefined>>): string =>
  [process.execPath, MAIN, ...processArgs(flags)].join(' ');

awsTest(
  'the AWS CLI takes credentials from credential_process',
  async () => {
    const { status, stdout, stderr } = await whoAmI(holdfast(me.flags));
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const { Account, Arn } = JSON.parse(stdout) as Record<string, string>;
    expect(Account).toBe(service.accountId);
    expect(Arn).toMatch(/^arn:aws:sts::\d{12}:assumed-role\/holdfast-local\/.+/);
    expect(service.requests.map(({ path, status: code }) => [path, code])).toEqual([
      ['/sessions', 201],
      ['/', 200],
    ]);
  },
  120_000,
);

awsTest(
  'what went wrong reaches the person through the AWS CLI',
  async () => {
    const { status, stderr } = await whoAmI(holdfast({ ...me.flags, 'role-arn': undefined }));
    expect(status).not.toBe(0);
    expect(stderr).toContain('missing: --role-arn (ERR_FLAG_MISSING)');
  },
  120_000,
);

awsTest(
  'a line that was broken with a backslash, as the AWS CLI splits it',
  async () => {
    const words = holdfast(me.flags).replace(' --certificate', ' \\\n  --certificate');
    const { status, stderr } = await whoAmI(words);
    expect(status).not.toBe(0);
    expect(stderr).toContain('ERR_LINE_CONTINUATION');
  },
  120_000,
);
