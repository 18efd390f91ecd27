import { createHash, createPublicKey, sign, X509Certificate } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { parseCertificate } from '../../src/certificate.ts';
import type { Signer } from '../../src/signer.ts';
import { type HttpRequest, type SigningScope, signRequest } from '../../src/sigv4.ts';
import { testUnless } from '../helpers/exercised.ts';
import { HOST, NOW } from '../helpers/local-setup.ts';
import {
  CAN_ML_DSA,
  ML_DSA_VECTORS,
  type MlDsaVector,
  makeMlDsaPair,
  privateKeyOf,
  signWithContext,
} from '../helpers/ml-dsa.ts';
import { rejectionOf } from '../helpers/thrown.ts';

const mlDsaTest = await testUnless('ml-dsa');

const SIZES: Record<string, number> = { 'ML-DSA-44': 2420, 'ML-DSA-65': 3309, 'ML-DSA-87': 4627 };
const SCOPE: SigningScope = { region: 'us-east-1', service: 'rolesanywhere', date: NOW };

/** The request of a vector, signed by another signer. */
function signedBy(vector: MlDsaVector, signer: Signer['sign']): Promise<HttpRequest> {
  const { method, target, body } = vector.request;
  const headers = { 'Content-Type': 'application/json' };
  return signRequest(
    { method, url: new URL(target, `http://${HOST}`), headers, body: body.toString() },
    { certificate: parseCertificate(vector.certificate), chain: [], signer: { sign: signer } },
    SCOPE,
  );
}

const signatureIn = (authorization = ''): Buffer => Buffer.from(authorization.replace(/^.*Signature=/, ''), 'hex');

describe.each(ML_DSA_VECTORS.map((vector) => [vector.name, vector] as const))('%s', (name, vector) => {
  mlDsaTest('a deterministic signature of another implementation makes the header that it made', async () => {
    const recorded = signatureIn(vector.authorization);
    expect(recorded).toHaveLength(SIZES[name] as number);
    const { headers } = await signedBy(vector, async () => recorded);
    expect(headers.authorization).toBe(vector.authorization);
    expect(headers.authorization).toMatch(/^AWS4-X509-MLDSA Credential=31\/20260615\//);
  });

  mlDsaTest('a hedged signature of node:crypto, over the message itself', async () => {
    const key = privateKeyOf(vector);
    const own = createPublicKey(key).export({ type: 'spki', format: 'der' });
    expect(own.equals(new X509Certificate(vector.certificate).publicKey.export({ type: 'spki', format: 'der' }))).toBe(
      true,
    );
    const asked: unknown[] = [];
    const { headers } = await signedBy(vector, async (message, hash) => {
      asked.push([Buffer.from(message).toString().split('\n')[0], hash]);
      return sign(null, message, key);
    });
    expect(asked).toEqual([['AWS4-X509-MLDSA', 'SHA-256']]);
    expect(signatureIn(headers.authorization)).toHaveLength(SIZES[name] as number);
    expect(headers.authorization).not.toBe(vector.authorization);
  });

  mlDsaTest('no signature of another kind leaves the house', async () => {
    const key = privateKeyOf(vector);
    const other = makeMlDsaPair(name).privateKey;
    const signers: Record<string, Signer['sign']> = {
      'with a context': async (message) => signWithContext(message, key),
      'over the digest': async (message) => sign(null, createHash('sha256').update(message).digest(), key),
      'of another key': async (message) => sign(null, message, other),
      'a byte short': async (message) => sign(null, message, key).subarray(1),
      'in DER': async (message) => Buffer.concat([Buffer.from('0482', 'hex'), sign(null, message, key)]),
    };
    for (const [what, signer] of Object.entries(signers)) {
      const { code } = await rejectionOf(signedBy(vector, signer));
      expect([what, code]).toEqual([what, 'ERR_CERTIFICATE_MISMATCH']);
    }
  });

  if (!CAN_ML_DSA) {
    test('on this Node the refusal names the version that can, and nothing is signed', async () => {
      let calls = 0;
      const error = await rejectionOf(
        signedBy(vector, async () => {
          calls += 1;
          return signatureIn(vector.authorization);
        }),
      );
      expect(error).toMatchObject({
        code: 'ERR_CERTIFICATE_UNSUITABLE',
        message: `the certificate of CN=${name.toLowerCase()} has a key that cannot be used here: ${name} needs Node 24.6 or newer; this is ${process.version}`,
        hint: expect.stringContaining('Node 24.6'),
      });
      expect(calls).toBe(0);
    });
  }
});
