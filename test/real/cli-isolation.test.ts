import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type LocalRolesAnywhere, startLocalRolesAnywhere } from '../../src/local/index.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { vend } from '../helpers/canaries.ts';
import { childrenOf } from '../helpers/children.ts';
import { startCli } from '../helpers/cli.ts';
import { describeFaulty, type FaultModule, faultOn } from '../helpers/fault-module.ts';
import { inChild } from '../helpers/in-child.ts';
import { makeToken, type TestToken } from '../helpers/softhsm.ts';

describeFaulty('where the commands have a PKCS#11 module', () => {
  let service: LocalRolesAnywhere;
  let token: TestToken;
  let fault: FaultModule;
  let uri: string;
  let session: string[];

  beforeAll(async () => {
    service = await startLocalRolesAnywhere({ vend });
    token = await makeToken();
    fault = faultOn(token);
    const pinFile = join(token.dir, 'pin');
    writeFileSync(pinFile, token.pin, { mode: 0o600 });
    uri = token
      .uri({ object: 'web' }, { 'pin-source': `file:${pinFile}` })
      .replace(/module-path=[^&]+/, () => `module-path=${fault.modulePath}`);
    await inChild.create(parseKeyUri(uri), { keyType: 'P-256' });
    const key = await inChild.open(parseKeyUri(uri), {});
    const issued = await service.issue({ publicKey: key.publicKey as Uint8Array, commonName: 'web' });
    await key.close();
    const certificate = join(token.dir, 'certificate.pem');
    writeFileSync(certificate, issued.certificate);
    session = Object.entries({
      'private-key': uri,
      certificate,
      'trust-anchor-arn': service.trustAnchorArn,
      'profile-arn': service.profileArn,
      'role-arn': service.roleArn,
      endpoint: service.endpoint,
    }).flatMap(([name, value]) => [`--${name}`, value]);
  });
  afterAll(async () => {
    await service.close();
    await token.remove();
  });

  /** How many processes of its own a command has while it logs in. */
  async function childrenOfCli(...args: readonly string[]): Promise<number> {
    fault.rules('C_Login delay=1500');
    fault.reset();
    const { child, finished } = startCli(args, { env: { ...fault.env, HOME: token.dir } });
    try {
      while (fault.calls('C_Login').came === 0 && child.exitCode === null) await sleep(5);
      return childrenOf(child.pid as number).length;
    } finally {
      fault.rules();
      child.kill('SIGTERM');
      await finished;
    }
  }

  test.each([
    ['list', (): string[] => ['list', uri, '--login'], 0],
    ['sign-string', (): string[] => ['sign-string', '--private-key', uri], 0],
    ['credential-process', (): string[] => ['credential-process', ...session], 0],
    ['update --once', (): string[] => ['update', ...session, '--once'], 0],
    ['update', (): string[] => ['update', ...session], 1],
  ])('%s', async (_name, args, children) => {
    expect(await childrenOfCli(...args())).toBe(children);
    expect(fault.calls('C_Login').came).toBe(1);
  });
});
