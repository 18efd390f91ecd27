import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { makeKeyPair } from '../helpers/certificates.ts';
import { codeOf, MAIN, type Running, runCli, start, startCli } from '../helpers/cli.ts';
import { describeSoftHsm, makeToken } from '../helpers/softhsm.ts';

let dir: string;
let keyPath: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'holdfast-local-'));
  keyPath = join(dir, 'key.pem');
  await writeFile(keyPath, makeKeyPair().pem, { mode: 0o600 });
  await mkdir(join(dir, 'bin'));
  await writeFile(join(dir, 'bin/holdfast'), `#!/bin/sh\nexec '${process.execPath}' '${MAIN}' "$@"\n`, { mode: 0o755 });
});

afterAll(() => rm(dir, { recursive: true, force: true }));

/** Start `holdfast local`, use it, end it as a person does, and see that it ended well. */
async function withLocal(args: readonly string[], use: (local: Running) => Promise<void>, env = {}): Promise<void> {
  const local = startCli(['local', ...args], { env });
  try {
    await local.saw('until Ctrl-C');
    await use(local);
  } finally {
    local.child.kill('SIGINT');
    expect(await local.finished).toMatchObject({ status: 0, signal: null });
  }
}

/** Run the command that it prints, in a shell, as it is. */
function paste({ seen }: Running, env = {}) {
  const command = /^holdfast: note: run: (holdfast .*)$/m.exec(seen.stderr)?.[1];
  if (command === undefined) throw new Error(`no command in: ${seen.stderr}`);
  const path = `${join(dir, 'bin')}:${process.env.PATH}`;
  return start(['-c', command], { program: 'sh', env: { ...env, PATH: path }, cwd: '/' }).finished;
}

describe('holdfast local', () => {
  test('certifies a key; its command works as pasted; the life is what was asked for', async () => {
    const place = join(dir, "it's a place");
    await withLocal(['--tls', '--life', '7', '--key', relative('.', keyPath), '--directory', place], async (local) => {
      expect((await readdir(place)).sort((a, b) => a.localeCompare(b))).toEqual([
        'anchor.pem',
        'ca-bundle.pem',
        'certificate.pem',
        'chain.pem',
      ]);
      // The shell that it is pasted into may stand elsewhere.
      const { status, stdout, stderr } = await paste(local);
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
      const { Expiration } = JSON.parse(stdout) as { Expiration: string };
      expect(Date.parse(Expiration) - Date.now()).toBeLessThan(8000);
    });
    expect(existsSync(place)).toBe(false);
  });

  test('stdout is one line of JSON with all that a program needs', async () => {
    await withLocal([], async ({ seen }) => {
      expect(seen.stdout).toMatch(/^\{.*\}\n$/);
      const facts = JSON.parse(seen.stdout) as Record<string, string>;
      expect(Object.keys(facts)).toEqual([
        'endpoint',
        'stsEndpoint',
        'region',
        'accountId',
        'trustAnchorArn',
        'profileArn',
        'roleArn',
        'anchor',
      ]);
      expect(facts.endpoint).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
      expect(await readFile(facts.anchor as string, 'utf8')).toContain('BEGIN CERTIFICATE');
    });
  });

  test("a user's directory stays, and so does what is in it", async () => {
    const place = join(dir, 'mine');
    await mkdir(place);
    await writeFile(join(place, 'anchor.pem'), 'precious');
    const { status, stdout, stderr } = await runCli(['local', '--directory', place]);
    expect([status, stdout, codeOf(stderr)]).toEqual([3, '', 'ERR_FILE_UNWRITABLE']);
    expect(await readFile(join(place, 'anchor.pem'), 'utf8')).toBe('precious');
    await rm(join(place, 'anchor.pem'));
    await withLocal(['--directory', place], async () => undefined);
    expect(await readdir(place)).toEqual([]);
  });

  test('a directory that is a file, and one that cannot be made', async () => {
    const file = await runCli(['local', '--key', keyPath, '--directory', keyPath]);
    expect([file.status, codeOf(file.stderr)]).toEqual([3, 'ERR_FILE_UNWRITABLE']);
    expect(file.stderr).not.toContain('remove');
    const below = await runCli(['local', '--directory', join(keyPath, 'a/b')]);
    expect([below.status, codeOf(below.stderr)]).toEqual([3, 'ERR_FILE_UNWRITABLE']);
    if (!existsSync('/proc/self')) return;
    const proc = await runCli(['local', '--directory', '/proc/holdfast/a']);
    expect([proc.status, codeOf(proc.stderr)]).toEqual([3, 'ERR_FILE_UNWRITABLE']);
  });

  test.each([
    [['--port', '65536'], 'ERR_OPTION_INVALID'],
    [['--port', '-1'], 'ERR_OPTION_INVALID'],
    [['--life', '0'], 'ERR_OPTION_INVALID'],
    [['--key', '/no/such/key.pem'], 'ERR_FILE_NOT_FOUND'],
    [['--role-arn', 'x'], 'ERR_USAGE'],
  ])('%j: %s', async (args, code) => {
    const { stdout, stderr } = await runCli(['local', ...args]);
    expect([stdout, codeOf(stderr)]).toEqual(['', code]);
  });

  test('a port that is taken', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const { status, stderr } = await runCli(['local', '--port', String(port)]);
    server.close();
    expect([status, codeOf(stderr)]).toEqual([2, 'ERR_OPTION_INVALID']);
    expect(stderr).toContain(String(port));
  });
});

describeSoftHsm('holdfast local with a token', () => {
  test('certifies a key in a token; --pkcs11-lib names the module; the PIN is not repeated', async () => {
    // This one stands in argv, as the user may have it.
    const token = await makeToken({ pin: 'given-on-purpose' });
    try {
      const keyPair = ['--keypairgen', '--key-type', 'EC:prime256v1', '--label', 'k', '--id', '01'];
      const login = ['--module', token.modulePath, '--token-label', token.tokenLabel, '--login', '--pin', token.pin];
      const made = start([...login, ...keyPair], { program: 'pkcs11-tool', env: { ...token.env } });
      expect((await made.finished).status).toBe(0);
      const uri = `pkcs11:token=${token.tokenLabel};object=k?pin-value=${token.pin}`;
      const args = ['--pkcs11-lib', token.modulePath, '--key', uri];
      await withLocal(
        args,
        async (local) => {
          expect(local.seen.stderr).toContain('without its secret: type it when asked');
          expect(local.seen.stderr.split('note: run: ')[1]?.split('\n')[0]).not.toContain('pin-value');
          expect(local.seen.stdout + local.seen.stderr).not.toContain(token.pin);
          const module = `module-path=${token.modulePath}`;
          const command = local.seen.stderr.replace(module, `$&&pin-value=${token.pin}`);
          const pasted = await paste({ ...local, seen: { stdout: '', stderr: command } }, token.env);
          expect(pasted).toMatchObject({ status: 0, stderr: '' });
        },
        token.env,
      );
    } finally {
      await token.remove();
    }
  });
});
