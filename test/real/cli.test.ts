import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type LocalRolesAnywhere, startLocalRolesAnywhere } from '../../src/local/index.ts';
import { vend } from '../helpers/canaries.ts';
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
import { rawServer } from '../helpers/servers.ts';

let service: LocalRolesAnywhere;
let me: CliIdentity;
let dir: string;

beforeAll(async () => {
  service = await startLocalRolesAnywhere({ vend });
  me = await makeCliIdentity(service);
  dir = await mkdtemp(join(tmpdir(), 'holdfast-test-'));
});

afterAll(async () => {
  await service.close();
  await me.remove();
  await rm(dir, { recursive: true, force: true });
});

const manifest = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

describe('version and help', () => {
  test('version, alone on its line', async () => {
    expect(await runCli(['version'])).toMatchObject({ status: 0, stdout: `${manifest.version}\n`, stderr: '' });
  });

  test.each([[[]], [['help']], [['--help']], [['-h']]])('%j prints the commands', async (args) => {
    const { status, stdout, stderr } = await runCli(args);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(/^ {2}credential-process {2}/m);
  });

  test('help of a command, three ways', async () => {
    const all = await Promise.all([
      runCli(['help', 'local']),
      runCli(['local', '-h']),
      runCli(['--help', 'local', '--port', '1']),
    ]);
    for (const { status, stdout } of all) expect({ status, stdout }).toEqual({ status: 0, stdout: all[0].stdout });
    expect(all[0].stdout).toContain('--port PORT');
  });

  test('help of no command', async () => {
    const { status, stdout, stderr } = await runCli(['help', 'frobnicate']);
    expect([status, stdout, codeOf(stderr)]).toEqual([2, '', 'ERR_USAGE']);
  });

  test('need no other command: they work where only they are', async () => {
    const copy = join(dir, 'alone');
    await mkdir(join(copy, 'dist'), { recursive: true });
    await cp(join(MAIN, '..'), join(copy, 'dist/cli'), { recursive: true });
    await cp(join(MAIN, '../../errors.js'), join(copy, 'dist/errors.js'));
    const others = (await readdir(join(copy, 'dist/cli'))).filter((name) =>
      /^(credential-process|demo|local)\b/.test(name),
    );
    for (const name of others) await rm(join(copy, 'dist/cli', name));
    await cp(new URL('../../package.json', import.meta.url), join(copy, 'package.json'));
    const alone = (...args: string[]) => start([join(copy, 'dist/cli/main.js'), ...args]).finished;
    expect(await alone('version')).toMatchObject({ status: 0, stdout: `${manifest.version}\n` });
    expect(await alone('help', 'demo')).toMatchObject({ status: 0, stderr: '' });
    expect(await alone('credential-process', '--nonsense')).toMatchObject({ status: 2 });
    // So that the three above could fail at all.
    const whole = await alone('demo', '--store', 'file');
    expect([whole.status, codeOf(whole.stderr)]).toEqual([1, 'ERR_INTERNAL']);
  });
});

describe('credential-process', () => {
  test('prints what was vended: five keys, no newline', async () => {
    const before = service.requests.length;
    const { status, stdout, stderr } = await runCli(processArgs(me.flags));
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(
      /^\{"Version":1,"AccessKeyId":"ASIA[^"]+","SecretAccessKey":"[^"]+","SessionToken":"[^"]+","Expiration":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"\}$/,
    );
    expect(service.requests.slice(before).map(({ path, status: code }) => [path, code])).toEqual([['/sessions', 201]]);
  });

  test('key and certificate in one file', async () => {
    const both = join(dir, 'both.pem');
    const parts = [me.keyPath, me.certificatePath, me.flags.intermediates as string];
    await writeFile(both, (await Promise.all(parts.map((path) => readFile(path)))).join(''), { mode: 0o600 });
    const flags = { ...me.flags, certificate: both, 'private-key': undefined, intermediates: undefined };
    expect(await runCli(processArgs(flags))).toMatchObject({ status: 0, stderr: '' });
  });

  test('stray words and empty flags are warned of, without their values', async () => {
    const args = [...processArgs(me.flags), '--debug=false', 'hunter2', '--region', '', '--with-proxy'];
    const { status, stdout, stderr } = await runCli(args);
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ Version: 1 });
    expect(stderr).toContain('holdfast: warning: an argument after --debug belongs to no flag and is ignored\n');
    expect(stderr).toContain('holdfast: warning: --region is empty and counts as not given\n');
    expect(stderr).not.toContain('proxy');
    expect(stderr).not.toContain('hunter2');
  });

  test('--debug says what is done, on stderr, without secrets', async () => {
    const { status, stdout, stderr } = await runCli([...processArgs(me.flags), '--debug']);
    const { SecretAccessKey, SessionToken } = JSON.parse(stdout) as Record<string, string>;
    expect(status).toBe(0);
    expect(stderr).toContain(`holdfast: debug: key: file:${me.keyPath}\n`);
    expect(stderr).toContain(service.endpoint);
    for (const secret of [SecretAccessKey, SessionToken]) expect(stderr).not.toContain(secret);
  });

  test('an endpoint from the environment; the flag beats it', async () => {
    const { endpoint, ...rest } = me.flags;
    const run = async (env: NodeJS.ProcessEnv, flags: Record<string, string>) => {
      const { status, stderr } = await runCli(processArgs(flags), { env });
      return codeOf(stderr) ?? status;
    };
    expect(await run({ AWS_ENDPOINT_URL: endpoint }, rest)).toBe(0);
    expect(await run({ AWS_ENDPOINT_URL_ROLESANYWHERE: endpoint, AWS_ENDPOINT_URL: 'nonsense' }, rest)).toBe(0);
    expect(await run({ AWS_ENDPOINT_URL_ROLESANYWHERE: 'nonsense' }, rest)).toBe('ERR_ENDPOINT_INVALID');
    expect(await run({ AWS_ENDPOINT_URL_ROLESANYWHERE: 'nonsense' }, me.flags)).toBe(0);
  });

  test('a CA bundle, by flag and by AWS_CA_BUNDLE', async () => {
    const tls = await startLocalRolesAnywhere({ vend, tls: true });
    const other = await makeCliIdentity(tls);
    try {
      const bundle = join(dir, 'bundle.pem');
      await writeFile(bundle, tls.caBundle as string);
      const env = { HOLDFAST_CACHE: 'off' }; // each asks the service
      const variable = { ...env, AWS_CA_BUNDLE: bundle };
      const flags = { ...other.flags, 'ca-bundle': bundle };
      expect(await runCli(processArgs(other.flags), { env: variable })).toMatchObject({ status: 0 });
      expect(await runCli(processArgs(flags), { env })).toMatchObject({ status: 0 });
      expect(await runCli(processArgs(other.flags), { env })).toMatchObject({ status: 8, stdout: '' });
    } finally {
      await tls.close();
      await other.remove();
    }
  });

  test('no colour, whatever is asked for, where stderr is no terminal', async () => {
    const { stderr } = await runCli(['frobnicate'], { env: { FORCE_COLOR: '1', TERM: 'xterm-256color' } });
    expect(stderr).toMatch(/^holdfast: error: /);
  });
});

