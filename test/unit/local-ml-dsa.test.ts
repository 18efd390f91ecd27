import { createHash, sign } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { createSession } from '../../src/local/session.ts';
import { createWorld } from '../../src/local/world.ts';
import { toPem } from '../../src/pki.ts';
import { getCredentials } from '../../src/provider.ts';
import { makeCertificate } from '../helpers/certificate-maker.ts';
import { testUnless } from '../helpers/exercised.ts';
import { arnsOf, enroll, sign as signFor, start } from '../helpers/local-client.ts';
import { ANCHOR_ARN, LEAF, MIDDLE, options, plan, ROOT, SOUND } from '../helpers/local-setup.ts';
import {
  CAN_ML_DSA,
  ML_DSA_ANCHOR,
  ML_DSA_VECTORS,
  type MlDsaVector,
  makeMlDsaPair,
  mislabelled,
  privateKeyOf,
  signWithContext,
} from '../helpers/ml-dsa.ts';
import { type Plan, type SignedRequest, send, signRequest, type TestIdentity } from '../helpers/x509-request.ts';

const mlDsaTest = await testUnless('ml-dsa');
const ACCEPTED = { status: 201, message: undefined, warnings: [] };
const REFUSED = { status: 403, message: 'Invalid signature', warnings: [] };

const world = createWorld(options({ anchors: [{ arn: ANCHOR_ARN, pem: toPem([ML_DSA_ANCHOR]) }] }));
const lenient = createWorld(
  options({ anchors: [{ arn: ANCHOR_ARN, pem: toPem([ML_DSA_ANCHOR]) }], signedHeaders: 'warn' }),
);

async function judge(request: SignedRequest, by = world) {
  const { status, message, warnings } = createSession(request, await by);
  return { status, message, warnings };
}

/** A request for the certificate of a vector, signed here and now. */
function signed(vector: MlDsaVector, more: Partial<Plan> = {}): SignedRequest {
  const identity: TestIdentity = { key: privateKeyOf(vector), certificate: vector.certificate, chain: [] };
  return signRequest(plan({ identity, ...more }));
}

