import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { type LocalRolesAnywhere, startLocalRolesAnywhere } from '../../src/local/index.ts';
import * as pkcs11 from '../../src/stores/pkcs11/in-place.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { vend } from '../helpers/canaries.ts';
import { processArgs, runCli, startCli } from '../helpers/cli.ts';
import { describeFaulty, type FaultModule, faultOn } from '../helpers/fault-module.ts';
import { makeToken, type TestToken } from '../helpers/softhsm.ts';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

describeFaulty('a signal while a token is slow', () => {
  let service: LocalRolesAnywhere;
  let token: TestToken;
  let fault: FaultModule;
  let uri: string;
  let args: string[];
  let env: NodeJS.ProcessEnv;

  beforeAll(async () => {
    service = await startLocalRolesAnywhere({ vend });
    token = await makeToken();
    fault = faultOn(token);
    const pinFile = join(token.dir, 'pin');
    writeFileSync(pinFile, token.pin, { mode: 0o600 });
    const plain = token.uri({ object: 'web' }).replace(/module-path=[^&]+/, () => `module-path=${fault.modulePath}`);
    await pkcs11.create(parseKeyUri(plain), { keyType: 'P-256', secret: token.pin });
    const opened = await pkcs11.open(parseKeyUri(plain), { secret: token.pin });
    const { certificate } = await service.issue({ publicKey: opened.publicKey as Uint8Array, commonName: 'slow' });
    await opened.close();
    const certificatePath = join(token.dir, 'certificate.pem');
    writeFileSync(certificatePath, certificate);
    uri = `${plain}&pin-source=file:${pinFile}`;
    args = processArgs({
      'private-key': uri,
      certificate: certificatePath,
      'trust-anchor-arn': service.trustAnchorArn,
      'profile-arn': service.profileArn,
      'role-arn': service.roleArn,
      endpoint: service.endpoint,
    });
    env = { ...fault.env, HOLDFAST_CACHE: 'off' };
  });
  afterAll(async () => {
    await service.close();
    await token.remove();
  });
  beforeEach(() => {
    fault.rules();
    fault.reset();
  });

  async function called(name: string, times = 1): Promise<void> {
    while (fault.calls(name).came < times) await pause(20);
  }

  /** A moment after C_Sign has come, in a thread of its own, signals are caught again, which C_Login let end the process. */
  async function caught(pid: number, signal: (typeof SIGNALS)[number]): Promise<void> {
    const mask = (): bigint =>
      BigInt(`0x${/^SigCgt:\s*(\w+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]}`);
    while (((mask() >> BigInt(constants.signals[signal] - 1)) & 1n) === 0n) await pause(20);
  }

  /** What processes of this user share: nothing but the directory itself is the usual case. */
  const left = (): string[] => {
    const base = process.env.XDG_RUNTIME_DIR;
    return base === undefined ? [] : readdirSync(base).flatMap((name) => readdirSync(join(base, name)));
  };
  const records = (): string[] => left().filter((name) => /^pin-[0-9a-f]+$/.test(name));

  // The call blocks the whole process, its handlers of signals too.
  test.each(SIGNALS)('%s in C_Login ends it, and the next one logs in', async (signal) => {
    fault.rules('C_Login delay=120000');
    const { child, finished } = startCli(args, { env });
    await called('C_Login');
    child.kill(signal);
    expect(await finished).toMatchObject({ status: null, signal, stdout: '' });
    expect([fault.calls('C_Login').passed, records()]).toEqual([0, []]);
    fault.rules();
    expect(await runCli(args, { env })).toMatchObject({ status: 0, stderr: '' });
    expect(left()).toEqual([]);
  });

  test.each(SIGNALS)('%s in C_Sign ends it, says so and leaves nothing behind', async (signal) => {
    fault.rules('C_Sign delay=120000');
    const { child, finished } = startCli(args, { env });
    await called('C_Sign');
    await caught(child.pid as number, signal);
    child.kill(signal);
    const { stderr, ...ended } = await finished;
    expect(ended).toEqual({ status: null, signal, stdout: '' });
    expect(stderr).toMatch(/^(holdfast: touch: .*\n)?holdfast: error: interrupted \(ERR_INTERRUPTED\)\n$/);
    expect(left()).toEqual([]);
  });

  test('after a login, a signal is heard again', async () => {
    fault.rules('C_Login delay=300', 'C_Sign delay=120000');
    const { child, finished } = startCli([...args, '--log-format', 'json'], { env });
    await called('C_Sign');
    await caught(child.pid as number, 'SIGTERM');
    child.kill('SIGTERM');
    const { signal, stderr } = await finished;
    expect(signal).toBe('SIGTERM');
    const told = stderr
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { code?: string });
    expect(told.at(-1)).toMatchObject({ level: 'error', code: 'ERR_INTERRUPTED' });
  });

  test('while another process is in the middle of a login: the turn of that one stays', async () => {
    fault.rules('C_Login delay=120000');
    const first = startCli(args, { env });
    await called('C_Login');
    const second = startCli(args, { env });
    await called('C_OpenSession', 2);
    second.child.kill('SIGINT');
    expect(await second.finished).toMatchObject({ status: null, signal: 'SIGINT', stdout: '' });
    expect(fault.calls('C_Login').came).toBe(1);
    expect(left()).toEqual([expect.stringMatching(/^pin-[0-9a-f]+\.turn$/)]);
    first.child.kill('SIGTERM');
    expect(await first.finished).toMatchObject({ status: null, signal: 'SIGTERM' });
  });

  test.each([
    ['list --login', (): string[] => ['list', uri, '--login']],
    ['sign-string', (): string[] => ['sign-string', '--private-key', uri]],
  ])('%s, too', async (_, line) => {
    fault.rules('C_Login delay=120000');
    const { child, finished } = startCli(line(), { env });
    await called('C_Login');
    child.kill('SIGTERM');
    expect(await finished).toMatchObject({ status: null, signal: 'SIGTERM', stdout: '' });
    expect(records()).toEqual([]);
  });
});
