// Two requests that AWS's own client sent (protocol reference, "Golden values"): they must come out of ours, and change
// with every byte. The recordings are not part of this repository.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect } from '@jest/globals';
import { parseCertificate } from '../../src/certificate.ts';
import { HoldfastError } from '../../src/errors.ts';
import { canonicalRequest, type HttpRequest, signRequest, stringToSign } from '../../src/sigv4.ts';
import { testUnless } from '../helpers/exercised.ts';
import { fromAmzDate, fromBase64 } from '../helpers/vectors.ts';
import { CAPTURES } from '../not-exercised.mjs';

const captureTest = await testUnless('captures');

interface Capture {
  readonly name: string;
  readonly request: { method: string; path: string; query: string; headers: Record<string, string>; body: string };
  readonly canonicalRequestSha256: string;
  readonly bodySha256: string;
}

const GOLDEN = {
  'RSA-2048': {
    algorithm: 'AWS4-X509-RSA-SHA256',
    serialNumber: '21',
    query: '3bc80b60e74fd7cdc09ea3f0704ad7965d7529c44bd1098d854d1e44b93f9c3a',
    canonicalRequest: '0341377207232aa5da02d53ac67e71211fab7a4dd4cfc5f63c6121b17f540268',
    stringToSign: '28cae239229b5f528203336b57abd5f1ce614d0608f1118dc0d9561861666112',
    leaf: '5b305d0d825e74090508f2fd40fe18cec26851be1e146be5f380d3e84f6d11c8',
    signatureDigits: 512,
  },
  'EC P-384': {
    algorithm: 'AWS4-X509-ECDSA-SHA256',
    serialNumber: '3',
    query: '7745f8b060b4b879d608909b1e4be5a67e57acd192f9690b4471365873b3184e',
    canonicalRequest: 'c1adf18de77fe52de7033c03fd27177013d13109afbf37c48cadd1973350d4d7',
    stringToSign: '1e17de2c1fb9e034cb39a20178dd5bd55bc56436ed1853e82ae981d263ab5c7b',
    leaf: '9bd358501cf402afeacaef893d8ba61660a652769cf1a89908c6f28084cfdd20',
    signatureDigits: 206,
  },
} as const;
const BODY = '1a15f67f6619aa540b13e9a4c37d149fb2c9bdea25d82b73a3878826694dfe27';

const sha256 = (data: string | Uint8Array): string => createHash('sha256').update(data).digest('hex');

/** The recording as our functions want it, and what was recorded of its signature. */
function recorded(name: string): Capture & { http: HttpRequest; authorization: string; signature: Buffer } {
  const { captures } = JSON.parse(readFileSync(CAPTURES, 'utf8')) as { captures: Capture[] };
  const capture = captures.find((one) => one.name === name) as Capture;
  const { method, path, query, body } = capture.request;
  const { authorization = '', ...headers } = capture.request.headers;
  const url = new URL(`http://${headers.host}${path}?${query}`);
  const signature = Buffer.from(/Signature=([0-9a-f]+)$/.exec(authorization)?.[1] ?? '', 'hex');
  return { ...capture, http: { method, url, headers, body }, authorization, signature };
}

const scopeOf = ({ headers }: HttpRequest): Parameters<typeof stringToSign>[1] => ({
  region: 'us-east-2',
  service: 'rolesanywhere',
  date: fromAmzDate(headers['x-amz-date'] as string),
});

/** The same text with the lowest bit of one byte the other way round. */
const changed = (text: string, at: number): string => {
  const bytes = Buffer.from(text);
  bytes[at] = (bytes[at] as number) ^ 1;
  return bytes.toString();
};

