import { GetCallerIdentityCommand, STSClient, type STSClientConfig } from '@aws-sdk/client-sts';
import { afterEach, expect, test } from '@jest/globals';
import type { AwsCredentialIdentity, AwsCredentialIdentityProvider } from '@smithy/types';
import type { HttpAnswer } from '../../src/http.ts';
import { fromRolesAnywhere, type RolesAnywhereProvider } from '../../src/provider.ts';
import type { Credentials } from '../../src/session-answer.ts';
import { vend } from '../helpers/canaries.ts';
import { makeIdentity } from '../helpers/certificates.ts';
import { ARNS, granted } from '../helpers/create-session.ts';

// What tsc checks here: that is how AWS SDK v3 clients take the provider.
const asProvider = (provider: RolesAnywhereProvider): AwsCredentialIdentityProvider => provider;
const asCredentials = (credentials: Credentials): AwsCredentialIdentity => credentials;
const asConfig = (credentials: RolesAnywhereProvider): STSClientConfig => ({ credentials });

const CALLER = `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>
  <Arn>arn:aws:sts::111122223333:assumed-role/deploy/01</Arn><UserId>AROA:01</UserId><Account>111122223333</Account>
</GetCallerIdentityResult></GetCallerIdentityResponse>`;

const clients: STSClient[] = [];
afterEach(() => {
  for (const client of clients.splice(0)) client.destroy();
});

/** An STS that answers everybody, and remembers who signed with what. */
function stsClient(provider: RolesAnywhereProvider, seen: Record<string, string>[]): STSClient {
  const client = new STSClient({
    ...asConfig(provider),
    region: 'eu-central-1',
    requestHandler: {
      handle: async ({ headers }: { headers: Record<string, string> }) => {
        seen.push(headers);
        return { response: { statusCode: 200, headers: {}, body: Buffer.from(CALLER) } };
      },
    },
  });
  clients.push(client);
  return client;
}

test('50 calls through five clients that share a provider: one CreateSession, one signature', async () => {
  const { signer, certificate } = await makeIdentity();
  const seen: Record<string, string>[] = [];
  let requests = 0;
  const send = async (): Promise<HttpAnswer> => {
    requests += 1;
    await new Promise((resolve) => setTimeout(resolve, 20));
    return granted(new Date(Date.now() + 3_600_000));
  };
  const provider = fromRolesAnywhere({ ...ARNS, signer, certificate, send });
  const shared = Array.from({ length: 5 }, () => stsClient(provider, seen));
  const calls = Array.from({ length: 50 }, (_, at) =>
    (shared[at % 5] as STSClient).send(new GetCallerIdentityCommand({})),
  );
  for (const { Account } of await Promise.all(calls)) expect(Account).toBe('111122223333');
  expect([requests, signer.calls, seen.length]).toEqual([1, 1, 50]);
  for (const headers of seen) {
    expect(headers['x-amz-security-token']).toBe(vend.sessionToken);
    expect(headers.authorization).toContain('Credential=ASIAEXAMPLE/');
  }
  await provider.close();
});

test('a client shows why there are no credentials', async () => {
  const { signer, certificate } = await makeIdentity();
  const send = (): Promise<HttpAnswer> =>
    Promise.resolve({ status: 403, headers: {}, body: '{"message":"Certificate revoked"}' });
  const provider = fromRolesAnywhere({ ...ARNS, signer, certificate, send });
  await expect(stsClient(provider, []).send(new GetCallerIdentityCommand({}))).rejects.toMatchObject({
    code: 'ERR_SERVICE_REFUSED',
    message: expect.stringContaining('Certificate revoked'),
    tryNextLink: false,
  });
});

test('credentials and provider have the types of the SDK', async () => {
  const { signer, certificate } = await makeIdentity();
  const expiration = new Date(Math.ceil(Date.now() / 1000) * 1000 + 3_600_000);
  const provider = fromRolesAnywhere({ ...ARNS, signer, certificate, send: async () => granted(expiration) });
  const credentials = await provider();
  expect(await asProvider(provider)({ forceRefresh: false, callerClientConfig: {} })).toBe(asCredentials(credentials));
  expect(credentials).toEqual({
    accessKeyId: 'ASIAEXAMPLE',
    ...vend,
    expiration,
    accountId: '111122223333',
  });
  await provider.close();
});
