import { createHash, createHmac, generateKeyPairSync } from 'node:crypto';
import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { type LocalOptions, type LocalRolesAnywhere, startLocalRolesAnywhere } from '../../src/local/index.ts';
import { vend } from '../helpers/canaries.ts';
import { fromPem } from '../helpers/certificate-maker.ts';
import { type SignedRequest, send, signRequest } from '../helpers/x509-request.ts';

interface Vended {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken: string;
}

let service: LocalRolesAnywhere;
let clock = new Date();
afterEach(() => service.close());

async function start(options: LocalOptions = {}): Promise<Vended> {
  clock = new Date();
  service = await startLocalRolesAnywhere({ now: () => clock, vend, ...options });
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const issued = await service.issue({
    publicKey: publicKey.export({ type: 'spki', format: 'der' }),
    serialNumber: '77',
  });
  const answer = await send(
    service.endpoint,
    signRequest({
      identity: { key: privateKey, certificate: fromPem(issued.certificate)[0] as Buffer, chain: [] },
      host: new URL(service.endpoint).host,
      date: clock,
      body: { trustAnchorArn: service.trustAnchorArn, profileArn: service.profileArn, roleArn: service.roleArn },
    }),
  );
  const set = (JSON.parse(answer.text) as { credentialSet: [{ credentials: Vended }] }).credentialSet;
  const { accessKeyId, secretAccessKey, sessionToken } = set[0].credentials;
  return { accessKeyId, secretAccessKey, sessionToken };
}

describe('the SDK', () => {
  const ask = async (credentials: Vended, more: { region?: string } = {}) => {
    const client = new STSClient({
      region: 'us-east-1',
      endpoint: service.stsEndpoint,
      maxAttempts: 1,
      credentials,
      ...more,
    });
    try {
      return await client.send(new GetCallerIdentityCommand({}));
    } finally {
      client.destroy();
    }
  };

  test('is told who it is', async () => {
    expect(await ask(await start())).toMatchObject({
      Account: '111122223333',
      Arn: 'arn:aws:sts::111122223333:assumed-role/holdfast-local/77',
      UserId: expect.stringMatching(/^AROA[A-Z2-7]{16}:77$/),
    });
  });

  test.each([
    ['another secret', { secretAccessKey: 'x' }, {}, 'SignatureDoesNotMatch'],
    ['another token', { sessionToken: 'x' }, {}, 'InvalidClientTokenId'],
    ['another key id', { accessKeyId: 'ASIAX' }, {}, 'InvalidClientTokenId'],
    ['another region', {}, { region: 'eu-west-1' }, 'SignatureDoesNotMatch'],
  ])('is refused with %s', async (_name, wrong, client, code) => {
    const credentials = await start();
    await expect(ask({ ...credentials, ...wrong }, client)).rejects.toMatchObject({
      name: code,
      $metadata: { httpStatusCode: 403 },
    });
    expect(service.requests.at(-1)).toMatchObject({ path: '/', status: 403, message: expect.stringContaining(code) });
  });

  test('is refused once the credentials have expired', async () => {
    const credentials = await start({ lifeSeconds: 60 });
    const begin = Math.floor(clock.getTime() / 1000) * 1000;
    clock = new Date(begin + 59_999);
    expect(await ask(credentials)).toMatchObject({ Account: '111122223333' });
    clock = new Date(begin + 60_000);
    await expect(ask(credentials)).rejects.toMatchObject({ name: 'ExpiredToken', $metadata: { httpStatusCode: 403 } });
  });
});

