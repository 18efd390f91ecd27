import { chmod, cp, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { devNull, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { type Answer, type LocalRolesAnywhere, startLocalRolesAnywhere } from '../../src/local/index.ts';
import { vend } from '../helpers/canaries.ts';
import { type CliIdentity, codeOf, MAIN, makeCliIdentity, processArgs, runCli, start } from '../helpers/cli.ts';

const CP = 'credential-process';

let service: LocalRolesAnywhere;
let me: CliIdentity;
let dir: string;
/** What the service answers instead; undefined for its own answer. */
let instead: Answer | undefined;

beforeAll(async () => {
  service = await startLocalRolesAnywhere({ vend, trouble: (_, answer) => instead ?? answer });
  me = await makeCliIdentity(service);
});
beforeEach(async () => {
  instead = undefined;
  dir = await mkdtemp(join(me.dir, 'test-'));
});
afterAll(async () => {
  await service.close();
  await me.remove();
});

const write = async (name: string, text: string, mode = 0o600): Promise<string> => {
  const path = join(dir, name);
  await mkdir(join(path, '..'), { recursive: true });
  await writeFile(path, text);
  await chmod(path, mode);
  return path;
};

/** The flags that work, as lines of a config file. */
const lines = (flags: Readonly<Record<string, string>> = me.flags): string =>
  Object.entries(flags)
    .map(([name, value]) => `${name} = ${value}\n`)
    .join('');

const variables = (flags: Readonly<Record<string, string>> = me.flags): NodeJS.ProcessEnv =>
  Object.fromEntries(
    Object.entries(flags).map(([name, value]) => [`HOLDFAST_${name.toUpperCase().replaceAll('-', '_')}`, value]),
  );

const SUCCESS = { status: 0, stderr: '', stdout: expect.stringMatching(/^\{"Version":1,/) };

describe('credential-process without a single flag', () => {
  test('by variables', async () => {
    expect(await runCli([CP], { env: variables() })).toMatchObject(SUCCESS);
  });

  test('by the config file in its usual place', async () => {
    await write('holdfast/config', `# who we are\n\n${lines()}`);
    expect(await runCli([CP], { env: { XDG_CONFIG_HOME: dir } })).toMatchObject(SUCCESS);
    await write('.config/holdfast/config', lines());
    expect(await runCli([CP], { env: { XDG_CONFIG_HOME: '', HOME: dir } })).toMatchObject(SUCCESS);
  });

  test('by a config file that is named', async () => {
    const config = await write('mine', lines());
    expect(await runCli([CP, '--config', config])).toMatchObject(SUCCESS);
    expect(await runCli([CP], { env: { HOLDFAST_CONFIG: config } })).toMatchObject(SUCCESS);
  });

  test('by some of each: the stronger wins', async () => {
    const wrong = { ...me.flags, endpoint: 'http://127.0.0.1:1', 'role-arn': 'nonsense', 'private-key': '/nowhere' };
    const config = await write('mine', lines(wrong));
    const aws = await write('aws', `[default]\nendpoint_url = http://127.0.0.1:2\n`);
    const env = {
      ...variables({ 'private-key': '/nowhere either', 'role-arn': service.roleArn }),
      AWS_ENDPOINT_URL: service.endpoint,
      AWS_CONFIG_FILE: aws,
    };
    expect(await runCli([CP, '--config', config, '--private-key', me.keyPath], { env })).toMatchObject(SUCCESS);
  });

  test('what is missing is named, and so is what was said elsewhere', async () => {
    const { 'role-arn': _, ...rest } = me.flags;
    const { status, stdout, stderr } = await runCli([CP], { env: variables(rest) });
    expect([status, stdout, codeOf(stderr)]).toEqual([2, '', 'ERR_FLAG_MISSING']);
    expect(stderr).toMatch(/^holdfast: note: not from the command line: .*HOLDFAST_PROFILE_ARN.*$/m);
    expect(stderr).toMatch(/^holdfast: error: missing: --role-arn \(/m);
  });
});

describe('a config file that will not do', () => {
  const refusal = async (config: string) => {
    const { status, stdout, stderr } = await runCli([...processArgs(me.flags), '--config', config]);
    return { status, stdout, code: codeOf(stderr), stderr };
  };

  test('is not there', async () => {
    const found = await refusal(join(dir, 'none'));
    expect(found).toMatchObject({ status: 3, stdout: '', code: 'ERR_FILE_NOT_FOUND' });
    expect(found.stderr).toContain(`config file ${dir}/none`);
  });

  test('can be written by others', async () => {
    const found = await refusal(await write('open', 'region = x\n', 0o666));
    expect(found).toMatchObject({ status: 2, stdout: '', code: 'ERR_CONFIG_INVALID' });
    expect(found.stderr).toContain('mode 0666');
  });

  test.each(['role-arm = hunter2', 'hunter2', 'pkcs8-password = hunter2', '[hunter2]', 'region = "hunter2"'])(
    'has the line %s',
    async (line) => {
      const found = await refusal(await write('bad', `# first\n${line}\n`));
      expect(found).toMatchObject({ status: 2, stdout: '', code: 'ERR_CONFIG_INVALID' });
      expect(found.stderr).toContain(`line 2 of ${dir}/bad `);
      expect(found.stderr).not.toContain('hunter2');
    },
  );

  test('is no hindrance to a command that needs none', async () => {
    const env = { HOLDFAST_CONFIG: join(dir, 'none'), HOLDFAST_TYPO: 'x' };
    expect(await runCli(['version'], { env })).toMatchObject({ status: 0, stderr: '' });
    expect(await runCli([CP, '--help'], { env })).toMatchObject({ status: 0, stderr: '' });
    expect(await runCli([...processArgs(me.flags), '--config', devNull])).toMatchObject(SUCCESS);
  });
});

describe('a bad value is named by its place', () => {
  test.each<[name: string, env: NodeJS.ProcessEnv, code: string, says: RegExp]>([
    [
      'a number',
      { HOLDFAST_SESSION_DURATION: '1h' },
      'ERR_OPTION_INVALID',
      /error: the value of HOLDFAST_SESSION_DURATION is not/,
    ],
    ['a range', { HOLDFAST_SESSION_DURATION: '60' }, 'ERR_OPTION_INVALID', /error: HOLDFAST_SESSION_DURATION is 60 /],
    [
      'a boolean',
      { AWS_USE_FIPS_ENDPOINT: 'yes' },
      'ERR_OPTION_INVALID',
      /error: the value of AWS_USE_FIPS_ENDPOINT is neither/,
    ],
    ['a name', { HOLDFAST_ROLE_SESSION_NAME: 'a b' }, 'ERR_OPTION_INVALID', /note: .*: HOLDFAST_ROLE_SESSION_NAME$/m],
    [
      'a refused flag',
      { HOLDFAST_NO_VERIFY_SSL: '1' },
      'ERR_OPTION_INVALID',
      /error: HOLDFAST_NO_VERIFY_SSL: holdfast never/,
    ],
    ['another one', { HOLDFAST_SYSTEM_STORE_NAME: 'x' }, 'ERR_STORE_INCAPABLE', /error: HOLDFAST_SYSTEM_STORE_NAME: /],
    ['a file', { AWS_CA_BUNDLE: '/nowhere' }, 'ERR_FILE_NOT_FOUND', /note: .*: AWS_CA_BUNDLE$/m],
    [
      'FIPS for an endpoint',
      { AWS_USE_FIPS_ENDPOINT: 'true' },
      'ERR_ENDPOINT_INVALID',
      /note: .*: AWS_USE_FIPS_ENDPOINT$/m,
    ],
    ['dual stack too', { AWS_USE_DUALSTACK_ENDPOINT: 'TRUE' }, 'ERR_ENDPOINT_INVALID', /dual stack is asked for/],
  ])('%s', async (_, env, code, says) => {
    const { stdout, stderr } = await runCli(processArgs(me.flags), { env });
    expect({ stdout, code: codeOf(stderr) }).toEqual({ stdout: '', code });
    expect(stderr).toMatch(says);
  });

  test('a line of the config file', async () => {
    const config = await write('mine', `\nrole-arn = arn:aws:iam::1:role/x\n`);
    const { stderr } = await runCli([...processArgs({ ...me.flags, 'role-arn': undefined }), '--config', config]);
    expect(codeOf(stderr)).toBe('ERR_ARN_INVALID');
    expect(stderr).toContain(`note: not from the command line: role-arn in line 2 of ${config}\n`);
  });
});

test('a mistyped variable is warned of, without its value, and does not stop anything', async () => {
  const { status, stderr } = await runCli(processArgs(me.flags), { env: { HOLDFAST_ROLE_AR: 'hunter2' } });
  expect({ status, stderr }).toEqual({
    status: 0,
    stderr:
      'holdfast: warning: HOLDFAST_ROLE_AR is no setting and is not read\n' +
      'holdfast: hint: did you mean HOLDFAST_ROLE_ARN?\n',
  });
});

describe('what the SDKs have set', () => {
  test('the services section of the profile gives the endpoint', async () => {
    const { endpoint, ...rest } = me.flags;
    const config = await write(
      'aws',
      `[profile web]\nservices = here\nendpoint_url = http://127.0.0.1:1\n[services here]\nrolesanywhere =\n  endpoint_url = ${endpoint}\n`,
    );
    const env = { AWS_CONFIG_FILE: config, AWS_PROFILE: 'web' };
    expect(await runCli(processArgs(rest), { env })).toMatchObject(SUCCESS);
    const ignored = await runCli([...processArgs(rest), '--debug', '--private-key', '/nowhere'], {
      env: { ...env, AWS_IGNORE_CONFIGURED_ENDPOINT_URLS: 'true' },
    });
    expect(codeOf(ignored.stderr)).toBe('ERR_FILE_NOT_FOUND');
    expect(ignored.stderr).toContain(`endpoint: https://rolesanywhere.${service.region}.amazonaws.com/sessions,`);
  });

  test('FIPS and dual stack name the host', async () => {
    const rest = { ...me.flags, endpoint: undefined, 'private-key': '/nowhere' };
    const host = async (words: string[], env: NodeJS.ProcessEnv): Promise<string | undefined> => {
      const { stderr } = await runCli([...processArgs(rest), '--debug', ...words], { env });
      return /endpoint: https:\/\/([^/]+)\/sessions,/.exec(stderr)?.[1];
    };
    const [fips, dual] = [{ AWS_USE_FIPS_ENDPOINT: 'true' }, { AWS_USE_DUALSTACK_ENDPOINT: 'true' }];
    expect(await host([], fips)).toBe(`rolesanywhere-fips.${service.region}.amazonaws.com`);
    expect(await host(['--use-dualstack-endpoint'], fips)).toBe(`rolesanywhere-fips.${service.region}.api.aws`);
    expect(await host(['--use-fips-endpoint=false'], { ...fips, ...dual })).toBe(
      `rolesanywhere.${service.region}.api.aws`,
    );
  });

  test.each<[name: string, words: string[], env: NodeJS.ProcessEnv, requests: number]>([
    ['by their variable', [], { AWS_MAX_ATTEMPTS: '1' }, 1],
    ['by ours', [], { AWS_MAX_ATTEMPTS: '1', HOLDFAST_MAX_ATTEMPTS: '2' }, 2],
    ['by the flag', ['--max-attempts', '1'], { AWS_MAX_ATTEMPTS: '4', HOLDFAST_MAX_ATTEMPTS: '2' }, 1],
    ['by default, whatever the retry mode', [], { AWS_RETRY_MODE: 'legacy' }, 3],
  ])('attempts are counted: %s', async (_, words, env, requests) => {
    instead = { status: 503, headers: {}, body: '{"message":"not now"}' };
    const before = service.requests.length;
    const { status, stderr } = await runCli([...processArgs(me.flags), ...words], { env });
    expect([status, codeOf(stderr)]).toEqual([7, 'ERR_SERVICE_FAILED']);
    expect(service.requests.length - before).toBe(requests);
  });

  test("the region of the environment is nobody's", async () => {
    const env = { AWS_REGION: 'sa-east-1', AWS_DEFAULT_REGION: 'sa-east-1' };
    expect(await runCli(processArgs(me.flags), { env })).toMatchObject(SUCCESS);
  });

  test('nothing of it, and nothing of ours, changes the demo', async () => {
    const env = {
      ...variables({ endpoint: 'nonsense', certificate: '/nowhere', 'role-arm': 'x' }),
      XDG_CONFIG_HOME: dir,
      NODE_NO_WARNINGS: '1',
      AWS_USE_FIPS_ENDPOINT: 'true',
      AWS_USE_DUALSTACK_ENDPOINT: 'true',
      AWS_CA_BUNDLE: '/nowhere',
      AWS_CONFIG_FILE: await write('aws', '[default]\nuse_fips_endpoint = true\n'),
    };
    await write('holdfast/config', 'nonsense');
    expect(await runCli(['demo', '--store', 'file'], { env })).toMatchObject({ status: 0, stderr: '' });
  });
});

test('--debug says where each setting is from, by any name, and shows no secret of a URI', async () => {
  const env = { HOLDFAST_DEBUG: '1', HOLDFAST_CERTIFICATE: 'pkcs11:token=none?pin-value=hunter2&module-path=/nowhere' };
  const { stderr } = await runCli(processArgs({ ...me.flags, certificate: undefined }), { env });
  expect(stderr).toContain('holdfast: debug: setting private-key: from --private-key\n');
  expect(stderr).toContain('holdfast: debug: setting certificate: from HOLDFAST_CERTIFICATE\n');
  expect(stderr).toContain('holdfast: debug: setting session-duration: from its default\n');
  expect(stderr).not.toContain('hunter2');
});

test('what reads the config file is loaded only where there is one', async () => {
  const copy = await mkdtemp(join(tmpdir(), 'holdfast-copy-'));
  try {
    await cp(join(MAIN, '../..'), join(copy, 'dist'), { recursive: true });
    await cp(new URL('../../package.json', import.meta.url), join(copy, 'package.json'));
    const parsers = (await readdir(join(copy, 'dist/cli'))).filter((name) => /^config-file\b.*\.js$/.test(name));
    expect(parsers).toHaveLength(1);
    for (const name of parsers) await rm(join(copy, 'dist/cli', name));
    const run = (env: NodeJS.ProcessEnv) =>
      start([join(copy, 'dist/cli/main.js'), ...processArgs(me.flags)], { env }).finished;
    const nowhere = join(dir, 'none');
    expect(await run({ XDG_CONFIG_HOME: nowhere, AWS_CONFIG_FILE: nowhere })).toMatchObject(SUCCESS);
    // So that the one above could fail at all.
    expect(await run({ HOLDFAST_CONFIG: await write('mine', '') })).toMatchObject({ status: 1 });
  } finally {
    await rm(copy, { recursive: true, force: true });
  }
});
