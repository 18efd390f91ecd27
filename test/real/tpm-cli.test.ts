import { createHash, createPublicKey, verify } from 'node:crypto';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { create, readPublic } from '../../src/stores/tpm/index.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { codeOf, type Finished, runCli } from '../helpers/cli.ts';
import { describeUnless } from '../helpers/exercised.ts';
import { startTpm, type TestTpm } from '../helpers/swtpm.ts';

const describeTpm = await describeUnless('swtpm');
/** It stands in arguments here, where no secret belongs. */
const PASSWORD = 'for everybody';

describeTpm('keys of a TPM on the command line', () => {
  let tpm: TestTpm;
  let open: string;
  let secured: string;
  beforeAll(async () => {
    tpm = await startTpm();
    open = (await create(parseKeyUri(`tpm:handle=0x81010001?${tpm.query}`), { keyType: 'P-256' })).toString();
    const uri = parseKeyUri(`tpm:file=${tpm.dir}/k.tpm?${tpm.query}`);
    secured = (await create(uri, { keyType: 'RSA-2048', secret: PASSWORD })).toString();
  }, 60_000);
  afterAll(() => tpm?.remove());

  const cli = (args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Finished> => runCli([...args], { env });

  test('list shows the TPM, and what is at its handles', async () => {
    const { status, stdout, stderr } = await cli(['list', `tpm:?${tpm.query}`]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const lines = stdout.split('\n');
    expect(lines[0]).toMatch(/^token "TPM at .*" \(IBM, SW TPM [\d.]+, slot .*\/s\)$/);
    expect(lines.slice(1)).toEqual([
      '  PIN: ok; needs no login',
      '  signs with: RSASSA ECDSA P-256 ECDSA P-384 ECDSA P-521',
      `  tpm:?${tpm.query}`,
      '  key "0x81010001": P-256, without a certificate',
      `    ${open}`,
      '',
    ]);
    const json = JSON.parse((await cli(['list', `tpm:?${tpm.query}`, '--json'])).stdout);
    expect(json).toMatchObject([
      { kind: 'token', pin: 'ok' },
      { kind: 'key', type: 'P-256', uri: open },
    ]);
  });

  test('sign-string with a handle, as the reference client writes it', async () => {
    const args = ['sign-string', '--private-key', `handle:0x81010001?${tpm.query}`, '--format', 'text'];
    const { status, stdout, stderr } = await cli(args);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    // What it signs stands in docs/cli.md.
    const key = createPublicKey({ key: Buffer.from(await readPublic(parseKeyUri(open))), format: 'der', type: 'spki' });
    const { x = '', y = '' } = key.export({ format: 'jwk' });
    const point = Buffer.concat([Buffer.of(4), Buffer.from(x, 'base64url'), Buffer.from(y, 'base64url')]);
    const hash = createHash('sha256').update('IAM RA').update(point).digest();
    const text = Buffer.concat([Buffer.from('AWS Roles Anywhere Credential Helper Signing Test1'), hash]);
    expect(verify('sha256', text, key, Buffer.from(stdout, 'hex'))).toBe(true);
  });

  test('the authValue: by flag, by file, by nobody', async () => {
    const good = await cli([
      'sign-string',
      '--private-key',
      secured,
      '--tpm-key-password',
      PASSWORD,
      '--format',
      'text',
    ]);
    expect([good.status, good.stdout.length]).toEqual([0, 512]);
    const file = join(tpm.dir, 'pin');
    await writeFile(file, PASSWORD, { mode: 0o600 });
    const named = await cli(['sign-string', '--private-key', `${secured}&pin-source=file:${file}`, '--format', 'text']);
    expect([named.status, named.stdout]).toEqual([0, good.stdout]);
    const none = await cli(['sign-string', '--private-key', secured]);
    expect([none.status, codeOf(none.stderr)]).toEqual([4, 'ERR_SECRET_REQUIRED']);
  });

  test('a wrong one is sent once; pin retry ends that', async () => {
    const sign = (): Promise<Finished> => cli(['sign-string', '--private-key', secured, '--tpm-key-password', 'wrong']);
    const first = await sign();
    expect(first.stderr).toMatch(/refused the authValue \(TPM_RC_AUTH_FAIL\) \(ERR_SECRET_WRONG\)/);
    expect((await sign()).stderr).toMatch(/not sent again/);
    const command = /holdfast (pin retry) '([^']+)'/.exec(first.stderr);
    const retried = await cli(['pin', 'retry', command?.[2] as string]);
    expect(retried).toMatchObject({ status: 0, stdout: expect.stringMatching(/^forgotten: /) });
    expect((await sign()).stderr).toMatch(/refused the authValue/);
    await tpm.tool('tpm2_dictionarylockout', '--clear-lockout');
  });

  test('--no-tpm-key-password asks nobody', async () => {
    const { status, stderr } = await cli(['sign-string', '--private-key', secured, '--no-tpm-key-password']);
    expect([status, codeOf(stderr)]).toEqual([4, 'ERR_SECRET_WRONG']);
    const without = await cli(['sign-string', '--private-key', open, '--no-tpm-key-password']);
    expect(without.status).toBe(0);
    await tpm.tool('tpm2_dictionarylockout', '--clear-lockout');
  });

  test('the demo ends with the ARN of the caller, and leaves nothing', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'holdfast-demo-'));
    const { status, stdout, stderr } = await cli(['demo', '--store', 'tpm'], { TMPDIR: dir, NODE_NO_WARNINGS: '1' });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(/^caller .* arn:aws:sts::111122223333:assumed-role\/holdfast-local\/\S+, says STS/m);
    expect(await readdir(dir)).toEqual([]);
    await rm(dir, { recursive: true });
  }, 60_000);
});