describe('a request changed after it was signed', () => {
  let request: SignedRequest;
  let credentials: Vended;

  const sign = (
    more: {
      date?: Date;
      signed?: string[];
      scopeDate?: string;
      service?: string;
      terminator?: string;
      body?: string;
      path?: string;
    } = {},
  ) => {
    const { date = clock, signed = ['content-type', 'host', 'x-amz-date', 'x-amz-security-token'] } = more;
    const time = date.toISOString().replace(/[-:]|\.\d+/g, '');
    const body = Buffer.from(more.body ?? 'Action=GetCallerIdentity&Version=2011-06-15');
    const headers: [string, string][] = [
      ['content-type', 'application/x-www-form-urlencoded'],
      ['host', new URL(service.endpoint).host],
      ['x-amz-date', time],
      ['x-amz-security-token', credentials.sessionToken],
    ];
    const hash = (data: string | Buffer) => createHash('sha256').update(data).digest('hex');
    const lines = headers.filter(([name]) => signed.includes(name)).map(([name, value]) => `${name}:${value}\n`);
    const canonical = `POST\n/\n\n${lines.join('')}\n${signed.join(';')}\n${hash(body)}`;
    const parts = [
      more.scopeDate ?? time.slice(0, 8),
      'us-east-1',
      more.service ?? 'sts',
      more.terminator ?? 'aws4_request',
    ];
    const message = `AWS4-HMAC-SHA256\n${time}\n${parts.join('/')}\n${hash(canonical)}`;
    let key = Buffer.from(`AWS4${credentials.secretAccessKey}`);
    for (const part of parts) key = createHmac('sha256', key).update(part).digest();
    const signature = createHmac('sha256', key).update(message).digest('hex');
    const authorization = `AWS4-HMAC-SHA256 Credential=${credentials.accessKeyId}/${parts.join('/')}, SignedHeaders=${signed.join(';')}, Signature=${signature}`;
    return {
      method: 'POST',
      target: more.path ?? '/',
      headers: [...headers, ['authorization', authorization] as const],
      body,
    };
  };

  const withHeader = (header: string, value: (was: string) => string | undefined): SignedRequest => ({
    ...request,
    headers: request.headers
      .map(([name, was]) => [name, name === header ? value(was) : was] as const)
      .filter((entry): entry is [string, string] => entry[1] !== undefined),
  });
  const later = (seconds: number) => new Date(clock.getTime() + seconds * 1000);

  beforeEach(async () => {
    credentials = await start();
    request = sign();
  });

  test('the control is accepted', async () => {
    expect((await send(service.stsEndpoint, request)).status).toBe(200);
    expect((await send(service.stsEndpoint, sign({ date: later(-899) }))).status).toBe(200);
  });

  test.each<[string, number, string, () => SignedRequest]>([
    [
      'body',
      403,
      'SignatureDoesNotMatch',
      () => ({ ...request, body: Buffer.from('Action=GetCallerIdentity&Version=x') }),
    ],
    ['query', 403, 'SignatureDoesNotMatch', () => ({ ...request, target: '/?a=b' })],
    ['a query of no encoding', 403, 'SignatureDoesNotMatch', () => ({ ...request, target: '/?a=%zz' })],
    ['signed header', 403, 'SignatureDoesNotMatch', () => withHeader('content-type', () => 'text/plain')],
    [
      'signature',
      403,
      'SignatureDoesNotMatch',
      () => withHeader('authorization', (was) => was.replace(/..$/, (end) => (end === '00' ? '11' : '00'))),
    ],
    ['short signature', 403, 'SignatureDoesNotMatch', () => withHeader('authorization', (was) => was.slice(0, -2))],
    [
      'algorithm',
      403,
      'SignatureDoesNotMatch',
      () => withHeader('authorization', (was) => was.replace('HMAC', 'CMAC')),
    ],
    [
      'date',
      403,
      'SignatureDoesNotMatch',
      () => withHeader('x-amz-date', (was) => was.replace(/.Z/, (end) => (end === '0Z' ? '1Z' : '0Z'))),
    ],
    ['no date', 400, 'IncompleteSignature', () => withHeader('x-amz-date', () => undefined)],
    ['no token', 403, 'InvalidClientTokenId', () => withHeader('x-amz-security-token', () => undefined)],
    ['no Authorization', 403, 'MissingAuthenticationToken', () => withHeader('authorization', () => undefined)],
    ['half an Authorization', 400, 'IncompleteSignature', () => withHeader('authorization', (was) => was.slice(0, 60))],
    ['signed 901 s ago', 403, 'SignatureDoesNotMatch', () => sign({ date: later(-901) })],
    ['signed 901 s ahead', 403, 'SignatureDoesNotMatch', () => sign({ date: later(901) })],
    ['scope of another day', 403, 'SignatureDoesNotMatch', () => sign({ scopeDate: '20200101' })],
    ['scope of another service', 403, 'SignatureDoesNotMatch', () => sign({ service: 's3' })],
    ['scope that ends otherwise', 403, 'SignatureDoesNotMatch', () => sign({ terminator: 'aws5_request' })],
    ['token not signed', 403, 'SignatureDoesNotMatch', () => sign({ signed: ['content-type', 'host', 'x-amz-date'] })],
    ['host not signed', 403, 'SignatureDoesNotMatch', () => sign({ signed: ['x-amz-date', 'x-amz-security-token'] })],
    ['another action', 400, 'InvalidAction', () => sign({ body: 'Action=AssumeRole&Version=2011-06-15' })],
  ])('%s: %d %s', async (_name, status, code, tampered) => {
    const answer = await send(service.stsEndpoint, tampered());
    expect(answer.status).toBe(status);
    expect(answer.text).toContain(code);
  });
});
