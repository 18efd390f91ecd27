import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import * as pkcs11 from '../../src/stores/pkcs11/in-place.ts';
import { formatKeyUri, parseKeyUri } from '../../src/uri.ts';
import { runCli, start } from '../helpers/cli.ts';
import { describeFaulty, type FaultModule, faultOn } from '../helpers/fault-module.ts';
import { rawPkcs11 } from '../helpers/raw-pkcs11.ts';
import { makeToken, type TestToken } from '../helpers/softhsm.ts';
import { failure } from '../stores/conformance.ts';

const PROGRAM = fileURLToPath(new URL('../helpers/pin-tries.mjs', import.meta.url));

/** Tokens that never show their tries: then nothing but the command ends a record. */
const SILENT = 'token clear=0x10000';

describeFaulty('a wrong stored PIN, in many processes', () => {
  let token: TestToken;
  let fault: FaultModule;
  let uri: string;
  let pinFile: string;
  let pins = 0;
  let wrong: string;

  beforeAll(async () => {
    token = await makeToken();
    fault = faultOn(token);
    pinFile = join(token.dir, 'pin');
    const plain = token.uri({ object: 'web' }).replace(/module-path=[^&]+/, () => `module-path=${fault.modulePath}`);
    await pkcs11.create(parseKeyUri(plain), { keyType: 'P-256', secret: token.pin });
    uri = `${plain}&pin-source=file:${pinFile}`;
  });
  afterAll(() => token.remove());
  beforeEach(() => {
    pins += 1;
    wrong = `wrong-pin-${pins}`;
    writeFileSync(pinFile, wrong);
    fault.rules(SILENT);
    fault.reset();
  });

  const logins = (): number => fault.calls('C_Login').came;
  const environment = (): NodeJS.ProcessEnv => ({ ...fault.env, HOLDFAST_TEST_DIST: process.env.HOLDFAST_TEST_DIST });
  const open = async (): Promise<void> => (await pkcs11.open(parseKeyUri(uri), {})).close();

  /** Processes that begin at the same moment, as nearly as can be; what came of all their attempts. */
  async function atOnce(count: number, times = 1): Promise<Record<string, number>> {
    const children = Array.from({ length: count }, () =>
      start([PROGRAM, String(times), uri], { env: environment(), keepInput: true }),
    );
    await Promise.all(children.map((child) => child.saw('ready')));
    for (const { child } of children) child.stdin?.end();
    const sum: Record<string, number> = {};
    for (const { finished } of children) {
      const { stdout, stderr } = await finished;
      const line = stdout.trim().split('\n').at(-1) as string;
      if (!line.startsWith('{')) throw new Error(`a process failed: ${stdout}${stderr}`);
      for (const [what, n] of Object.entries(JSON.parse(line) as object)) sum[what] = (sum[what] ?? 0) + (n as number);
    }
    return sum;
  }

  test('costs one try in 20 processes at the same moment, and none in those that follow', async () => {
    expect(await atOnce(20)).toEqual({ ERR_SECRET_WRONG: 20 });
    expect(logins()).toBe(1);
    expect(await atOnce(8)).toEqual({ ERR_SECRET_WRONG: 8 });
    expect(logins()).toBe(1);
  });

  test('costs one try in 100 refreshes of one process', async () => {
    expect(await atOnce(1, 100)).toEqual({ ERR_SECRET_WRONG: 100 });
    expect(logins()).toBe(1);
  });

  test('works one command after the token was given it, in a process that runs, too', async () => {
    const error = await failure(open());
    const command = ['pin', 'retry'];
    expect(await atOnce(1)).toEqual({ ERR_SECRET_WRONG: 1 });
    changePin(token.pin, wrong);
    try {
      const again = await failure(open());
      expect([again.code, logins()]).toEqual(['ERR_SECRET_WRONG', 1]);
      expect(error.message).toContain('(CKR_PIN_INCORRECT)');
      const [, named = ''] = /holdfast pin retry '([^']+)'/.exec(again.hint ?? '') ?? [];
      const retried = await runCli([...command, named], { env: { ...fault.env } });
      expect(retried).toMatchObject({ status: 0, stderr: '' });
      expect(retried.stdout).toMatch(
        /^forgotten: a PIN that the token "test" refused \(the file \/.*\/pin, \d{4}-.*Z\)\n$/,
      );
      await open();
      expect(await atOnce(1, 4)).toEqual({ open: 4 });
      expect(logins()).toBe(6);
      const empty = await runCli([...command, named], { env: { ...fault.env } });
      expect(empty).toMatchObject({ status: 0, stdout: expect.stringMatching(/^nothing to forget/) });
      expect(logins()).toBe(6);
    } finally {
      changePin(wrong, token.pin);
    }
  });

  test('is tried again by itself where the token shows that it has its full tries again', async () => {
    fault.rules();
    await failure(open());
    expect((await failure(open())).message).toContain('not sent again');
    changePin(token.pin, wrong); // a good login, by which SoftHSM takes the flag away
    try {
      await open();
      expect(logins()).toBe(2);
    } finally {
      changePin(wrong, token.pin);
    }
  });

  test.each([
    ['no verb', [], 2, 'pin has one use, which is "retry" (ERR_USAGE)'],
    ['a PIN in its place', ['hunter2'], 2, 'pin has one use, which is "retry" (ERR_USAGE)'],
    ['no URI', ['retry'], 2, 'pin retry wants the URI of a key or a token (ERR_USAGE)'],
    ['a key file', ['retry', './key.pem'], 2, 'file: keys have no PIN that anybody remembers (ERR_STORE_INCAPABLE)'],
  ])('holdfast pin with %s', async (_, words, status, message) => {
    const ended = await runCli(['pin', ...words]);
    expect(ended).toMatchObject({ status, stdout: '', stderr: expect.stringContaining(message) });
    expect(ended.stderr).not.toContain('hunter2');
  });

  test('where nothing is shared, the command says so', async () => {
    const { geteuid } = process;
    Object.assign(process, { geteuid: undefined });
    try {
      await failure(open());
      const retried = await pkcs11.retryPin(parseKeyUri(uri), {});
      expect(retried).toEqual({
        token: 'token "test"',
        forgotten: [],
        nowhere: expect.stringContaining('this system'),
      });
      await failure(open());
      expect(logins()).toBe(2);
    } finally {
      Object.assign(process, { geteuid });
    }
  });

  test('a damaged record is cleared by the command', async () => {
    await failure(open());
    const dir = join(process.env.XDG_RUNTIME_DIR as string, 'holdfast');
    writeFileSync(join(dir, readdirSync(dir)[0] as string), 'damaged');
    writeFileSync(pinFile, token.pin);
    expect((await failure(open())).message).toContain('is damaged');
    expect((await pkcs11.retryPin(parseKeyUri(uri), {})).forgotten).toEqual(['the record was damaged']);
    await open();
    expect(readdirSync(dir)).toEqual([]);
  });

  test('costs one try in 20 opens of one process where nothing is shared', async () => {
    const { geteuid } = process;
    Object.assign(process, { geteuid: undefined });
    fault.rules('tries 3');
    try {
      const errors = await Promise.all(Array.from({ length: 20 }, () => failure(open())));
      expect(new Set(errors.map(({ code }) => code))).toEqual(new Set(['ERR_SECRET_WRONG']));
      expect([logins(), fault.wrongPins()]).toEqual([1, 1]);
    } finally {
      Object.assign(process, { geteuid });
    }
  });

  test.each(['C_Logout', 'C_CloseAllSessions'] as const)(
    'that was right when the key was opened costs one try after %s of somebody else',
    async (call) => {
      writeFileSync(pinFile, token.pin);
      const key = await pkcs11.open(parseKeyUri(uri), {});
      const { pkcs11: raw, session } = rawPkcs11({ ...token, modulePath: fault.modulePath });
      if (call === 'C_Logout') raw.C_Logout(session);
      else raw.C_CloseAllSessions(raw.C_GetSessionInfo(session).slotID);
      fault.reset();
      fault.rules(SILENT, 'C_Login rv=0xa0');
      for (let i = 0; i < 10; i += 1) expect((await failure(open())).code).toBe('ERR_SECRET_WRONG');
      expect(await atOnce(3)).toEqual({ ERR_SECRET_WRONG: 3 });
      expect(logins()).toBe(1);
      await key.close();
      await pkcs11.retryPin(parseKeyUri(uri), {});
    },
  );

  test('something in the place of the turn: nothing is tried, and the command that is named clears it', async () => {
    await failure(open());
    const dir = join(process.env.XDG_RUNTIME_DIR as string, 'holdfast');
    const record = join(dir, readdirSync(dir)[0] as string);
    rmSync(record);
    mkdirSync(`${record}.turn/x`, { recursive: true });
    expect(await atOnce(3)).toEqual({ ERR_SECRET_WRONG: 3 });
    const error = await failure(open());
    expect([logins(), error.message]).toEqual([1, expect.stringMatching(/\.turn|is damaged \(/)]);
    const [, named = ''] = /holdfast pin retry '([^']+)'/.exec(error.hint ?? '') ?? [];
    expect(await runCli(['pin', 'retry', named], { env: { ...fault.env } })).toMatchObject({ status: 0, stderr: '' });
    expect(readdirSync(dir)).toEqual([]);
    expect((await failure(open())).message).toContain('(CKR_PIN_INCORRECT)');
  });

  test('the command prints no control characters of a path', async () => {
    const odd = `${pinFile}\u001b[31m\u009b`;
    writeFileSync(odd, wrong);
    const at = formatKeyUri({
      scheme: 'pkcs11',
      path: [['token', token.tokenLabel]],
      query: [
        ['module-path', fault.modulePath],
        ['pin-source', odd],
      ],
    });
    await failure(pkcs11.open(parseKeyUri(at), {}));
    for (const output of ['text', 'json']) {
      const { stdout, status } = await runCli(['pin', 'retry', at, '--output', output], { env: { ...fault.env } });
      expect(status).toBe(0);
      expect(stdout.trimEnd()).not.toMatch(/\p{Cc}/u);
      if (output === 'text') expect(stdout).toContain('pin?[31m?');
    }
  });

  test('leaves a record in memory and nothing else', async () => {
    await failure(open());
    const dir = join(process.env.XDG_RUNTIME_DIR as string, 'holdfast');
    expect(readdirSync(dir)).toEqual([expect.stringMatching(/^pin-[0-9a-f]{32}$/)]);
  });

  test('that hangs in a login which is killed does not block those that follow', async () => {
    fault.rules(SILENT, 'C_Login delay=600000 count=1');
    const hung = start([PROGRAM, '1', uri], { env: environment() });
    while (logins() === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    const next = atOnce(2);
    hung.child.kill('SIGKILL');
    await hung.finished;
    expect(await next).toEqual({ ERR_SECRET_WRONG: 2 });
    expect(logins()).toBe(2);
  });

  /** Past the module that counts. */
  function changePin(from: string, to: string): void {
    const args = ['--module', token.modulePath, '--token-label', token.tokenLabel, '--change-pin'];
    execFileSync('pkcs11-tool', [...args, '--pin', from, '--new-pin', to], {
      env: { ...process.env, ...token.env },
      stdio: 'pipe',
    });
  }
});
