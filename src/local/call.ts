import { type KeyObject, X509Certificate } from 'node:crypto';
import { type CertificateFacts, explainCertificate, keyAlgorithmOf } from '../pki.ts';
import { type Authorization, readAuthorization, readDate } from './canonical.ts';
import {
  denied,
  INSUFFICIENT_CERTIFICATE,
  INVALID_SIGNATURE,
  invalidMember,
  malformed,
  Refusal,
  UNTRUSTED_CERTIFICATE,
} from './refusal.ts';
import { headerOf, queryOf, type WireRequest } from './wire.ts';

/** What a CreateSession request asks for. */
export interface Fields {
  readonly profileArn: string;
  readonly roleArn: string;
  readonly trustAnchorArn: string;
  /** Seconds. */
  readonly durationSeconds: number | undefined;
  readonly roleSessionName: string | undefined;
}

/** A certificate, read. */
export interface Element {
  readonly der: Uint8Array;
  readonly x509: X509Certificate;
  readonly facts: CertificateFacts;
}

export interface Leaf extends Element {
  readonly publicKey: KeyObject;
  /** What its key signs under. */
  readonly algorithm: string;
}

/**
 * A CreateSession request while it is checked. Each part is read when a check first wants it, so that what cannot be
 * read is refused in its place among the checks.
 */
export interface Call {
  readonly request: WireRequest;
  readonly fields: () => Fields;
  readonly leaf: () => Leaf;
  /** The certificates of the chain header, in whatever order they came. */
  readonly pool: () => readonly Element[];
  readonly authorization: () => Authorization;
  readonly date: () => Date;
  /** Ways from leaf to anchor, both included, that no check has ruled out; undefined until a check wants them. */
  paths: readonly (readonly Element[])[] | undefined;
  /** What was let pass although the strict service refuses it. */
  readonly warnings: string[];
}

export function startCall(request: WireRequest): Call {
  return {
    request,
    fields: once(() => readFields(request)),
    leaf: once(() => readLeaf(request)),
    pool: once(() => readPool(request)),
    authorization: once(() => readAuthorization(request) ?? refuse(INVALID_SIGNATURE)),
    date: once(() => readDate(request) ?? refuse(INVALID_SIGNATURE)),
    paths: undefined,
    warnings: [],
  };
}

function once<T>(read: () => T): () => T {
  let known: { value: T } | undefined;
  return () => {
    known ??= { value: read() };
    return known.value;
  };
}

function refuse(message: string): never {
  throw denied(message);
}

/** The fields, from body or query. Where both name an ARN the body counts; what the service does is not known. */
function readFields(request: WireRequest): Fields {
  const pairs = queryOf(request);
  if (!pairs) throw malformed('The query string is not percent-encoded.');
  const query = new Map(pairs);
  const body = readJson(request.body);
  const text = (name: string): string | undefined => {
    const value = body[name] ?? undefined;
    if (value === undefined || typeof value === 'string') return value;
    throw malformed(`${name} must be a string.`);
  };
  const arn = (name: string): string => {
    const value = text(name) ?? query.get(name);
    if (value === undefined) throw invalidMember(name, undefined, 'Member must not be null');
    return value;
  };
  const durationSeconds = body.durationSeconds ?? undefined;
  if (durationSeconds !== undefined && !Number.isSafeInteger(durationSeconds)) {
    throw malformed('durationSeconds must be a whole number.');
  }
  return {
    profileArn: arn('profileArn'),
    roleArn: arn('roleArn'),
    trustAnchorArn: arn('trustAnchorArn'),
    durationSeconds: durationSeconds as number | undefined,
    roleSessionName: text('roleSessionName'),
  };
}

function readJson(body: Uint8Array): Record<string, unknown> {
  if (body.length === 0) return {};
  try {
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch {
    // Said below.
  }
  throw malformed('The request body is not a JSON object.');
}

/** Since Node 24.6. */
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
const HAS_ML_DSA = major > 24 || (major === 24 && minor >= 6);

export const ML_DSA = 'AWS4-X509-MLDSA';

const ALGORITHMS: Readonly<Record<string, string | undefined>> = {
  rsa: 'AWS4-X509-RSA-SHA256',
  ec: 'AWS4-X509-ECDSA-SHA256',
  'ml-dsa-44': ML_DSA,
  'ml-dsa-65': ML_DSA,
  'ml-dsa-87': ML_DSA,
};

function readLeaf(request: WireRequest): Leaf {
  const element = readElement(headerOf(request, 'x-amz-x509') ?? '') ?? refuse(INSUFFICIENT_CERTIFICATE);
  try {
    const { publicKey } = element.x509;
    const algorithm = ALGORITHMS[publicKey.asymmetricKeyType ?? ''];
    if (algorithm) return { ...element, publicKey, algorithm };
  } catch {
    // A key that this Node cannot read.
  }
  const name = keyAlgorithmOf(element.der);
  if (name?.startsWith('ML-DSA-') && !HAS_ML_DSA) {
    const message = `${name} needs Node 24.6 or newer; this is ${process.version}`;
    throw new Refusal(500, 'InternalServerException', message);
  }
  return refuse(INSUFFICIENT_CERTIFICATE);
}

function readPool(request: WireRequest): Element[] {
  const header = headerOf(request, 'x-amz-x509-chain');
  if (header === undefined) return [];
  return header.split(',').map((item) => readElement(item) ?? refuse(UNTRUSTED_CERTIFICATE));
}

/** A certificate from standard Base64 of its DER, padded, without line breaks, and with nothing behind it. */
function readElement(base64: string): Element | undefined {
  if (!/^(?:[A-Za-z0-9+/]{4})+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(base64)) return undefined;
  try {
    const element = toElement(Buffer.from(base64, 'base64'));
    return element.x509.raw.length === element.der.length ? element : undefined;
  } catch {
    return undefined;
  }
}

/** @throws {HoldfastError} `ERR_CERTIFICATE_INVALID`, or whatever node:crypto throws, when it is no certificate */
export const toElement = (der: Uint8Array): Element => ({
  der,
  x509: new X509Certificate(der),
  facts: explainCertificate(der),
});