describe.each(ML_DSA_VECTORS.map((vector) => [vector.name, vector] as const))('%s', (name, vector) => {
  mlDsaTest('deterministic signatures of another implementation are accepted', async () => {
    expect(await judge(vector.request)).toEqual(ACCEPTED);
  });

  mlDsaTest('hedged signatures are accepted, and each is another one', async () => {
    const requests = [signed(vector), signed(vector)];
    for (const request of requests) expect(await judge(request)).toEqual(ACCEPTED);
    expect(requests[0]?.headers).not.toEqual(requests[1]?.headers);
  });

  mlDsaTest('with a context, over the digest, of another key, changed or cut: refused', async () => {
    const key = privateKeyOf(vector);
    const [first] = ML_DSA_VECTORS as readonly [MlDsaVector];
    const otherSet = name === first.name ? 'ML-DSA-65' : first.name;
    const flipped = (message: Buffer, at: number): Buffer => {
      const signature = sign(null, message, key);
      signature.writeUInt8(signature.readUInt8(at) ^ 1, at);
      return signature;
    };
    const signers: Record<string, (message: Buffer) => Buffer> = {
      'with a context': (message) => signWithContext(message, key),
      'over the digest': (message) => sign(null, createHash('sha256').update(message).digest(), key),
      'of another key': (message) => sign(null, message, makeMlDsaPair(name).privateKey),
      'of another parameter set': (message) => sign(null, message, makeMlDsaPair(otherSet).privateKey),
      'the first bit changed': (message) => flipped(message, 0),
      'a bit of the hint changed': (message) => flipped(message, sign(null, message, key).length - 1),
      'a byte short': (message) => sign(null, message, key).subarray(1),
      'a byte long': (message) => Buffer.concat([sign(null, message, key), Buffer.of(0)]),
      'of an EC key': (message) => sign('sha256', message, SOUND.key),
    };
    for (const [what, signer] of Object.entries(signers)) {
      expect([what, await judge(signed(vector, { sign: signer }))]).toEqual([what, REFUSED]);
    }
  });

  mlDsaTest('under the token of another algorithm: refused, or noted by a lenient service', async () => {
    for (const algorithm of [
      'AWS4-X509-RSA-SHA256',
      'AWS4-X509-ECDSA-SHA256',
      `AWS4-X509-${name}`,
      'AWS4-X509-mldsa',
    ]) {
      const request = signed(vector, { algorithm });
      expect([algorithm, await judge(request)]).toEqual([algorithm, REFUSED]);
      const warnings = [`algorithm ${algorithm} does not fit the key`];
      expect(await judge(request, lenient)).toEqual({ ...ACCEPTED, warnings });
    }
  });

  mlDsaTest('authorities with ML-DSA keys: anchor, intermediate and leaf', async () => {
    const [root, middle, leaf] = [makeMlDsaPair(name), makeMlDsaPair(name), makeMlDsaPair(name)];
    const anchor = makeCertificate({ ...ROOT, publicKey: root.publicKey, issuerKey: root.privateKey });
    const intermediate = { ...MIDDLE, publicKey: middle.publicKey, issuerKey: root.privateKey };
    const own = { ...LEAF, publicKey: leaf.publicKey, issuerKey: middle.privateKey };
    const by = createWorld(options({ anchors: [{ arn: ANCHOR_ARN, pem: toPem([anchor]) }] }));
    const send = (certificate: Uint8Array, chain: readonly Uint8Array[]) =>
      judge(signRequest(plan({ identity: { key: leaf.privateKey, certificate, chain } })), by);
    expect(await send(makeCertificate(own), [makeCertificate(intermediate)])).toEqual(ACCEPTED);
    const untrusted = { ...REFUSED, message: 'Untrusted signing certificate' };
    const foreign = { ...own, issuerKey: root.privateKey };
    expect(await send(makeCertificate(foreign), [makeCertificate(intermediate)])).toEqual(untrusted);
  });

  mlDsaTest('a key that says it is of another parameter set: refused', async () => {
    const identity = { key: privateKeyOf(vector), certificate: mislabelled(vector), chain: [] };
    const insufficient = { ...REFUSED, message: 'Untrusted certificate. Insufficient certificate' };
    expect(await judge(signRequest(plan({ identity })))).toEqual(insufficient);
  });

  mlDsaTest('over the wire, with headers larger than Node takes by default', async () => {
    const service = await start();
    const pair = makeMlDsaPair(name);
    const identity = await enroll(service, { intermediates: 2 }, pair);
    const request = signFor(service, identity, { headers: { 'X-Amzn-Trace-Id': 'x'.repeat(8000) } });
    expect(request.headers.flat().join('').length).toBeGreaterThan(16_384);
    expect((await send(service.endpoint, request)).status).toBe(201);
  });

  mlDsaTest('holdfast signs in with it', async () => {
    const service = await start();
    const pair = makeMlDsaPair(name);
    const publicKey = pair.publicKey.export({ type: 'spki', format: 'der' });
    const { certificate } = await service.issue({ publicKey });
    const signer = { sign: async (message: Uint8Array) => sign(null, message, pair.privateKey) };
    const credentials = await getCredentials({ ...arnsOf(service), endpoint: service.endpoint, certificate, signer });
    expect(credentials.accessKeyId).toMatch(/^ASIA/);
  });

  if (!CAN_ML_DSA) {
    test('on this Node the answer names the version that can', async () => {
      const message = `${name} needs Node 24.6 or newer; this is ${process.version}`;
      expect(await judge(vector.request)).toEqual({ status: 500, message, warnings: [] });
    });
  }
});

test('the token of ML-DSA over another key: refused', async () => {
  const by = createWorld(options());
  expect(await judge(signRequest(plan()), by)).toEqual(ACCEPTED);
  expect(await judge(signRequest(plan({ algorithm: 'AWS4-X509-MLDSA' })), by)).toEqual(REFUSED);
});
