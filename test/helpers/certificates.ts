import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { type Authority, type CertificateOptions, createAuthority, toPem } from '../../src/pki.ts';
import type { Signer } from '../../src/signer.ts';
import type { KeySpec } from '../../src/stores/store.ts';

/** A key pair in memory, in the forms that tests want. */
export interface TestKeyPair {
  readonly privateKey: KeyObject;
  /** DER SubjectPublicKeyInfo. */
  readonly publicKey: Uint8Array;
  /** PKCS#8. */
  readonly pem: string;
}

export function makeKeyPair(spec: KeySpec = 'P-256'): TestKeyPair {
  const [family, size = ''] = spec.split('-');
  const { privateKey, publicKey } =
    family === 'RSA'
      ? generateKeyPairSync('rsa', { modulusLength: Number(size) })
      : generateKeyPairSync('ec', { namedCurve: spec });
  return {
    privateKey,
    publicKey: publicKey.export({ type: 'spki', format: 'der' }),
    pem: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
  };
}

/** A signer of the caller's, which counts. */
export function countingSigner(privateKey: KeyObject): Signer & { calls: number } {
  const signer = {
    calls: 0,
    sign: async (message: Uint8Array, hash = 'SHA-256') => {
      signer.calls += 1;
      return sign(hash, message, privateKey);
    },
  };
  return signer;
}

/** A leaf and the way up to its root. */
export interface TestIdentity extends TestKeyPair {
  readonly signer: Signer & { calls: number };
  /** DER. */
  readonly certificate: Uint8Array;
  readonly certificatePem: string;
  /** DER, closest to the leaf first. */
  readonly intermediates: readonly Uint8Array[];
  /** DER, self-signed. */
  readonly root: Uint8Array;
  /** Certifies further keys, as it did this one. */
  readonly authority: Authority;
}

export interface TestIdentityOptions extends CertificateOptions {
  keyType?: KeySpec;
  /** Default: 0. */
  intermediates?: number;
  /** The key to certify. Default: a new one. */
  keyPair?: TestKeyPair;
}

/** A throw-away CA, as many intermediates as asked, and a leaf for a key of its own. */
export async function makeIdentity(options: TestIdentityOptions = {}): Promise<TestIdentity> {
  const { keyType = 'P-256', intermediates: count = 0, keyPair = makeKeyPair(keyType), ...leaf } = options;
  const dates = { notBefore: leaf.notBefore, notAfter: leaf.notAfter };
  const root = await createAuthority({ commonName: 'Test Root', ...dates });
  const intermediates: Uint8Array[] = [];
  let authority = root;
  for (let at = 1; at <= count; at += 1) {
    authority = await createAuthority({ commonName: `Test Intermediate ${at}`, issuer: authority, ...dates });
    intermediates.unshift(authority.certificate);
  }
  const certificate = await authority.issue({ commonName: 'build-01', ...leaf, publicKey: keyPair.publicKey });
  return {
    ...keyPair,
    signer: countingSigner(keyPair.privateKey),
    certificate,
    certificatePem: toPem([certificate]),
    intermediates,
    root: root.certificate,
    authority,
  };
}
