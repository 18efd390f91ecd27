import { createPrivateKey } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { ERROR_CODES, type ErrorCode } from '../../src/errors.ts';
import { type Answer, type LocalRolesAnywhere, startLocalRolesAnywhere } from '../../src/local/index.ts';
import { toPem } from '../../src/pki.ts';
import { canaries, vend } from '../helpers/canaries.ts';
import { makeIdentity, makeKeyPair } from '../helpers/certificates.ts';
import { type CliIdentity, codeOf, makeCliIdentity, processArgs, runCli } from '../helpers/cli.ts';
import { unusedPort } from '../helpers/servers.ts';

let service: LocalRolesAnywhere;
let me: CliIdentity;
/** What the service answers instead; undefined for its own answer. */
let instead: Answer | undefined;

beforeAll(async () => {
  service = await startLocalRolesAnywhere({ vend, trouble: (_, answer) => instead ?? answer });
  me = await makeCliIdentity(service);
});

afterAll(async () => {
  await service.close();
  await me.remove();
});

interface Bad {
  /** Flags that differ from those that work; undefined leaves one out. */
  flags?: Record<string, string | undefined>;
  /** Words besides. */
  words?: string[];
  code: ErrorCode;
  /** What the message says, and the hint. */
  says: RegExp;
  hint?: RegExp;
}

/** Every failure has the same shape: one error line with its code, a hint, the status of the code, nothing on stdout. */
async function expectBad({ flags = {}, words = [], code, says, hint }: Bad): Promise<void> {
  const { status, stdout, stderr } = await runCli([...processArgs({ ...me.flags, ...flags }), ...words]);
  expect({ code: codeOf(stderr), stderr }).toEqual({ code, stderr });
  expect(status).toBe(ERROR_CODES[code].exit);
  expect(stdout).toBe('');
  expect(stderr).toMatch(says);
  expect(stderr).toMatch(/^holdfast: hint: \S/m);
  if (hint) expect(/^holdfast: hint: (.*)$/m.exec(stderr.slice(stderr.indexOf(': error: ')))?.[1]).toMatch(hint);
  expect(stderr).not.toContain('\u001b');
  for (const line of stderr.trimEnd().split('\n')) expect(line).toMatch(/^holdfast: (error|hint|warning|note): /);
}

const inDir = async (name: string, data: string | Uint8Array): Promise<string> => {
  await writeFile(join(me.dir, name), data, { mode: 0o600 });
  return join(me.dir, name);
};

test('what all of these differ from works', async () => {
  const { status, stdout, stderr } = await runCli(processArgs(me.flags));
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  expect(Object.keys(JSON.parse(stdout))).toEqual([
    'Version',
    'AccessKeyId',
    'SecretAccessKey',
    'SessionToken',
    'Expiration',
  ]);
  expect(stdout).not.toContain('\n');
});

