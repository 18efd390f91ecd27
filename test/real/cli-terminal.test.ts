import { createPrivateKey } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect } from '@jest/globals';
import { type LocalRolesAnywhere, startLocalRolesAnywhere } from '../../src/local/index.ts';
import { shown, vend } from '../helpers/canaries.ts';
import { type CliIdentity, type Finished, MAIN, makeCliIdentity, processArgs, runCli, start } from '../helpers/cli.ts';
import { testUnless } from '../helpers/exercised.ts';

// A terminal of its own, made by script(1): the program asks on /dev/tty, and its stdin and stdout are files.
const terminalTest = await testUnless('terminal');

let service: LocalRolesAnywhere;
let me: CliIdentity;
let flags: Record<string, string>;

beforeAll(async () => {
  service = await startLocalRolesAnywhere({ vend });
  me = await makeCliIdentity(service);
  const key = createPrivateKey(await readFile(me.keyPath));
  const pem = key.export({
    type: 'pkcs8',
    format: 'pem',
    cipher: 'aes-256-cbc',
    passphrase: `gröẞe${shown}`,
  });
  await writeFile(join(me.dir, 'locked.pem'), pem, { mode: 0o600 });
  flags = { ...me.flags, 'private-key': join(me.dir, 'locked.pem') };
});

afterAll(async () => {
  await service.close();
  await me.remove();
});

/** Ask, with everything but the terminal elsewhere, and do something while the question stands there. */
async function asked(act: (pid: number, type: (keys: string) => void) => void, more: readonly string[] = []) {
  const at = (name: string): string => join(me.dir, name);
  const [out, err] = [at('out'), at('err')];
  const quoted = [process.execPath, MAIN, ...processArgs(flags), ...more].map((word) => `'${word}'`).join(' ');
  const program = `echo $$ > ${at('pid')}; exec "$0" "$@" < /dev/null > ${out} 2> ${err}`;
  const command = `stty -a > ${at('before')}; sh -c '${program}' ${quoted}; echo "status $?"; stty -a > ${at('after')}`;
  const running = start(['-qec', command, '/dev/null'], { program: 'script', keepInput: true });
  await running.saw('passphrase of key file');
  act(Number(await readFile(at('pid'), 'utf8')), (keys) => running.child.stdin?.end(keys));
  const { stdout: screen } = await running.finished;
  const [result, complaint, before, after] = await Promise.all(
    [out, err, at('before'), at('after')].map((path) => readFile(path, 'utf8')),
  );
  return { screen, result, complaint, before, after };
}

const type = (keys: string) => asked((_, enter) => enter(keys));

terminalTest('a passphrase is asked for on the terminal, is not shown, and the terminal is put back', async () => {
  const { screen, result, complaint, before, after } = await type(`gröx\u007fẞe${shown}\r`);
  expect(screen).toContain('status 0');
  expect(screen).toContain('to sign in as role holdfast-local: ');
  expect(screen).not.toMatch(/gr|ẞe/);
  expect(JSON.parse(result as string)).toMatchObject({ Version: 1 });
  expect(complaint).toBe('');
  expect(after).toBe(before);
});

terminalTest('Ctrl-C at the prompt', async () => {
  const { screen, result, complaint, before, after } = await type('gr\u0003');
  expect(screen).toContain('status 130');
  expect([result, complaint]).toEqual(['', 'holdfast: error: interrupted (ERR_INTERRUPTED)\n']);
  expect(after).toBe(before);
});

for (const [signal, status] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
] as const) {
  terminalTest(`${signal} at the prompt: a shell sees ${status}, and the terminal is put back`, async () => {
    const { screen, result, complaint, before, after } = await asked((pid) => process.kill(pid, signal));
    expect(screen).toContain(`status ${status}`);
    expect([result, complaint]).toEqual(['', 'holdfast: error: interrupted (ERR_INTERRUPTED)\n']);
    expect(after).toBe(before);
  });
}

terminalTest('the question is asked in words whatever the log is like, and always', async () => {
  const { screen, complaint } = await asked(
    (_, enter) => enter('falsch\r'),
    ['--log-level=error', '--log-format=json'],
  );
  expect(screen).toContain('holdfast: note: passphrase of key file');
  expect(JSON.parse(complaint as string)).toMatchObject({ level: 'error', code: 'ERR_SECRET_WRONG' });
});

terminalTest('nothing but Enter, and a wrong passphrase', async () => {
  for (const nothing of ['\r', '\u0004']) {
    expect((await type(nothing)).complaint).toMatch(
      /needs its passphrase, and nothing was entered \(ERR_SECRET_REQUIRED\)/,
    );
  }
  const wrong = await type('falsch\r');
  expect(wrong.complaint).toContain('ERR_SECRET_WRONG');
  expect(wrong.screen + wrong.complaint).not.toContain('falsch');
});

terminalTest('while the question stands there, one that has the passphrase is not kept waiting', async () => {
  const passphrase = `gröẞe${shown}`;
  let other: Promise<Finished> | undefined;
  const { screen } = await asked((_, enter) => {
    other = runCli([...processArgs(flags), `--pkcs8-password=${passphrase}`]);
    // Only then does anybody answer.
    void other.then(() => enter(`${passphrase}\r`));
  });
  expect(await other).toMatchObject({ status: 0, stderr: '' });
  expect(screen).toContain('status 0');
});
