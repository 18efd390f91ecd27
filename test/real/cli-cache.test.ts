import { execFile } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { type LocalRolesAnywhere, startLocalRolesAnywhere } from '../../src/local/index.ts';
import { vend } from '../helpers/canaries.ts';
import { makeKeyPair } from '../helpers/certificates.ts';
import {
  type CliIdentity,
  codeOf,
  MAIN,
  makeCliIdentity,
  processArgs,
  runCli,
  start,
  startCli,
} from '../helpers/cli.ts';
import { describeUnless } from '../helpers/exercised.ts';
import { describeSoftHsm, makeToken } from '../helpers/softhsm.ts';

const LOADED = fileURLToPath(new URL('../../bench/loaded.cjs', import.meta.url));
const describeLinux = await describeUnless('linux');

let service: LocalRolesAnywhere;
let me: CliIdentity;
let dir: string;
/** Requests that arrived. */
let requests = 0;
/** Where they wait until somebody lets them through. */
let gate: Promise<void> | undefined;
beforeAll(async () => {
  service = await startLocalRolesAnywhere({
    vend,
    trouble: async (_request, answer) => {
      requests += 1;
      await gate;
      return answer;
    },
  });
  me = await makeCliIdentity(service);
  dir = mkdtempSync(join(tmpdir(), 'holdfast-cache-'));
});
beforeEach(() => {
  gate = undefined;
});
afterAll(async () => {
  await service.close();
  await me.remove();
  rmSync(dir, { recursive: true, force: true });
});

const runtime = (): string => join(process.env.XDG_RUNTIME_DIR as string, 'holdfast');
const entries = (): string[] => readdirSync(runtime()).filter((name) => name.startsWith('session-'));
const args = (changes: Record<string, string | undefined> = {}): string[] => processArgs({ ...me.flags, ...changes });

/** How many sessions were bought since. */
function counter(): () => number {
  const before = requests;
  return () => requests - before;
}

/** A gate, and how to open it. */
function shut(): () => void {
  let open = (): void => {};
  gate = new Promise((resolve) => {
    open = resolve;
  });
  return open;
}

