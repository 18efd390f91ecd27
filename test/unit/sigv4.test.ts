import { createHash, generateKeyPairSync, sign } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { type Certificate, parseCertificate } from '../../src/certificate.ts';
import type { Signer } from '../../src/signer.ts';
import {
  amzDate,
  canonicalRequest,
  credentialScope,
  type HttpRequest,
  type SigningIdentity,
  type SigningScope,
  signRequest,
  stringToSign,
} from '../../src/sigv4.ts';
import { rejectionOf, thrownBy } from '../helpers/thrown.ts';
import { fromAmzDate, fromBase64, VECTORS, type Vector, type VectorIdentity } from '../helpers/vectors.ts';

const certificateOf = (der: string): Certificate => parseCertificate(fromBase64(der));

interface Setting {
  request: HttpRequest;
  identity: SigningIdentity;
  scope: SigningScope;
  signed: Uint8Array[];
}

/** A vector as the arguments of signRequest, and what its key was asked to sign. */
function settingOf(vector: Vector, signer?: Signer['sign']): Setting {
  const known = VECTORS.identities[vector.identity] as VectorIdentity;
  const signed: Uint8Array[] = [];
  const own: Signer['sign'] = async (message) => sign('sha256', message, known.privateKey);
  return {
    request: { method: 'POST', url: new URL(vector.url), headers: vector.headers, body: vector.body },
    identity: {
      certificate: certificateOf(known.certificate),
      chain: known.chain.map(certificateOf),
      signer: {
        sign: (message, hash) => {
          signed.push(message);
          return (signer ?? own)(message, hash);
        },
      },
    },
    scope: { region: vector.region, service: 'rolesanywhere', date: fromAmzDate(vector.date) },
    signed,
  };
}

const [first] = VECTORS.vectors as [Vector];

describe.each(VECTORS.vectors.map((vector) => [vector.name, vector] as const))('%s', (_, vector) => {
  test('the canonical request, byte for byte', async () => {
    const { request, identity, scope } = settingOf(vector);
    const { authorization, ...headers } = (await signRequest(request, identity, scope)).headers;
    expect(authorization).toBeDefined();
    expect(canonicalRequest({ ...request, headers })).toBe(vector.canonicalRequest);
  });

  test('the string to sign: that, and once', async () => {
    const { request, identity, scope, signed } = settingOf(vector);
    await signRequest(request, identity, scope);
    expect(signed.map((message) => Buffer.from(message).toString())).toEqual([vector.stringToSign]);
    const [algorithm] = vector.stringToSign.split('\n') as [string];
    expect(stringToSign(algorithm, scope, vector.canonicalRequest)).toBe(vector.stringToSign);
  });

  test('the Authorization header around the recorded signature', async () => {
    const { request, identity, scope } = settingOf(vector, async () => Buffer.from(vector.signature, 'hex'));
    const { headers, ...rest } = await signRequest(request, identity, scope);
    expect(headers.authorization).toBe(vector.authorization);
    expect(rest).toEqual({ method: 'POST', url: request.url, body: vector.body });
  });

  test('a signature of our own: the same for RSA, another for ECDSA', async () => {
    const { request, identity, scope } = settingOf(vector);
    const { authorization } = (await signRequest(request, identity, scope)).headers;
    const signature = /Signature=([0-9a-f]+)$/.exec(authorization ?? '')?.[1] ?? '';
    expect(signature === vector.signature).toBe(vector.identity.startsWith('RSA'));
    expect(identity.certificate.verify(Buffer.from(vector.stringToSign), Buffer.from(signature, 'hex'))).toBe(true);
    expect(authorization).toBe(vector.authorization.replace(vector.signature, signature));
  });
});

describe('headers', () => {
  test('what the signature needs is put in, whatever was given under that name in whatever case', async () => {
    const { request, identity, scope } = settingOf(first);
    const plain = await signRequest(request, identity, scope);
    const stale = {
      ...request.headers,
      Host: 'elsewhere.example',
      'X-Amz-Date': '20200101T000000Z',
      'X-AMZ-X509': 'AAAA',
      'X-Amz-X509-Chain': 'BBBB',
      Authorization: 'none',
    };
    expect(await signRequest({ ...request, headers: stale }, identity, scope)).toEqual(plain);
  });

  test('a signed request signed again is as signed once', async () => {
    const vector = VECTORS.vectors.find(({ identity }) => identity === 'RSA-3072') as Vector;
    const { request, identity, scope } = settingOf(vector);
    const once = await signRequest(request, identity, scope);
    expect(await signRequest(once, identity, scope)).toEqual(once);
    expect(once.headers['x-amz-x509-chain']).toBeDefined();
    const alone = await signRequest(once, { ...identity, chain: [] }, scope);
    expect(alone.headers['x-amz-x509-chain']).toBeUndefined();
  });

  test('the request that was given stays as it was', async () => {
    const { request, identity, scope } = settingOf(first);
    const before = JSON.stringify(request);
    await signRequest(request, identity, scope);
    expect(JSON.stringify(request)).toBe(before);
  });

  test('the host has its port unless it is the usual one', async () => {
    const hostOf = async (url: string): Promise<string | undefined> => {
      const { request, identity, scope } = settingOf(first);
      return (await signRequest({ ...request, url: new URL(url) }, identity, scope)).headers.host;
    };
    expect(await hostOf('https://gateway.example:443/sessions')).toBe('gateway.example');
    expect(await hostOf('http://127.0.0.1:8080/sessions')).toBe('127.0.0.1:8080');
    expect(await hostOf('http://[::1]:80/sessions')).toBe('[::1]');
  });
});

