import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import pkcs11js from 'pkcs11js';
import { openKey, parseKeyUri } from '../../src/index.ts';
import { type Answer, type LocalRolesAnywhere, startLocalRolesAnywhere } from '../../src/local/index.ts';
import { vend } from '../helpers/canaries.ts';
import {
  type CliIdentity,
  codeOf,
  type Finished,
  makeCliIdentity,
  type Running,
  runCli,
  startCli,
} from '../helpers/cli.ts';
import { rawPkcs11 } from '../helpers/raw-pkcs11.ts';
import { describeSoftHsm, makeToken, setRealEnvironment, type TestToken } from '../helpers/softhsm.ts';

let service: LocalRolesAnywhere;
let me: CliIdentity;
let home: string;
let file: string;
/** What the service answers instead; undefined for its own answer. */
let instead: Answer | undefined;

beforeAll(async () => {
  // A refresh begins after four of these seconds.
  service = await startLocalRolesAnywhere({ vend, lifeSeconds: 6, trouble: (_, answer) => instead ?? answer });
  me = await makeCliIdentity(service);
});

beforeEach(() => {
  instead = undefined;
  home = mkdtempSync(join(tmpdir(), 'holdfast-update-'));
  file = join(home, '.aws/credentials');
});

afterEach(() => rmSync(home, { recursive: true, force: true }));

afterAll(async () => {
  await service.close();
  await me.remove();
});

type Flags = Readonly<Record<string, string | undefined>>;

const argsOf = (flags: Flags, more: readonly string[]): string[] => [
  'update',
  ...Object.entries(flags).flatMap(([name, value]) => (value === undefined ? [] : [`--${name}`, value])),
  ...more,
];

const update = (more: readonly string[], env: NodeJS.ProcessEnv = {}, flags: Flags = me.flags): Promise<Finished> =>
  runCli(argsOf(flags, more), { env: { HOME: home, ...env } });

/** Start it, use it, and end it. */
async function whileUpdating(more: readonly string[], use: (running: Running) => Promise<void>): Promise<Finished> {
  const running = startCli(argsOf(me.flags, more), { env: { HOME: home } });
  try {
    await use(running);
  } finally {
    running.child.kill('SIGTERM');
  }
  return running.finished;
}

const expiryIn = (path: string): string =>
  /^# holdfast: expires (\S+)$/m.exec(readFileSync(path, 'utf8'))?.[1] as string;
const modeOf = (path: string): string => (statSync(path).mode & 0o7777).toString(8);
const section = (name: string): RegExp =>
  new RegExp(
    `^\\[${name}\\]\n# holdfast: expires \\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ\naws_access_key_id = ASIA[A-Z0-9]+\n` +
      'aws_secret_access_key = \\S+\naws_session_token = \\S+\n$',
  );

const REFUSAL: Answer = { status: 403, headers: {}, body: '{"message":"no such profile"}' };
const FAILURE: Answer = { status: 500, headers: {}, body: '{"message":"later"}' };