describeLinux('many at once', () => {
  test('200 that find nothing buy one session', async () => {
    const bought = counter();
    const all = await Promise.all(Array.from({ length: 200 }, () => runCli(args())));
    expect(new Set(all.map(({ status, stdout }) => `${status} ${stdout}`)).size).toBe(1);
    expect(all[0]?.status).toBe(0);
    expect(bought()).toBe(1);
    expect(entries()).toHaveLength(1);
    expect(statSync(join(runtime(), entries()[0] as string)).mode & 0o7777).toBe(0o600);
  }, 120_000);

  test('one that is killed while it buys stops nobody: one other buys for all', async () => {
    const open = shut();
    const bought = counter();
    const killed = startCli(args());
    while (bought() === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    const waiting = Array.from({ length: 8 }, () => startCli(args()));
    await Promise.all(waiting.map((one) => one.saw(`waiting for another holdfast (process ${killed.child.pid})`)));
    killed.child.kill('SIGKILL');
    await killed.finished;
    open();
    const ended = await Promise.all(waiting.map(({ finished }) => finished));
    expect(new Set(ended.map(({ status, stdout }) => `${status} ${stdout}`)).size).toBe(1);
    expect(ended[0]).toMatchObject({ status: 0, stdout: expect.stringContaining('AccessKeyId') });
    expect(bought()).toBe(2);
    expect(entries()).toEqual([expect.not.stringContaining('turn')]);
  }, 120_000);

  test('one that is stopped while it buys holds nobody up beyond a deadline, and then nobody at all', async () => {
    const open = shut();
    const bought = counter();
    const stopped = startCli(args());
    while (bought() === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    stopped.child.kill('SIGSTOP');
    open();
    try {
      const ended = await Promise.all(
        Array.from({ length: 3 }, () => runCli([...args(), '--deadline', '1', '--debug'])),
      );
      expect(ended.map(({ status }) => status)).toEqual([0, 0, 0]);
      expect(ended.map(({ stderr }) => stderr).join()).toContain(
        `note: the other holdfast (process ${stopped.child.pid}) is not done after 1 s: this one buys its own session`,
      );
      expect((await runCli([...args(), '--debug'])).stderr).toContain('cache: hit');
    } finally {
      stopped.child.kill('SIGKILL');
      await stopped.finished;
    }
  });

  // A shell shows 130 and 143.
  test.each(['SIGINT', 'SIGTERM'] as const)('%s ends one that waits, and leaves the other its turn', async (signal) => {
    await runCli(args());
    const path = join(runtime(), entries()[0] as string);
    rmSync(path);
    const stat = readFileSync('/proc/self/stat', 'latin1')
      .replace(/^.*\) /s, '')
      .split(' ');
    const turn = `${process.pid} ${stat[19]} ${readlinkSync('/proc/self/ns/pid')}`;
    symlinkSync(turn, `${path}.turn`);
    const bought = counter();
    const waiting = startCli(args());
    await waiting.saw('waiting for another holdfast');
    waiting.child.kill(signal);
    const ended = await waiting.finished;
    expect([ended.status ?? ended.signal, ended.stdout, codeOf(ended.stderr)]).toEqual([signal, '', 'ERR_INTERRUPTED']);
    expect([bought(), entries(), readlinkSync(`${path}.turn`)]).toEqual([0, [expect.stringMatching(/turn$/)], turn]);
  });

  test('of those that the service fails, each fails by itself, and none waits for the others', async () => {
    const refused = args({ 'role-arn': me.flags['role-arn']?.replace(/.$/, '') });
    const all = await Promise.all(Array.from({ length: 6 }, () => runCli(refused)));
    expect(new Set(all.map(({ status, stderr }) => `${status} ${codeOf(stderr)}`))).toEqual(
      new Set(['7 ERR_SERVICE_REFUSED']),
    );
    expect(entries()).toEqual([expect.not.stringContaining('turn')]);
  });
});

describeLinux('a hit', () => {
  /** What one run loaded: Node's own modules, and files. */
  async function loaded(more: readonly string[] = []): Promise<{ builtins: string[]; files: { path: string }[] }> {
    const path = join(dir, 'loaded.json');
    const run = start(['--require', LOADED, MAIN, ...args(), ...more], { env: { BENCH_LOADED: path } });
    expect((await run.finished).status).toBe(0);
    return JSON.parse(readFileSync(path, 'utf8')) as { builtins: string[]; files: { path: string }[] };
  }

  test('opens no key, connects to nothing, loads one file and neither cryptography nor network', async () => {
    const heavy = /NativeModule (crypto|https?|net|tls|zlib|stream|dns|child_process)$/;
    const miss = await loaded();
    expect(miss.builtins.filter((name) => heavy.test(name))).not.toEqual([]); // so that the next could fail
    const bought = counter();
    const hit = await loaded();
    expect(bought()).toBe(0);
    expect(hit.builtins.filter((name) => heavy.test(name))).toEqual([]);
    expect(hit.files.filter(({ path }) => path.endsWith('.node'))).toEqual([]);
    expect(hit.files.map(({ path }) => path)).toEqual(
      process.env.HOLDFAST_TEST_DIST === undefined ? [MAIN] : expect.any(Array),
    );
  });

  test('needs no service', async () => {
    const other = await startLocalRolesAnywhere({ vend, port: 0 });
    const mine = await makeCliIdentity(other);
    const first = await runCli(processArgs(mine.flags));
    await other.close();
    expect(await runCli(processArgs(mine.flags))).toMatchObject({ status: 0, stdout: first.stdout, stderr: '' });
    expect(codeOf((await runCli([...processArgs(mine.flags), '--no-cache'])).stderr)).toBe('ERR_SERVICE_UNREACHABLE');
    await mine.remove();
  });

  test('does not hide what is wrong with the command line', async () => {
    await runCli(args());
    const results = await Promise.all([
      runCli(args({ 'role-arn': 'nonsense' })),
      runCli(args({ 'session-duration': '1' })),
      runCli([...args(), '--nonsense']),
      runCli(args({ 'private-key': `file:${me.keyPath}?pin-source=nowhere` })),
      runCli(args({ 'private-key': `file:${me.keyPath}?pin-source=|/bin/echo` })),
    ]);
    expect(results.map(({ stderr }) => codeOf(stderr))).toEqual([
      'ERR_ARN_INVALID',
      'ERR_OPTION_INVALID',
      'ERR_USAGE',
      'ERR_URI_INVALID',
      'ERR_URI_INVALID',
    ]);
  });

  test('says with --debug what it is, and where', async () => {
    const first = await runCli([...args(), '--debug']);
    const second = await runCli([...args(), '--debug']);
    const place = join(runtime(), entries()[0] as string);
    expect(first.stderr).toContain(`debug: cache: miss in ${place}`);
    expect(second.stderr).toContain(`debug: cache: hit in ${place}`);
  });
});

describeLinux('no session is shared', () => {
  test.each<[string, string, readonly string[], NodeJS.ProcessEnv]>([
    ['with --no-cache', '--no-cache', ['--no-cache'], {}],
    ['with --cache off', '--cache', ['--cache', 'off'], {}],
    ['with HOLDFAST_CACHE=No', 'HOLDFAST_CACHE', [], { HOLDFAST_CACHE: 'No' }],
    ['asked for too short', 'a session of 900 seconds is too short', ['--session-duration', '900'], {}],
  ])('%s, which --debug says', async (_, why, more, env) => {
    const bought = counter();
    for (let i = 0; i < 2; i += 1) {
      const { status, stderr } = await runCli([...args(), ...more, '--debug'], { env });
      expect([status, stderr]).toEqual([0, expect.stringContaining(`debug: cache: off, ${why}`)]);
    }
    expect(bought()).toBe(2);
    expect(readdirSync(process.env.XDG_RUNTIME_DIR as string)).toEqual([]);
  });

  test('of one that lives less than 15 minutes', async () => {
    const short = await startLocalRolesAnywhere({ vend, lifeSeconds: 890 });
    const mine = await makeCliIdentity(short);
    for (let i = 0; i < 2; i += 1) expect((await runCli(processArgs(mine.flags))).status).toBe(0);
    expect(short.requests).toHaveLength(2);
    await short.close();
    await mine.remove();
  });

  test('through a directory that is a link, nor one that others may enter', async () => {
    const bought = counter();
    const place = mkdtempSync('/dev/shm/holdfast-test-');
    const own = join(place, 'holdfast');
    const debug = async (): Promise<string> =>
      (await runCli([...args(), '--debug'], { env: { XDG_RUNTIME_DIR: place } })).stderr;
    try {
      symlinkSync(dir, own);
      const before = readdirSync(dir);
      const messages = [await debug()];
      expect(readdirSync(dir)).toEqual(before);
      rmSync(own);
      mkdirSync(own, { mode: 0o755 });
      messages.push(await debug());
      expect(readdirSync(own)).toEqual([]);
      // The next of the usual places was taken, and there the second found what the first had left.
      for (const message of messages) {
        expect(message).not.toContain(own);
        rmSync(/cache: \w+ in (\S+)/.exec(message)?.[1] ?? own, { force: true, recursive: true });
      }
      expect(bought()).toBeGreaterThan(0);
    } finally {
      rmSync(place, { recursive: true, force: true });
    }
  });
});

describeSoftHsm('a key in a token', () => {
  test('is asked once: then neither token, nor driver, nor PIN is needed', async () => {
    const token = await makeToken();
    const pin = join(token.dir, 'pin');
    writeFileSync(pin, token.pin, { mode: 0o600 });
    const uri = token.uri({ object: 'cached' }, { 'pin-source': `file:${pin}` });
    const { pem, publicKey } = makeKeyPair();
    const file = join(token.dir, 'key.pem');
    writeFileSync(file, pem, { mode: 0o600 });
    const place = ['--module', token.modulePath, '--token', token.tokenLabel, '--pin', token.pin];
    await promisify(execFile)(
      'softhsm2-util',
      [...place, '--import', file, '--label', 'cached', '--id', '01', '--force'],
      { env: { ...process.env, ...token.env } },
    );
    const certificate = join(dir, 'token.pem');
    writeFileSync(certificate, (await service.issue({ publicKey })).certificate);
    const flags = { 'private-key': uri, certificate, intermediates: undefined };
    const first = await runCli(args(flags), { env: token.env });
    expect(first).toMatchObject({ status: 0, stderr: '' });
    await token.remove();
    const second = await runCli(args(flags), { env: token.env });
    expect(second).toMatchObject({ status: 0, stdout: first.stdout, stderr: '' });
    expect((await runCli([...args(flags), '--no-cache'], { env: token.env })).status).not.toBe(0);
  });
});
