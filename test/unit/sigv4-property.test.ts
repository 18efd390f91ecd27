// Our canonicaliser against that of the AWS SDK, on requests that nobody would send. Where the two differ by design:
// - The SDK never signs some headers (authorization, user-agent, connection, expect, x-amzn-trace-id, proxy-*, sec-*, ...)
//   unless they are named as signable. We sign what we are given, so here all are named.
// - The SDK replaces line ends in header values, which HTTP does not allow and Node refuses to send: not generated.
// - The SDK takes the query as decoded names and values, and drops a name that has no value at all (`null`). On the wire
//   `?a` and `?a=` are two ways to write the same thing (SigV4 signs both as `a=`): it gets the empty value here. It
//   drops `X-Amz-Signature` too, which belongs to signed URLs, and its plain objects cannot hold `__proto__`.
// - The SDK removes "." and ".." from the path; the URL class has done so before we see it. (That of Node 20 forgets some, as in
//   `/x/.0/..`: not generated.)
import { createHash, type Hash } from 'node:crypto';
import { expect, test } from '@jest/globals';
import { createScope, getCanonicalHeaders, getPayloadHash, SignatureV4 } from '@smithy/signature-v4';
import fc from 'fast-check';
import { amzDate, canonicalRequest, stringToSign } from '../../src/sigv4.ts';

class Sha256 {
  readonly #hash: Hash = createHash('sha256');
  update(data: Uint8Array): void {
    this.#hash.update(data);
  }
  async digest(): Promise<Uint8Array> {
    return this.#hash.digest();
  }
  reset(): void {}
}

interface Wire {
  method: string;
  url: URL;
  /** What the query says, decoded, in its order. */
  pairs: readonly (readonly [string, string])[];
  headers: Record<string, string>;
  body: string;
}

/** Opens the SDK's steps, which it keeps for its own subclasses. */
class Independent extends SignatureV4 {
  async canonical({ method, url, pairs, headers, body }: Wire): Promise<string> {
    const values = new Map<string, string[]>();
    for (const [name, value] of pairs) values.set(name, [...(values.get(name) ?? []), value]);
    const query = Object.fromEntries(values);
    const request = { method, protocol: 'https:', hostname: url.hostname, path: url.pathname, query, headers, body };
    const signable = new Set(Object.keys(headers).map((name) => name.toLowerCase()));
    const payload = await getPayloadHash({ ...request, headers: {} }, Sha256);
    return this.createCanonicalRequest(request, getCanonicalHeaders(request, undefined, signable), payload);
  }
  toSign(algorithm: string, date: string, scope: string, canonical: string): Promise<string> {
    return this.createStringToSign(date, scope, canonical, algorithm);
  }
}

const independent = new Independent({
  service: 'rolesanywhere',
  region: 'eu-central-1',
  credentials: { accessKeyId: '', secretAccessKey: '' },
  sha256: Sha256,
});

const hexed = (text: string): string =>
  [...Buffer.from(text)].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('');
/** Ways to write one text in a URL: as browsers do, in lower-case hex, every byte in hex, with as little as goes. */
const writing = (mustBeHex: RegExp): fc.Arbitrary<(text: string) => string> =>
  fc.constantFrom(
    encodeURIComponent,
    (text) => encodeURIComponent(text).replace(/%../g, (hex) => hex.toLowerCase()),
    hexed,
    (text) => text.replace(mustBeHex, hexed),
  );

const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 8 }),
  fc.string({ unit: fc.constantFrom(...Array.from(' +/=&%?#;:@~*\'()!-_.,"<>aA0äÄ\u00a0€\u{1F511}')), maxLength: 12 }),
  fc.constantFrom('', 'a', 'A', 'a-b', 'a b', 'ab', '%', '%41', '+', '10', '2'),
);
const written = (mustBeHex: RegExp): fc.Arbitrary<[string, string]> =>
  fc.tuple(text, writing(mustBeHex)).map(([plain, write]) => [plain, write(plain)]);

const path = fc
  .array(fc.oneof(written(/[/\\?#% \p{Cc}]/gu), fc.constantFrom(['', ''], ['', '.'], ['', '..'], ['', '%2E'])), {
    maxLength: 5,
  })
  .map((segments) => `/${segments.map(([, wire]) => wire).join('/')}`);

const pair = fc
  .record({
    name: written(/[&=#% \p{Cc}]/gu),
    value: written(/[&#% \p{Cc}]/gu),
    noise: fc.constantFrom('', '&', '&&'),
  })
  .filter(({ name: [name] }) => !/^(__proto__|x-amz-signature)$/i.test(name))
  .chain(({ name: [name, wireName], value: [value, wireValue], noise }) =>
    fc.boolean().map((bare) => ({
      decoded: [name, value] as const,
      wire: `${noise}${wireName}${bare && name !== '' && value === '' ? '' : '='}${wireValue}`,
    })),
  );

const headerName = fc.oneof(
  fc.stringMatching(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,12}$/),
  fc.constantFrom('Content-Type', 'User-Agent', 'Authorization', 'X-Amz-X509', 'x-amz-x509-chain', 'Proxy-X', 'Sec-X'),
);
const headerValue = fc.string({
  unit: fc.constantFrom(' ', '  ', '\t', 'a', 'B', ';', '=', ',', '"', '\u00a0', 'ä', '\u0085', '\ufeff', '\v', '\f'),
  maxLength: 12,
});
const headers = fc
  .uniqueArray(fc.tuple(headerName, headerValue), { selector: ([name]) => name.toLowerCase(), maxLength: 6 })
  .filter((list) => list.every(([name]) => !/^(__proto__|host)$/i.test(name)))
  .map((list): Record<string, string> => Object.fromEntries([...list, ['Host', 'gateway.example']]));

const request: fc.Arbitrary<Wire> = fc
  .record({
    method: fc.constantFrom('GET', 'POST', 'PUT', 'DELETE', 'get'),
    path,
    query: fc.array(pair, { maxLength: 6 }),
    headers,
    body: fc.oneof(fc.constant(''), fc.string({ unit: 'binary' }), fc.json()),
  })
  .map(({ path: wirePath, query, ...rest }) => ({
    ...rest,
    url: new URL(`https://gateway.example${wirePath}?${query.map(({ wire }) => wire).join('&')}`),
    pairs: query.map(({ decoded }) => decoded),
  }))
  .filter(({ url }) => !/\/\.\.?(\/|$)/.test(url.pathname));

test('1,000 random requests: the canonical request and the string to sign are those of the AWS SDK', async () => {
  await fc.assert(
    fc.asyncProperty(
      request,
      fc.date({ min: new Date(0), max: new Date('9999-12-31'), noInvalidDate: true }),
      async (wire, date) => {
        const canonical = await independent.canonical(wire);
        expect(canonicalRequest(wire)).toBe(canonical);

        const scope = { region: 'eu-central-1', service: 'rolesanywhere', date };
        const day = amzDate(date).slice(0, 8);
        const expected = await independent.toSign(
          'AWS4-X509-RSA-SHA256',
          date.toISOString().replace(/[-:]|\.\d+/g, ''),
          createScope(day, scope.region, scope.service),
          canonical,
        );
        expect(stringToSign('AWS4-X509-RSA-SHA256', scope, canonical)).toBe(expected);
      },
    ),
    { numRuns: 1000 },
  );
});