describe('holdfast update --once', () => {
  test('writes the default profile of ~/.aws/credentials, and stdout stays empty', async () => {
    expect(await update(['--once'])).toEqual({ status: 0, signal: null, stdout: '', stderr: '' });
    expect(readFileSync(file, 'utf8')).toMatch(section('default'));
    expect([modeOf(join(home, '.aws')), modeOf(file)]).toEqual(['700', '600']);
    expect(readdirSync(join(home, '.aws'))).toEqual(['credentials']);
  });

  test('another profile of another file, and nothing else in it', async () => {
    const path = join(home, 'elsewhere');
    const before = '[default]\r\nx = 1\r\n\r\n[web]\r\n# mine\r\nAWS_SESSION_TOKEN=old\r\nregion=eu-west-1';
    writeFileSync(path, before, { mode: 0o640 });
    const { status, stderr } = await update(['--once', '--profile=web'], { AWS_SHARED_CREDENTIALS_FILE: path });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const lines = readFileSync(path, 'utf8').split('\r\n');
    expect(lines.filter((line) => !/^aws_|^# holdfast: expires/.test(line))).toEqual([
      ...['[default]', 'x = 1', '', '[web]', '# mine', 'region=eu-west-1', ''],
    ]);
    expect(modeOf(path)).toBe('640');
    expect(existsSync(file)).toBe(false);
  });

  test.each([
    ['~/named', 'named'],
    ['', '.aws/credentials'],
  ])('AWS_SHARED_CREDENTIALS_FILE=%j', async (value, path) => {
    expect(await update(['--once'], { AWS_SHARED_CREDENTIALS_FILE: value })).toMatchObject({ status: 0, stderr: '' });
    expect(readFileSync(join(home, path), 'utf8')).toMatch(section('default'));
  });

  test('tells who else can read it, and what keeps programs from it', async () => {
    const target = join(realpathSync(home), 'open');
    mkdirSync(join(home, '.aws'));
    writeFileSync(target, '[default]\naws_security_token = old\n[default]\n');
    chmodSync(target, 0o644);
    symlinkSync(target, file);
    const { status, stderr } = await update(['--once']);
    expect(status).toBe(0);
    expect(stderr).toContain('holdfast: warning: the credentials file has the section [default] twice\n');
    expect(stderr).toContain(
      'holdfast: warning: the section [default] of the credentials file has an aws_security_token\n',
    );
    expect(stderr).toContain(`holdfast: warning: every user can read ${target}\nholdfast: hint: chmod 600 ${target}\n`);
  });

  test.each<[what: string, more: string[], flags: Flags, code: string]>([
    ['without an ARN', [], { 'role-arn': undefined }, 'ERR_FLAG_MISSING'],
    ['with a name that is no section', ['--profile', 'a]b'], {}, 'ERR_OPTION_INVALID'],
    ['with the name of all sections', ['--profile', 'DEFAULT'], {}, 'ERR_OPTION_INVALID'],
    ['with a key that is not there', [], { 'private-key': '/nowhere' }, 'ERR_FILE_NOT_FOUND'],
  ])('%s writes nothing and asks nobody', async (_, more, flags, code) => {
    const asked = service.requests.length;
    const { status, stderr } = await update(['--once', ...more], {}, { ...me.flags, ...flags });
    expect([status, codeOf(stderr)]).toEqual([code === 'ERR_FILE_NOT_FOUND' ? 3 : 2, code]);
    expect(readdirSync(home)).toEqual([]);
    expect(service.requests).toHaveLength(asked);
  });

  test('a file that cannot be replaced is found before the key is touched', async () => {
    mkdirSync(file, { recursive: true });
    const asked = service.requests.length;
    const { status, stderr } = await update(['--once']);
    expect([status, codeOf(stderr)]).toEqual([3, 'ERR_FILE_UNWRITABLE']);
    expect(service.requests).toHaveLength(asked);
  });

  test('ends with what the service said, even when it is down', async () => {
    instead = FAILURE;
    const { status, stderr } = await update(['--once', '--max-attempts', '1']);
    expect([status, codeOf(stderr)]).toEqual([7, 'ERR_SERVICE_FAILED']);
    expect(existsSync(file)).toBe(false);
  });
});