describe('interrupted', () => {
  test.each<NodeJS.Signals>(['SIGINT', 'SIGTERM', 'SIGHUP'])(
    'by %s while the service does not answer',
    async (signal) => {
      let arrived = (): void => undefined;
      const asked = new Promise<void>((resolve) => {
        arrived = resolve;
      });
      const silent = await rawServer((socket) => socket.on('data', () => arrived()));
      try {
        const { child, finished } = startCli(processArgs({ ...me.flags, endpoint: silent.url.origin }));
        await asked;
        child.kill(signal);
        const ended = await finished;
        expect(ended).toMatchObject({ status: null, signal, stdout: '' });
        expect(ended.stderr).toBe('holdfast: error: interrupted (ERR_INTERRUPTED)\n');
      } finally {
        await silent.close();
      }
    },
  );

  test('twice within some milliseconds, as timeout(1) does, is once: what was begun is put away', async () => {
    const temporary = await mkdtemp(join(dir, 'tmp-'));
    const running = start([MAIN, 'local', '--port', '0'], { env: { TMPDIR: temporary } });
    await running.saw('until Ctrl-C');
    expect(await readdir(temporary)).not.toEqual([]);
    running.child.kill('SIGTERM');
    setTimeout(() => running.child.kill('SIGTERM'), 2);
    const { status, signal } = await running.finished;
    // Node takes its handlers away as it exits: a signal that comes just then ends a process that has done its work.
    expect(signal ?? status).toBe(signal === null ? 0 : 'SIGTERM');
    expect(await readdir(temporary)).toEqual([]);
  });

  describe('while a thread hangs, as in a driver', () => {
    let hang: string[];

    beforeAll(async () => {
      const pipe = join(me.dir, 'nobody-writes');
      expect((await start([pipe], { program: 'mkfifo' }).finished).status).toBe(0);
      const program = `import { open } from 'node:fs'; open(${JSON.stringify(pipe)}, 'r', () => undefined);`;
      hang = ['--import', `data:text/javascript,${encodeURIComponent(program)}`, MAIN];
    });

    test('by a signal, and a shell sees 130', async () => {
      const args = ['-c', '"$0" "$@" & sleep 1; kill -INT $!; wait $!; echo "$?"', process.execPath, ...hang];
      const silent = await rawServer(() => undefined);
      try {
        const line = [...args, ...processArgs({ ...me.flags, endpoint: silent.url.origin })];
        // Job control: a shell without it has its background jobs ignore SIGINT.
        const { stdout } = await start(['-m', ...line], { program: 'bash' }).finished;
        expect(stdout).toBe('130\n');
      } finally {
        await silent.close();
      }
    });

    test('an error is printed at once, and then a signal ends it', async () => {
      const running = start([...hang, 'frobnicate']);
      await running.saw('ERR_USAGE');
      running.child.kill('SIGTERM');
      expect(await running.finished).toMatchObject({ status: null, signal: 'SIGTERM' });
    });
  });
});

test('a reader that went away is no error', async () => {
  // The reader ends at once; what is written a second later meets a pipe without a reader.
  const script = '(sleep 1; exec "$0" "$@") | true; echo "$PIPESTATUS"';
  const args = ['-c', script, process.execPath, MAIN, ...processArgs(me.flags)];
  const { stdout, stderr } = await start(args, { program: 'bash' }).finished;
  expect({ stdout, stderr }).toEqual({ stdout: '0\n', stderr: '' });
});

test('a result that cannot be written is an error', async () => {
  if (!existsSync('/dev/full')) return;
  const args = ['-c', '"$0" "$@" > /dev/full', process.execPath, MAIN, ...processArgs(me.flags)];
  const { status, stderr } = await start(args, { program: 'bash' }).finished;
  expect([status, codeOf(stderr)]).toEqual([3, 'ERR_FILE_UNWRITABLE']);
});
