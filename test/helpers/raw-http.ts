// HTTP/1.1 by hand over a socket, so that nothing between test and service puts a request in order.
import { connect } from 'node:net';
import type { SignedRequest } from './x509-request.ts';

/** A request as it will stand on the wire. */
export interface Wire {
  /** `POST /sessions HTTP/1.1` */
  readonly start: string;
  /** `Name: value`, each without its line end. */
  readonly lines: readonly string[];
  readonly body: Buffer;
}

/** The request as it was signed, with what HTTP needs besides and a header that is not signed. */
export const wireOf = ({ method, target, headers, body }: SignedRequest): Wire => ({
  start: `${method} ${target} HTTP/1.1`,
  lines: [
    ...headers.map(([name, value]) => `${name}: ${value}`),
    'User-Agent: test',
    `Content-Length: ${body.length}`,
    'Connection: close',
  ],
  body,
});

export const bytesOf = ({ start, lines, body }: Wire): Buffer =>
  Buffer.concat([Buffer.from(`${[start, ...lines].join('\r\n')}\r\n\r\n`, 'latin1'), body]);

export interface RawAnswer {
  readonly status: number;
  /** The `message` in the body; empty when there is none. */
  readonly text: string;
}

/** Write the bytes, read until the other side closes. */
export function sendRaw(endpoint: string, bytes: Uint8Array): Promise<RawAnswer> {
  const { hostname, port } = new URL(endpoint);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname);
    const chunks: Buffer[] = [];
    socket.on('error', reject);
    socket.on('data', (chunk) => chunks.push(chunk));
    socket.on('end', () => socket.end());
    socket.on('close', () => resolve(readAnswer(Buffer.concat(chunks).toString())));
    socket.write(bytes);
  });
}

function readAnswer(answer: string): RawAnswer {
  const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(answer)?.[1] ?? 0);
  // The body is one JSON object, whole or in one chunk.
  const [json] = /\{.*\}/s.exec(answer) ?? ['{}'];
  return { status, text: (JSON.parse(json) as { message?: string }).message ?? '' };
}
