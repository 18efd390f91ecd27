import type { IncomingMessage } from 'node:http';

/** A request as it came over the wire: header names and values as sent, in order; the body without its chunk marks. */
export interface WireRequest {
  readonly method: string;
  /** Path and query, undecoded. */
  readonly target: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: Uint8Array;
}

/** An answer before it goes out. */
export interface Answer {
  status: number;
  headers: Record<string, string>;
  body: string;
}

/** Largest body that is read, bytes. CreateSession needs less than one kilobyte. */
const BODY_LIMIT = 65_536;

/** Collect a request; undefined when its body is larger than any that makes sense. */
export async function readRequest(incoming: IncomingMessage): Promise<WireRequest | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    size += chunk.length;
    // Read on and forget: an answer sent before the body has come is lost on many clients.
    if (size <= BODY_LIMIT) chunks.push(chunk);
  }
  if (size > BODY_LIMIT) return undefined;
  const headers: [string, string][] = [];
  for (let index = 0; index + 1 < incoming.rawHeaders.length; index += 2) {
    headers.push([incoming.rawHeaders[index] ?? '', incoming.rawHeaders[index + 1] ?? '']);
  }
  return { method: incoming.method ?? '', target: incoming.url ?? '', headers, body: Buffer.concat(chunks) };
}

/** A header's value as SigV4 sees it: trimmed, runs of spaces as one, repeated headers joined with a comma. */
export function headerOf(request: WireRequest, name: string): string | undefined {
  const values = request.headers.filter(([sent]) => sent.toLowerCase() === name).map(([, value]) => value);
  return values.length === 0 ? undefined : values.map((value) => value.trim().replace(/ +/g, ' ')).join(',');
}

export const pathOf = (request: WireRequest): string => request.target.split('?', 1)[0] ?? '';

/** The names and values of the query, decoded; undefined when its percent encoding is none. */
export function queryOf(request: WireRequest): [name: string, value: string][] | undefined {
  const query = request.target.slice(pathOf(request).length + 1);
  const pairs = query.split('&').filter((pair) => pair !== '');
  try {
    return pairs.map((pair) => {
      const [name = '', ...value] = pair.split('=');
      return [decodeURIComponent(name), decodeURIComponent(value.join('='))];
    });
  } catch {
    return undefined;
  }
}
