import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type LocalRolesAnywhere, startLocalRolesAnywhere } from '../../src/local/index.ts';
import { vend } from '../helpers/canaries.ts';
import { codeOf, processArgs, runCli, start } from '../helpers/cli.ts';
import { place } from '../helpers/key-files.ts';
import { exporter } from '../helpers/pkcs12-files.ts';
import { describeSoftHsm, makeToken, type TestToken } from '../helpers/softhsm.ts';

// These two stand in argv, as the user may have them.
const PIN = 'given-on-purpose';
const PASSPHRASE = 'given-on-purpose-too';

const files = place();

describeSoftHsm('a key in a token, its certificates in a PKCS#12 file', () => {
  let service: LocalRolesAnywhere;
  let token: TestToken;
  let path: string;
  let leaf: string;

  beforeAll(async () => {
    service = await startLocalRolesAnywhere({ vend });
    token = await makeToken({ pin: PIN });
    const tool = async (...args: string[]): Promise<void> => {
      const on = ['--module', token.modulePath, '--token-label', token.tokenLabel, '--login', '--pin', PIN];
      const { finished } = start([...on, ...args], { program: 'pkcs11-tool', env: { ...token.env } });
      expect(await finished).toMatchObject({ status: 0 });
    };
    await tool('--keypairgen', '--key-type', 'EC:prime256v1', '--label', 'k', '--id', '01');
    const publicKey = join(token.dir, 'public.der');
    await tool('--read-object', '--type', 'pubkey', '--id', '01', '--output-file', publicKey);
    const issued = await service.issue({ publicKey: await readFile(publicKey), commonName: 'token', intermediates: 1 });
    await files.write('certificates.pem', issued.certificate + issued.chain);
    path = exporter(files)('certificates.pem', PASSPHRASE, '-nokeys');
    leaf = await files.write('leaf.pem', issued.certificate);
    const chain = await files.write('chain.der', Buffer.from(issued.chain.replace(/-----.*-----/g, ''), 'base64'));
    await tool('--write-object', chain, '--type', 'cert', '--id', '09');
  });
  afterAll(async () => {
    await service.close();
    await token.remove();
  });

  const run = (query: Record<string, string>, more: Record<string, string>) => {
    const { trustAnchorArn, profileArn, roleArn, endpoint } = service;
    const args = processArgs({
      'private-key': token.uri({ object: 'k' }, query),
      certificate: path,
      'trust-anchor-arn': trustAnchorArn,
      'profile-arn': profileArn,
      'role-arn': roleArn,
      endpoint,
      ...more,
    });
    return runCli(args, { env: { ...token.env } });
  };

  test('--pkcs8-password opens the file, and is not tried as the PIN', async () => {
    const pin = join(token.dir, 'pin');
    await writeFile(pin, PIN, { mode: 0o600 });
    const { status, stdout, stderr } = await run({ 'pin-source': `file:${pin}` }, { 'pkcs8-password': PASSPHRASE });
    expect([status, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(/^\{"Version":1,/);
  });

  test('a PIN that is missing stays missing', async () => {
    const { status, stderr } = await run({}, { 'pkcs8-password': PASSPHRASE });
    expect([status, codeOf(stderr)]).toEqual([4, 'ERR_SECRET_REQUIRED']);
    expect(stderr).toMatch(/token .* needs its PIN/);
  });

  test('--pkcs11-lib is for --intermediates, too', async () => {
    const intermediates = `pkcs11:token=${token.tokenLabel};id=%09`;
    const more = { certificate: leaf, intermediates, 'pkcs11-lib': token.modulePath };
    expect(await run({ 'pin-value': PIN }, more)).toMatchObject({ status: 0, stderr: '' });
  });

  test('the PIN is not tried as its passphrase', async () => {
    const { status, stderr } = await run({ 'pin-value': PIN }, {});
    expect([status, codeOf(stderr)]).toEqual([4, 'ERR_SECRET_REQUIRED']);
    expect(stderr).toMatch(/certificate file .*out\.p12 needs its passphrase/);
  });
});
