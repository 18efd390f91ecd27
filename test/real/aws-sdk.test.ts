import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type LocalRolesAnywhere, startLocalRolesAnywhere } from '../../src/local/index.ts';
import { vend } from '../helpers/canaries.ts';
import { type CliIdentity, MAIN, makeCliIdentity, processArgs, start } from '../helpers/cli.ts';

let service: LocalRolesAnywhere;
let me: CliIdentity;
let dir: string;

beforeAll(async () => {
  service = await startLocalRolesAnywhere({ vend });
  me = await makeCliIdentity(service);
  dir = await mkdtemp(join(tmpdir(), 'holdfast-sdk-'));
});

afterAll(async () => {
  await service.close();
  await me.remove();
  await rm(dir, { recursive: true, force: true });
});

/** Ask STS who we are, with an unmodified client in plain Node: jest's module loader is not what users have. */
async function whoAmI(credentials: string, env: NodeJS.ProcessEnv = {}) {
  const script = `
    import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts';
    const client = new STSClient({ region: '${service.region}', endpoint: '${service.stsEndpoint}', ${credentials} });
    const { Arn } = await client.send(new GetCallerIdentityCommand({}));
    const { accountId, expiration } = await client.config.credentials();
    console.log(JSON.stringify({ Arn, accountId, expiration }));
  `;
  const { status, stdout, stderr } = await start(['--no-warnings', '--input-type=module', '-e', script], {
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
    env: { ...env, HOME: dir, AWS_EC2_METADATA_DISABLED: 'true' },
  }).finished;
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return JSON.parse(stdout) as { Arn: string; accountId?: string; expiration: string };
}

const sessions = () => service.requests.filter(({ path, status }) => path === '/sessions' && status === 201).length;

test('an unmodified client takes credentials from credential_process, by its default chain', async () => {
  const command = [process.execPath, MAIN, ...processArgs(me.flags)].join(' ');
  await writeFile(join(dir, 'config'), `[profile web]\ncredential_process = ${command}\n`);
  const before = sessions();
  const { Arn } = await whoAmI('', {
    AWS_CONFIG_FILE: join(dir, 'config'),
    AWS_SHARED_CREDENTIALS_FILE: join(dir, 'none'),
    AWS_PROFILE: 'web',
  });
  expect(Arn).toMatch(/:assumed-role\/holdfast-local\//);
  expect(sessions()).toBe(before + 1);
});

test('an unmodified client takes credentials from fromRolesAnywhere', async () => {
  const door = pathToFileURL(join(MAIN, '../../index.js')).href;
  const { trustAnchorArn, profileArn, roleArn, endpoint } = service;
  const files = { key: me.keyPath, certificate: me.certificatePath, chain: me.flags.intermediates };
  const init = { ...files, trustAnchorArn, profileArn, roleArn, endpoint };
  const before = sessions();
  const { Arn, accountId, expiration } = await whoAmI(
    `credentials: (await import('${door}')).fromRolesAnywhere(${JSON.stringify(init)})`,
  );
  expect(Arn).toMatch(/:assumed-role\/holdfast-local\//);
  expect(accountId).toBe(service.accountId);
  expect(Date.parse(expiration)).toBeGreaterThan(Date.now());
  expect(sessions()).toBe(before + 1);
});
