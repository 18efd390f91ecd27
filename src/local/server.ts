import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { HoldfastError, messageOf, systemCodeOf } from '../errors.ts';
import { createAuthority, toPem } from '../pki.ts';
import { CHECKS } from './checks.ts';
import type { LocalOptions } from './options.ts';
import { Refusal } from './refusal.ts';
import { createSession, refusalAnswer, type Spoken } from './session.ts';
import { getCallerIdentity } from './sts.ts';
import { pathOf, readRequest, type WireRequest } from './wire.ts';
import { createWorld, issue, type LocalIssueOptions, type World } from './world.ts';

/** A request that came, without anything secret. */
export interface LoggedRequest {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  /** What was sent; 0 when the connection was closed instead. */
  readonly status: number;
  /** The refusal in words; undefined when the service had none. */
  readonly message: string | undefined;
  /** What a lenient service let pass (`signedHeaders: 'warn'`). */
  readonly warnings: readonly string[];
}

/** A Roles Anywhere, and a small STS, on this machine. */
export interface LocalRolesAnywhere {
  /** Base URL for CreateSession: `http(s)://127.0.0.1:PORT`. */
  readonly endpoint: string;
  /** Base URL for GetCallerIdentity. */
  readonly stsEndpoint: string;
  /** PEM of the authority that the server's certificate comes from; undefined without TLS. */
  readonly caBundle: string | undefined;
  readonly region: string;
  readonly accountId: string;
  readonly trustAnchorArn: string;
  readonly profileArn: string;
  readonly roleArn: string;
  /** PEM of the throw-away trust anchor. */
  readonly anchor: string;
  /** Have a key certified under the trust anchor: PEM of the leaf, and of the intermediates from the leaf upwards. */
  issue(options: LocalIssueOptions): Promise<{ certificate: string; chain: string }>;
  /** What came, oldest first. */
  readonly requests: readonly LoggedRequest[];
  /** Ends open connections too. */
  close(): Promise<void>;
}

/** Enough for the certificates of a chain with post-quantum keys; Node's default is 16384. */
const HEADER_LIMIT = 131_072;

/**
 * Start the service.
 *
 * @param leaveOut names of checks to skip; for tests that show what each check is for
 * @throws {HoldfastError} `ERR_OPTION_INVALID` when the port is taken; what `createWorld` throws
 */
export async function startServer(
  options: LocalOptions,
  leaveOut: readonly string[] = [],
): Promise<LocalRolesAnywhere> {
  const unknown = leaveOut.filter((name) => !CHECKS.some((check) => check.name === name));
  if (unknown.length > 0) {
    throw new HoldfastError('ERR_OPTION_INVALID', `there is no check ${unknown.join(', ')}`, {
      hint: `use ${CHECKS.map((check) => check.name).join(', ')}`,
    });
  }
  const world = await createWorld(options);
  const requests: LoggedRequest[] = [];
  const { server, caBundle } = await openServer(options.tls ?? false, (incoming, response) => {
    respond(incoming, response).catch(() => response.destroy());
  });

  async function respond(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const request = await readRequest(incoming);
    const { message, warnings, ...ready } = request
      ? route(request, world, leaveOut)
      : refusalAnswer(new Refusal(413, 'RequestEntityTooLargeException', 'Request body is too large.'));
    ready.headers = { Date: world.now().toUTCString(), ...ready.headers };
    const answer = request && options.trouble ? await options.trouble(request, ready) : ready;
    const path = (incoming.url ?? '').split('?', 1)[0] ?? '';
    requests.push({ method: incoming.method ?? '', path, status: answer?.status ?? 0, message, warnings });
    if (answer) response.writeHead(answer.status, answer.headers).end(answer.body);
    else response.destroy();
  }

  await listen(server, options.port ?? 0);
  const endpoint = `${caBundle ? 'https' : 'http'}://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    endpoint,
    stsEndpoint: endpoint,
    caBundle,
    region: world.region,
    accountId: world.accountId,
    trustAnchorArn: (world.anchors[0] as World['anchors'][number]).arn,
    profileArn: world.profile.arn,
    roleArn: world.role.arn,
    anchor: toPem([world.authority.certificate]),
    issue: (asked) => issue(world, asked),
    requests,
    async close() {
      const closed = server.listening ? once(server.close(), 'close') : undefined;
      server.closeAllConnections();
      await closed;
    },
  };
}

function route(request: WireRequest, world: World, leaveOut: readonly string[]): Spoken {
  const path = pathOf(request);
  const isPost = request.method === 'POST';
  try {
    if (path === '/sessions' && isPost) return createSession(request, world, leaveOut);
    if (path === '/' && isPost) return getCallerIdentity(request, world);
  } catch (thrown) {
    return refusalAnswer(new Refusal(500, 'InternalServerException', messageOf(thrown)));
  }
  const status = path === '/sessions' ? 405 : 404;
  return refusalAnswer(new Refusal(status, 'UnknownOperationException', 'There is no such operation.'));
}

/** A server, not listening yet; with TLS, under an authority of its own. */
async function openServer(
  tls: boolean,
  listener: RequestListener,
): Promise<{ server: Server; caBundle: string | undefined }> {
  if (!tls) return { server: createServer({ maxHeaderSize: HEADER_LIMIT }, listener), caBundle: undefined };
  const authority = await createAuthority({ commonName: 'holdfast local TLS CA' });
  const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const certificate = await authority.issue({
    publicKey: keys.publicKey.export({ type: 'spki', format: 'der' }),
    commonName: 'holdfast local service',
    dnsNames: ['localhost'],
    ipAddresses: ['127.0.0.1'],
    extendedKeyUsages: ['1.3.6.1.5.5.7.3.1'],
  });
  const key = keys.privateKey.export({ type: 'pkcs8', format: 'pem' });
  const server = createTlsServer({ key, cert: toPem([certificate]), maxHeaderSize: HEADER_LIMIT }, listener);
  return { server, caBundle: toPem([authority.certificate]) };
}

async function listen(server: Server, port: number): Promise<void> {
  server.listen(port, '127.0.0.1');
  try {
    await once(server, 'listening');
  } catch (cause) {
    throw new HoldfastError(
      'ERR_OPTION_INVALID',
      `cannot listen on port ${port} (${systemCodeOf(cause) ?? messageOf(cause)})`,
      {
        hint: 'choose another port, or leave it out for a free one',
        cause,
      },
    );
  }
}