describe.each(Object.entries(GOLDEN))('%s', (name, golden) => {
  captureTest('the hashes of every step', () => {
    const { http, signature, canonicalRequestSha256, bodySha256 } = recorded(name);
    const canonical = canonicalRequest(http);
    const leaf = fromBase64(http.headers['x-amz-x509'] as string);
    expect({ canonicalRequestSha256, bodySha256 }).toEqual({
      canonicalRequestSha256: golden.canonicalRequest,
      bodySha256: BODY,
    });
    expect(sha256(http.body)).toBe(BODY);
    expect(canonical.split('\n').at(-1)).toBe(BODY);
    expect(sha256(canonical.split('\n')[2] as string)).toBe(golden.query);
    expect(sha256(canonical)).toBe(golden.canonicalRequest);
    expect(sha256(stringToSign(golden.algorithm, scopeOf(http), canonical))).toBe(golden.stringToSign);
    expect(sha256(leaf)).toBe(golden.leaf);
    expect(parseCertificate(leaf).serialNumber).toBe(golden.serialNumber);
    expect(signature.toString('hex')).toHaveLength(golden.signatureDigits);
  });

  captureTest('signing it with the recorded signature gives the recorded request', async () => {
    const { http, authorization, signature } = recorded(name);
    const certificate = parseCertificate(fromBase64(http.headers['x-amz-x509'] as string));
    const unsigned = { ...http, headers: { 'Content-Type': 'application/json' } };
    const signer = { sign: async () => signature };
    const signed = await signRequest(unsigned, { certificate, chain: [], signer }, scopeOf(http));
    expect(signed).toEqual({ ...http, headers: { ...http.headers, authorization } });
  });

  captureTest('with any one byte changed the hashes differ and the signature does not verify', () => {
    const { http, signature } = recorded(name);
    const certificate = parseCertificate(fromBase64(http.headers['x-amz-x509'] as string));
    const scope = scopeOf(http);
    const toSign = (request: HttpRequest): string => stringToSign(golden.algorithm, scope, canonicalRequest(request));
    const verifies = (text: string): boolean => certificate.verify(Buffer.from(text), signature);

    const query = http.url.search.slice(1);
    const withQuery = (text: string): HttpRequest => ({ ...http, url: new URL(`${http.url.origin}/sessions?${text}`) });
    const variants: [string, number, (at: number) => HttpRequest][] = [
      ['body', http.body.length, (at) => ({ ...http, body: changed(http.body, at) })],
      ['query', query.length, (at) => withQuery(changed(query, at))],
      ['method', http.method.length, (at) => ({ ...http, method: changed(http.method, at) })],
      ...Object.entries(http.headers).map(([header, value]): (typeof variants)[number] => [
        header,
        value.length,
        (at) => ({ ...http, headers: { ...http.headers, [header]: changed(value, at) } }),
      ]),
    ];
    expect(variants).toHaveLength(7);
    expect(verifies(toSign(http))).toBe(true);

    for (const [what, length, variant] of variants) {
      const seen = new Set([toSign(http)]);
      let refused = 0;
      for (let at = 0; at < length; at += 1) {
        try {
          const text = toSign(variant(at));
          seen.add(text);
          if (verifies(text)) throw new Error(`${what}, byte ${at}: verifies although changed`);
        } catch (thrown) {
          // A "%3A" that became "%3@" is no query at all.
          if (!(thrown instanceof HoldfastError) || thrown.code !== 'ERR_ENDPOINT_INVALID') throw thrown;
          refused += 1;
        }
      }
      expect([what, seen.size + refused]).toEqual([what, length + 1]);
      expect(refused === 0 || what === 'query').toBe(true);
    }
  });

  captureTest('neither the hash of no body nor a host without its port verifies', () => {
    const { http, signature } = recorded(name);
    const certificate = parseCertificate(fromBase64(http.headers['x-amz-x509'] as string));
    const verifies = (request: HttpRequest): boolean =>
      certificate.verify(
        Buffer.from(stringToSign(golden.algorithm, scopeOf(http), canonicalRequest(request))),
        signature,
      );
    expect(verifies(http)).toBe(true);
    expect(verifies({ ...http, body: '' })).toBe(false);
    expect(verifies({ ...http, headers: { ...http.headers, host: '127.0.0.1' } })).toBe(false);
  });
});
