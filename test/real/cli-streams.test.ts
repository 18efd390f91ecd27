import { readdirSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type LocalRolesAnywhere, startLocalRolesAnywhere } from '../../src/local/index.ts';
import { vend } from '../helpers/canaries.ts';
import { type CliIdentity, MAIN, makeCliIdentity, processArgs, runCli, start } from '../helpers/cli.ts';

let service: LocalRolesAnywhere;
let me: CliIdentity;
let temporary: string;

beforeAll(async () => {
  service = await startLocalRolesAnywhere({ vend });
  me = await makeCliIdentity(service);
  temporary = await mkdtemp(join(tmpdir(), 'holdfast-streams-'));
});

afterAll(async () => {
  await service.close();
  await me.remove();
  await rm(temporary, { recursive: true, force: true });
});

describe('a reader that went away', () => {
  /** The reader ends at once; what is written a second later meets a pipe without a reader. */
  async function statusWithout(which: 'stdout' | 'stderr' | 'both', args: readonly string[]): Promise<string> {
    const into = { stdout: '', stderr: '2>&1 >/dev/null', both: '2>&1' }[which];
    const script = `(sleep 1; exec "$0" "$@") ${into} | true; echo "\${PIPESTATUS[0]}"`;
    const { stdout, stderr } = await start(['-c', script, process.execPath, MAIN, ...args], {
      program: 'bash',
      env: { TMPDIR: temporary },
    }).finished;
    expect(stderr).toBe('');
    return stdout.trim();
  }

  test.each<[which: 'stdout' | 'stderr' | 'both', what: string, args: () => string[], status: string]>([
    ['stdout', 'the help', () => ['help', 'credential-process'], '0'],
    ['stderr', 'a warning', () => ['version', 'please'], '0'],
    ['stderr', 'an error', () => ['frobnicate'], '2'],
    ['both', 'a result and a warning', () => [...processArgs(me.flags), 'please'], '0'],
    ['both', 'an error', () => processArgs({ ...me.flags, 'role-arn': 'x' }), '2'],
    ['both', 'an error as JSON', () => ['frobnicate', '--log-format', 'json'], '2'],
  ])('of %s: %s', async (which, _, args, status) => {
    expect(await statusWithout(which, args())).toBe(status);
  });
});

test('a service whose line finds no room ends, and takes its files away', async () => {
  const line = ['-c', '"$0" "$@" > /dev/full', process.execPath, MAIN, 'local'];
  const { status, stderr } = await start(line, { program: 'bash', env: { TMPDIR: temporary } }).finished;
  expect([status, readdirSync(temporary)]).toEqual([3, []]);
  expect(stderr).toMatch(/ENOSPC.*\(ERR_FILE_UNWRITABLE\)/);
});

describe('the log as JSON', () => {
  // No canary: it stands in argv and in an environment.
  const SECRET = 'hunter2+hunter2';

  const objectsIn = (stderr: string): Record<string, unknown>[] =>
    stderr
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Record<string, unknown>);

  test('has an object on every line, and no secret, whatever happens', async () => {
    const locked = join(me.dir, 'pin');
    await writeFile(locked, SECRET, { mode: 0o600 });
    const token = `pkcs11:token=none?module-path=/nowhere.so&pin-value=${SECRET}`;
    const worlds: [args: string[], env: NodeJS.ProcessEnv][] = [
      [processArgs(me.flags), {}],
      [[...processArgs(me.flags), SECRET], { HOLDFAST_PKCS8_PASSWORD: SECRET }],
      [processArgs({ ...me.flags, 'pkcs8-password': SECRET, certificate: '/nowhere' }), {}],
      [processArgs({ ...me.flags, 'private-key': token }), {}],
      [['list', token], {}],
      [['pin', 'retry', token], { HOLDFAST_PROXY: `http://me:${SECRET}@127.0.0.1:1` }],
      [processArgs(me.flags), { HOLDFAST_PROXY: `socks5://me:${SECRET}@127.0.0.1:1` }],
      [processArgs(me.flags), { HOLDFAST_LOG_LEVEL: SECRET }],
      [processArgs(me.flags), { HOLDFAST_CONFIG: locked }],
    ];
    for (const [args, env] of worlds) {
      const form = { HOLDFAST_LOG_FORMAT: 'json', HOLDFAST_DEBUG: 'true', HOLDFAST_CACHE: 'off' };
      const { stderr, status } = await runCli(args, { env: { ...form, ...env } });
      const told = objectsIn(stderr);
      expect(told.length).toBeGreaterThan(0);
      for (const { time, level, message } of told) {
        expect([typeof time, typeof message, level]).toEqual(['string', 'string', expect.stringMatching(/^[a-z]+$/)]);
      }
      expect(told.filter(({ level }) => level === 'error')).toHaveLength(status === 0 ? 0 : 1);
      expect(stderr).not.toContain(SECRET);
    }
  });
});