describe('the command line', () => {
  test('missing flags are all named, and what came too', () =>
    expectBad({
      flags: { 'role-arn': undefined, 'private-key': undefined, certificate: undefined, 'profile-arn': '' },
      code: 'ERR_FLAG_MISSING',
      says: /missing: --profile-arn \(it is empty\), --role-arn, --private-key or --certificate \(/,
      hint: /received --intermediates --trust-anchor-arn --profile-arn --endpoint$/,
    }));

  test('a stray backslash', () =>
    expectBad({ words: ['\\', '--debug'], code: 'ERR_LINE_CONTINUATION', says: /stray/, hint: /one line/ }));

  test('a mistyped flag', () =>
    expectBad({
      words: ['--certficate=x'],
      code: 'ERR_USAGE',
      says: /unknown flag: --certficate /,
      hint: /--certificate\?/,
    }));

  test('flags that exclude each other', () =>
    expectBad({
      flags: { 'cert-selector': 'Key=x509Subject,Value=CN=x' },
      code: 'ERR_FLAG_CONFLICT',
      says: /if any flags in the group \[cert-selector intermediates\] are set none of the others can be; \[cert-selector intermediates\] were all set \(/,
    }));

  test('verification is not turned off', () =>
    expectBad({
      words: ['--no-verify-ssl'],
      code: 'ERR_OPTION_INVALID',
      says: /--no-verify-ssl/,
      hint: /--ca-bundle/,
    }));

  test('a store that does not exist', () =>
    expectBad({ flags: { 'private-key': 'usb:id=1' }, code: 'ERR_STORE_UNKNOWN', says: /"usb:"/ }));

  test.each(['tpm:handle=0x81000001', 'handle:0x81000001'])('a TPM that is not there: %s', (uri) =>
    expectBad({
      flags: { 'private-key': `${uri}?device=/nope`, 'tpm-key-password': 'x' },
      code: 'ERR_TOKEN_NOT_FOUND',
      says: /there is no TPM at \/nope \(ENOENT\)/,
    }),
  );

  test('a lost --certificate', () =>
    expectBad({
      flags: { certificate: undefined },
      code: 'ERR_CERTIFICATE_REQUIRED',
      says: /note: received --private-key/,
    }));

  test('a deadline of nothing', () =>
    expectBad({ words: ['--deadline=0'], code: 'ERR_OPTION_INVALID', says: /--deadline is 0/ }));
});

describe('ARNs and their company', () => {
  test.each<[flag: string, from: RegExp, to: string, code: ErrorCode, says: RegExp]>([
    ['trust-anchor-arn', /^arn/, 'anr', 'ERR_ARN_INVALID', /the trust anchor ARN begins with "anr"/],
    ['profile-arn', /profile/, 'profil', 'ERR_ARN_INVALID', /the profile ARN ends in "profil\//],
    ['role-arn', /::\d/, '::', 'ERR_ARN_INVALID', /the role ARN has the account/],
    ['profile-arn', /us-east-1/, 'us-west-2', 'ERR_ARN_MISMATCH', /profile.*us-west-2.*us-east-1/],
  ])('--%s %s -> %s', (flag, from, to, code, says) =>
    expectBad({ flags: { [flag]: (me.flags[flag] as string).replace(from, to) }, code, says }),
  );

  test('the duration', () =>
    expectBad({ flags: { 'session-duration': '899' }, code: 'ERR_OPTION_INVALID', says: /899/, hint: /900 to 43200/ }));

  test('the session name', () =>
    expectBad({ flags: { 'role-session-name': 'a b' }, code: 'ERR_OPTION_INVALID', says: /session name/ }));

  test('the endpoint', () =>
    expectBad({ flags: { endpoint: 'http://example.com' }, code: 'ERR_ENDPOINT_INVALID', says: /not https/ }));
});

describe('key files', () => {
  const key = (name: string, data: string | Uint8Array, code: ErrorCode, says: RegExp): Promise<void> =>
    inDir(name, data).then((path) => expectBad({ flags: { 'private-key': path }, code, says }));

  test('missing', () =>
    expectBad({ flags: { 'private-key': join(me.dir, 'no.pem') }, code: 'ERR_FILE_NOT_FOUND', says: /no\.pem/ }));
  test('a directory', async () => {
    await mkdir(join(me.dir, 'dir.pem'));
    await expectBad({
      flags: { 'private-key': join(me.dir, 'dir.pem') },
      code: 'ERR_FILE_UNREADABLE',
      says: /dir\.pem/,
    });
  });
  test('empty', () => key('empty.pem', '', 'ERR_KEY_INVALID', /empty\.pem/));
  test('truncated', async () => {
    const pem = await readFile(me.keyPath, 'utf8');
    await key('cut.pem', pem.slice(0, pem.length - 60), 'ERR_KEY_INVALID', /cut\.pem/);
  });
  test('binary', () => key('binary.pem', Buffer.alloc(4096, 0xa5), 'ERR_KEY_INVALID', /binary\.pem/));
  test('10 MB', () => key('large.pem', Buffer.alloc(10_000_000, 'x'), 'ERR_FILE_TOO_LARGE', /large\.pem/));
  test('a certificate', async () =>
    key('swapped.pem', await readFile(me.certificatePath), 'ERR_KEY_INVALID', /certificate/));

  const encrypted = (): string =>
    createPrivateKey(makeKeyPair().pem)
      .export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: canaries.passphrase })
      .toString();

  test('a wrong passphrase', async () => {
    const path = await inDir('encrypted.pem', encrypted());
    const flags = { 'private-key': path, 'pkcs8-password': 'wrong-one' };
    await expectBad({ flags, code: 'ERR_SECRET_WRONG', says: /encrypted\.pem/ });
    const { stderr } = await runCli(processArgs({ ...me.flags, ...flags }));
    expect(stderr).not.toContain('wrong-one');
  });

  test('no passphrase and no terminal', () =>
    inDir('encrypted2.pem', encrypted()).then((path) =>
      expectBad({ flags: { 'private-key': path }, code: 'ERR_SECRET_REQUIRED', says: /passphrase/ }),
    ));

  test('not the key of the certificate', () =>
    key('other.pem', makeKeyPair().pem, 'ERR_CERTIFICATE_MISMATCH', /other\.pem/));
});

describe('certificates', () => {
  const certificate = (name: string, data: string | Uint8Array, code: ErrorCode, says: RegExp): Promise<void> =>
    inDir(name, data).then((path) => expectBad({ flags: { certificate: path }, code, says }));
  const issued = async (options: { notBefore?: Date; notAfter?: Date; isCa?: boolean }): Promise<string> => {
    const { publicKey } = makeKeyPair();
    return (await service.issue({ publicKey, ...options })).certificate;
  };
  const inDays = (days: number): Date => new Date(Date.now() + days * 86_400_000);

  test('missing', () =>
    expectBad({ flags: { certificate: join(me.dir, 'no.pem') }, code: 'ERR_FILE_NOT_FOUND', says: /no\.pem/ }));
  test('empty', () => certificate('c-empty.pem', '', 'ERR_CERTIFICATE_INVALID', /c-empty\.pem/));
  test('truncated', async () => {
    const pem = await readFile(me.certificatePath, 'utf8');
    await certificate('c-cut.pem', pem.slice(0, pem.length - 60), 'ERR_CERTIFICATE_INVALID', /c-cut\.pem/);
  });
  test('binary', () => certificate('c-bin.pem', Buffer.alloc(4096, 0xa5), 'ERR_CERTIFICATE_INVALID', /c-bin\.pem/));
  test('10 MB', () => certificate('c-large.pem', Buffer.alloc(10_000_000, 'x'), 'ERR_FILE_TOO_LARGE', /c-large\.pem/));
  test('expired', async () =>
    certificate(
      'c-old.pem',
      await issued({ notBefore: inDays(-3), notAfter: inDays(-1) }),
      'ERR_CERTIFICATE_EXPIRED',
      /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/,
    ));
  test('not yet valid', async () =>
    certificate(
      'c-new.pem',
      await issued({ notBefore: inDays(1), notAfter: inDays(3) }),
      'ERR_CERTIFICATE_NOT_YET_VALID',
      /\d{4}-\d\d-\d\dT/,
    ));
  test('a CA', async () => certificate('c-ca.pem', await issued({ isCa: true }), 'ERR_CERTIFICATE_UNSUITABLE', /CA/));
});

describe('the service', () => {
  const answering = async (answer: Omit<Answer, 'headers'>, bad: Bad): Promise<void> => {
    instead = { headers: { 'content-type': 'application/json' }, ...answer };
    try {
      await expectBad(bad);
    } finally {
      instead = undefined;
    }
  };

  test('down', async () => {
    const endpoint = `http://127.0.0.1:${await unusedPort()}`;
    await expectBad({ flags: { endpoint }, code: 'ERR_SERVICE_UNREACHABLE', says: /ECONNREFUSED/, hint: /endpoint/ });
  });

  test('not trusted', async () => {
    const tls = await startLocalRolesAnywhere({ vend, tls: true });
    try {
      const { endpoint } = tls;
      await expectBad({ flags: { endpoint }, code: 'ERR_SERVICE_UNTRUSTED', says: /not trusted/, hint: /--ca-bundle/ });
    } finally {
      await tls.close();
    }
  });

  test('403', async () => {
    const stranger = await makeIdentity();
    const flags = {
      'private-key': await inDir('stranger.pem', stranger.pem),
      certificate: await inDir('stranger-cert.pem', toPem([stranger.certificate])),
      intermediates: undefined,
    };
    await expectBad({
      flags,
      code: 'ERR_SERVICE_REFUSED',
      says: /Untrusted signing certificate/,
      hint: /intermediates/,
    });
  });

  test('400', () =>
    answering(
      { status: 400, body: '{"message":"1 validation error"}' },
      { code: 'ERR_SERVICE_REFUSED', says: /1 validation error/ },
    ));
  test('429', () =>
    answering({ status: 429, body: '{"message":"Rate exceeded"}' }, { code: 'ERR_SERVICE_THROTTLED', says: /429/ }));
  test('500', () => answering({ status: 500, body: '' }, { code: 'ERR_SERVICE_FAILED', says: /500/ }));
  test('HTML', () =>
    answering(
      { status: 201, body: '<!DOCTYPE html><title>Sign in</title>' },
      { code: 'ERR_SERVICE_ANSWER_INVALID', says: /HTML|JSON/ },
    ));
  test('no credentials', () =>
    answering(
      { status: 201, body: '{"credentialSet":[],"subjectArn":"x"}' },
      { code: 'ERR_SERVICE_ANSWER_INVALID', says: /credential/ },
    ));
});