describe('holdfast update', () => {
  test('refreshes before each expiry, until a signal ends it', async () => {
    const seen: string[] = [];
    const { signal, stdout, stderr } = await whileUpdating([], async (running) => {
      for (let count = 1; count <= 3; count += 1) {
        await running.saw('Credentials will be refreshed at');
        while (running.seen.stderr.split('will be refreshed').length <= count) await tick();
        seen.push(expiryIn(file));
      }
    });
    expect([signal, stdout]).toEqual(['SIGTERM', '']);
    expect(new Set(seen).size).toBe(3);
    const times = [...stderr.matchAll(/^holdfast: note: Credentials will be refreshed at (\S+)$/gm)].map(
      ([, at]) => at,
    );
    expect(times).toHaveLength(3);
    for (const [at, time] of times.entries()) {
      expect(Date.parse(time as string)).toBeLessThan(Date.parse(seen[at] as string));
    }
    expect(stderr.split('\n').at(-2)).toBe('holdfast: error: interrupted (ERR_INTERRUPTED)');
    expect(expiryIn(file)).toBe(seen[2]);
  });

  test.each(['SIGINT', 'SIGHUP'] as const)('%s while it waits', async (name) => {
    const running = startCli(argsOf(me.flags, []), { env: { HOME: home } });
    await running.saw('Credentials will be refreshed at');
    const content = readFileSync(file, 'utf8');
    running.child.kill(name);
    expect(await running.finished).toMatchObject({ signal: name, stdout: '' });
    expect(readFileSync(file, 'utf8')).toBe(content);
  });

  test('waits for a service that is down at the start', async () => {
    instead = FAILURE;
    const { stderr } = await whileUpdating(['--max-attempts', '1'], async (running) => {
      await running.saw('the next try is at');
      expect(existsSync(file)).toBe(false);
      instead = undefined;
      await running.saw('Credentials will be refreshed at');
    });
    expect(stderr).toMatch(/^holdfast: warning: .*\(ERR_SERVICE_FAILED\)$/m);
    expect(readFileSync(file, 'utf8')).toMatch(section('default'));
  });

  test('tells programs the code of what failed', async () => {
    instead = FAILURE;
    const { stderr } = await whileUpdating(['--max-attempts', '1', '--log-format=json'], (one) =>
      one.saw('the next try'),
    );
    expect(JSON.parse(stderr.split('\n')[0] as string)).toMatchObject({ level: 'warn', code: 'ERR_SERVICE_FAILED' });
  });

  test('ends at the start with what will not mend itself', async () => {
    instead = REFUSAL;
    const { status, stderr } = await update([]);
    expect([status, codeOf(stderr)]).toEqual([7, 'ERR_SERVICE_REFUSED']);
    expect(existsSync(file)).toBe(false);
  });

  test('goes on after whatever fails later', async () => {
    const { stderr } = await whileUpdating([], async (running) => {
      await running.saw('Credentials will be refreshed at');
      const first = expiryIn(file);
      instead = REFUSAL;
      await running.saw('ERR_SERVICE_REFUSED');
      await running.saw(`the credentials in the file end at ${first}`);
      expect(expiryIn(file)).toBe(first);
      instead = undefined;
      // A directory in its place: nothing can be written.
      rmSync(file);
      mkdirSync(file);
      await running.saw('ERR_FILE_UNWRITABLE');
      rmSync(file, { recursive: true });
      while (!existsSync(file)) await tick();
      await running.saw('Credentials will be refreshed at');
    });
    expect(stderr.match(/the next try is at/g)?.length).toBeGreaterThanOrEqual(2);
    expect(readFileSync(file, 'utf8')).toMatch(section('default'));
  });
});

const tick = (): Promise<void> => new Promise((done) => setTimeout(done, 50));

describeSoftHsm('a key that wants its PIN for each signature', () => {
  let token: TestToken;
  let flags: Flags;

  beforeAll(async () => {
    token = await makeToken();
    setRealEnvironment(token.env);
    const raw = rawPkcs11(token);
    const common = [
      { type: pkcs11js.CKA_TOKEN, value: true },
      { type: pkcs11js.CKA_LABEL, value: 'always' },
      { type: pkcs11js.CKA_ID, value: Buffer.of(7) },
    ];
    raw.pkcs11.C_GenerateKeyPair(
      raw.session,
      { mechanism: pkcs11js.CKM_EC_KEY_PAIR_GEN },
      [...common, { type: pkcs11js.CKA_EC_PARAMS, value: Buffer.from('06082a8648ce3d030107', 'hex') }],
      [
        ...common,
        { type: pkcs11js.CKA_PRIVATE, value: true },
        { type: pkcs11js.CKA_SIGN, value: true },
        { type: pkcs11js.CKA_ALWAYS_AUTHENTICATE, value: true },
      ],
    );
    raw.close();
    const pinFile = join(token.dir, 'pin');
    writeFileSync(pinFile, token.pin, { mode: 0o600 });
    const uri = token.uri({ object: 'always' }, { 'pin-source': `file:${pinFile}` });
    const key = await openKey(parseKeyUri(uri), { secret: token.pin, isolation: 'in-place' });
    const issued = await service.issue({ publicKey: key.publicKey as Uint8Array, commonName: 'always' });
    await key.close();
    const certificate = join(token.dir, 'certificate.pem');
    writeFileSync(certificate, issued.certificate);
    flags = { ...me.flags, 'private-key': uri, certificate, intermediates: undefined };
  });

  afterAll(() => token.remove());

  test('signs for --once, and never unasked', async () => {
    const asked = service.requests.length;
    const { status, stderr } = await update([], token.env, flags);
    expect([status, codeOf(stderr)]).toEqual([2, 'ERR_FLAG_MISSING']);
    expect(stderr).toContain('update signs unasked');
    expect(stderr).toContain('hint: add --once');
    expect(service.requests).toHaveLength(asked);
    expect(existsSync(file)).toBe(false);

    expect(await update(['--once'], token.env, flags)).toMatchObject({ status: 0 });
    expect(readFileSync(file, 'utf8')).toMatch(section('default'));
  });
});
