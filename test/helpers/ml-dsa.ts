import { createPrivateKey, generateKeyPairSync, type KeyObject, type KeyPairKeyObjectResult, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { holds } from '../not-exercised.mjs';
import { fromBase64 } from './vectors.ts';
import type { SignedRequest } from './x509-request.ts';

/** Can this Node use ML-DSA? */
export const CAN_ML_DSA = !(await holds('node-without-ml-dsa'));

export interface MlDsaVector {
  /** `ML-DSA-44` */
  readonly name: string;
  /** 32 octets in hex (FIPS 204 §6.1). */
  readonly seed: string;
  /** Under the defaults of local-setup.ts, straight below the anchor. */
  readonly request: SignedRequest;
  /** DER. */
  readonly certificate: Buffer;
  /** Hex. */
  readonly authorization: string;
}

interface File {
  readonly anchor: string;
  readonly vectors: readonly {
    readonly name: string;
    readonly seed: string;
    readonly request: Omit<SignedRequest, 'body'> & { readonly body: string };
  }[];
}

const file = JSON.parse(readFileSync(new URL('../vectors/ml-dsa.json', import.meta.url), 'utf8')) as File;

/** DER, EC. */
export const ML_DSA_ANCHOR: Buffer = fromBase64(file.anchor);

/** What scripts/make-ml-dsa-vectors.mjs writes: signed deterministically, by another implementation. */
export const ML_DSA_VECTORS: readonly MlDsaVector[] = file.vectors.map(({ request, ...vector }) => {
  const header = (wanted: string): string => request.headers.find(([name]) => name === wanted)?.[1] ?? '';
  return {
    ...vector,
    request: { ...request, body: Buffer.from(request.body) },
    certificate: fromBase64(header('X-Amz-X509')),
    authorization: header('Authorization'),
  };
});

/** A new pair, where this Node can. */
export const makeMlDsaPair = (name: string): KeyPairKeyObjectResult =>
  (generateKeyPairSync as unknown as (type: string) => KeyPairKeyObjectResult)(name.toLowerCase());

/** The certificate of a vector with a key that says of itself that it is of another parameter set: nobody can read it. */
export function mislabelled({ certificate, name }: MlDsaVector): Buffer {
  const der = Buffer.from(certificate);
  const at = der.indexOf(Buffer.from('6086480165030403', 'hex')) + 8;
  der.writeUInt8(name === 'ML-DSA-44' ? 0x12 : 0x11, at);
  return der;
}

/** A signature with a context (FIPS 204 §5.2), which Roles Anywhere does not use. */
export function signWithContext(message: Uint8Array, key: KeyObject): Buffer {
  const withContext = { key, context: Buffer.from('rolesanywhere') };
  return sign(null, message, withContext);
}

/** The private key of a vector, from PKCS#8 with nothing but the seed (RFC 9881 §6). */
export function privateKeyOf({ name, seed }: MlDsaVector): KeyObject {
  const identifier = { 'ML-DSA-44': '11', 'ML-DSA-65': '12', 'ML-DSA-87': '13' }[name];
  const der = `3034020100300b06096086480165030403${identifier}04228020${seed}`;
  return createPrivateKey({ key: Buffer.from(der, 'hex'), format: 'der', type: 'pkcs8' });
}