describe('a signature that is not the certificate’s does not leave', () => {
  const other = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
  const own = (VECTORS.identities['RSA-2048'] as VectorIdentity).privateKey;
  const pss = { key: own, padding: 6, saltLength: 32 };

  test.each<[string, Signer['sign']]>([
    ['another key', async (message) => sign('sha256', message, other)],
    ['another message', async () => sign('sha256', Buffer.from('x'), own)],
    ['another hash', async (message) => sign('sha384', message, own)],
    ['the digest of the digest', async (message) => sign('sha256', createHash('sha256').update(message).digest(), own)],
    ['PSS', async (message) => sign('sha256', message, pss)],
    ['one bit', async (message) => sign('sha256', message, own).map((byte, at) => (at === 7 ? byte ^ 1 : byte))],
    ['cut short', async (message) => sign('sha256', message, own).subarray(1)],
    ['with something behind it', async (message) => Buffer.concat([sign('sha256', message, own), Buffer.alloc(1)])],
  ])('%s', async (_, signer) => {
    const { request, identity, scope } = settingOf(first, signer);
    const error = await rejectionOf(signRequest(request, identity, scope));
    expect(error).toMatchObject({ code: 'ERR_CERTIFICATE_MISMATCH', hint: expect.any(String) });
    expect(error.message).toContain('CN=RSA-2048 leaf');
    const matched = await rejectionOf(signRequest(request, { ...identity, matched: true }, scope));
    expect(matched).toMatchObject({ code: 'ERR_SIGNING_FAILED', hint: expect.stringContaining('driver') });
  });

  test.each<[what: string, returned: unknown]>([
    ['no bytes', new Uint8Array()],
    ['undefined, not bytes', undefined],
    ['null, not bytes', null],
    ['a string, not bytes', 'S3cr3t'],
    ['an ArrayBuffer, not bytes', new ArrayBuffer(256)],
    ['an object, not bytes', [1, 2]],
  ])('%s', async (what, returned) => {
    const { request, identity, scope } = settingOf(first, async () => returned as never);
    const error = await rejectionOf(signRequest(request, identity, scope));
    expect(error).toMatchObject({ code: 'ERR_SIGNING_FAILED', message: `the signer returned ${what}` });
    expect(error.hint).toContain('Uint8Array');
  });

  test.each(['P-256', 'P-384', 'P-521'])('raw r and s instead of DER: %s', async (curve) => {
    const vector = VECTORS.vectors.find(({ identity }) => identity === curve) as Vector;
    const key = (VECTORS.identities[curve] as VectorIdentity).privateKey;
    const raw: Signer['sign'] = async (message) => sign('sha256', message, { key, dsaEncoding: 'ieee-p1363' });
    const { request, identity, scope } = settingOf(vector, raw);
    expect(await rejectionOf(signRequest(request, identity, scope))).toMatchObject({
      code: 'ERR_SIGNING_FAILED',
      hint: expect.stringMatching(/DER Ecdsa-Sig-Value.*WebCrypto/),
    });
  });

  test('what the signer throws comes through', async () => {
    const thrown = new Error('unplugged');
    const { request, identity, scope } = settingOf(first, () => Promise.reject(thrown));
    await expect(signRequest(request, identity, scope)).rejects.toBe(thrown);
  });
});

describe('the parts', () => {
  test('the date is UTC, without its fraction', () => {
    const date = new Date('2026-01-02T03:04:05.999+14:00');
    expect(amzDate(date)).toBe('20260101T130405Z');
    expect(credentialScope({ date, region: 'x', service: 'y' })).toBe('20260101/x/y/aws4_request');
  });

  const lines = (headers: Record<string, string>, url = 'https://h/'): string[] =>
    canonicalRequest({ method: 'POST', url: new URL(url), headers, body: '' }).split('\n');

  test('header names in lower case and in order, values trimmed and folded', () => {
    expect(lines({ b: ' 1  \t 2 ', 'A-b': '"x   y"', a: '', 'a-': ',' }).slice(3, -1)).toEqual([
      'a:',
      'a-:,',
      'a-b:"x y"',
      'b:1 2',
      '',
      'a;a-;a-b;b',
    ]);
  });

  test.each([
    ['', ''],
    ['?', ''],
    ['?b&a', 'a=&b='],
    ['?a=2&a=10&a=1', 'a=1&a=10&a=2'],
    ['?a-b=1&a=2', 'a=2&a-b=1'], // by name, not by the whole text: "-" comes before "="
    ['?B=1&a=2', 'B=1&a=2'],
    ['?a=b=c', 'a=b%3Dc'],
    ['?a=x+y', 'a=x%2By'], // no form: a plus is a plus
    ['?a=x%20y', 'a=x%20y'],
    ['?a=%7e%2d%5f%2e', 'a=~-_.'],
    ["?a=!'()*", 'a=%21%27%28%29%2A'],
    ['?ä=€', '%C3%A4=%E2%82%AC'],
    ['?arn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fx', 'arn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fx'],
  ])('query %s', (query, canonical) => {
    expect(lines({}, `https://h/${query}`)[2]).toBe(canonical);
  });

  test('a query that is not UTF-8 cannot be signed', () => {
    for (const query of ['?a=%ff', '?a=%', '?%zz=1']) {
      expect(thrownBy(() => lines({}, `https://h/${query}`))).toMatchObject({ code: 'ERR_ENDPOINT_INVALID' });
    }
  });

  test.each([
    ['/sessions', '/sessions'],
    ['//a///b//', '/a/b/'],
    ['/a/./b/../c', '/a/c'],
    ['/a%20b/ä', '/a%2520b/%25C3%25A4'],
    ["/a=b,c:d@e!'()*", '/a%3Db%2Cc%3Ad%40e%21%27%28%29%2A'],
  ])('path %s', (path, canonical) => {
    expect(lines({}, `https://h${path}`)[1]).toBe(canonical);
  });
});
