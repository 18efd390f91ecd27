import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { codeOf, type Finished, runCli } from '../helpers/cli.ts';
import { describeSoftHsm } from '../helpers/softhsm.ts';

let dir: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'holdfast-demo-test-'));
});

afterAll(() => rm(dir, { recursive: true, force: true }));

// Whatever the demo made, a token with its keys above all, is gone afterwards.
afterEach(async () => expect(await readdir(dir)).toEqual([]));

const demo = (args: string[], env: NodeJS.ProcessEnv = {}): Promise<Finished> =>
  runCli(['demo', ...args], { env: { TMPDIR: dir, NODE_NO_WARNINGS: '1', ...env } });

/** The table, by the first word of each row. */
const rowsOf = (stdout: string): Record<string, string> =>
  Object.fromEntries(
    stdout
      .trimEnd()
      .split('\n')
      .map((line) => /^(\w+(?: \w+)?)\s+(.*)$/.exec(line)?.slice(1) as [string, string]),
  );

const CALLER = /^\d+ ms {2}arn:aws:sts::111122223333:assumed-role\/holdfast-local\/\S+, says STS/;

describeSoftHsm('holdfast demo with SoftHSM', () => {
  test.each([[[]], [['--store', 'pkcs11']]])('%j: the key is made in a token and signs there', async (args) => {
    const { status, stdout, stderr } = await demo(args);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(rowsOf(stdout)).toEqual({
      token: expect.stringMatching(/^\d+ ms {2}"holdfast-demo" of SoftHSM/),
      key: expect.stringMatching(/^\d+ ms {2}P-256, made in the token/),
      certificate: expect.stringMatching(
        /^\d+ ms {2}CN=holdfast demo, issued by CN=holdfast local .*, kept on the token$/,
      ),
      'signed by': expect.stringMatching(/^key "demo" \(id [0-9a-f]+\) on token "holdfast-demo"$/),
      credentials: expect.stringMatching(/^\d+ ms {2}from credential-process, valid until \d{4}-.*Z$/),
      caller: expect.stringMatching(CALLER),
    });
  });
});

describe('holdfast demo without a token', () => {
  test('because a file was asked for', async () => {
    const { status, stdout, stderr } = await demo(['--store=file']);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(rowsOf(stdout)).toMatchObject({
      token: 'none: --store file was asked for',
      key: expect.stringContaining('made in a file'),
      'signed by': expect.stringContaining('key.pem'),
      caller: expect.stringMatching(CALLER),
    });
  });

  test('whatever the environment says to the SDKs and to holdfast', async () => {
    const { status, stdout, stderr } = await demo(['--store=file'], {
      AWS_CA_BUNDLE: '/nope',
      AWS_CONFIG_FILE: dir,
      AWS_DEFAULTS_MODE: 'nope',
      AWS_ENDPOINT_URL_STS: 'http://127.0.0.1:1',
      AWS_MAX_ATTEMPTS: 'many',
      AWS_PROFILE: 'nope',
      AWS_RETRY_MODE: 'nope',
      HOLDFAST_REGION: 'nope',
    });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(rowsOf(stdout)).toMatchObject({ caller: expect.stringMatching(CALLER) });
  });

  test('because SoftHSM is missing: it says so, how to have it, and goes on', async () => {
    const { status, stdout, stderr } = await demo([], { PATH: '/nonexistent' });
    expect(status).toBe(0);
    expect(stderr).toMatch(
      /^holdfast: warning: no token is used: SoftHSM is not installed: .*\nholdfast: hint: apt-get install softhsm2\n$/,
    );
    expect(rowsOf(stdout)).toMatchObject({
      token: expect.stringMatching(/^none: SoftHSM is not installed/),
      caller: expect.stringMatching(CALLER),
    });
  });

  test('unless a token was insisted on', async () => {
    const { status, stdout, stderr } = await demo(['--store', 'pkcs11'], { PATH: '/nonexistent' });
    expect([status, stdout, codeOf(stderr)]).toEqual([3, '', 'ERR_MODULE_NOT_FOUND']);
  });

  test.each([['usb', 'ERR_USAGE']])('--store %s is refused', async (store, code) => {
    const { status, stdout, stderr } = await demo(['--store', store]);
    expect([status, stdout, codeOf(stderr)]).toEqual([2, '', code]);
  });
});
