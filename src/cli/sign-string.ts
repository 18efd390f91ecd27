import { createHash, createPublicKey, ECDH, type KeyObject, verify } from 'node:crypto';
import { type Certificate, parseCertificate } from '../certificate.ts';
import { children, read } from '../der.ts';
import { HoldfastError } from '../errors.ts';
import type { IdentityOptions } from '../identity.ts';
import { type HashName, type OpenKey, openKey, parseKeyUri, readCertificates, storeOf } from '../index.ts';
import { printable } from '../read-file.ts';
import type { KeyUri } from '../uri.ts';
import type { Context } from './context.ts';
import { keyOptions, withModule, withPinOf } from './key-flags.ts';
import { withSelected } from './select-certificate.ts';

/** Sign a text that means nothing, to try a key: the signature on stdout, verified. */
export async function signString(context: Context): Promise<void> {
  const { flags, output } = context;
  const hash = (flags.text('digest') as string).replace('SHA', 'SHA-') as HashName;
  const options = await withSelected(optionsFrom(context), context);
  const given = await certificatesIn(options);
  const key = await openKey(options.key as KeyUri, options);
  try {
    if (flags.on('debug')) output.tell('debug', `key: ${key.description}`);
    const { publicKey, certificate } = publicHalf(key, given);
    const message = fixedText(publicKey);
    const signature = await key.sign(message, hash);
    check(publicKey, message, signature, hash, certificate, key);
    await output.result(formatted(signature, flags.text('format')));
  } finally {
    await key.close();
  }
}

function optionsFrom(context: Context): IdentityOptions {
  const { flags, received } = context;
  const module = flags.text('pkcs11-lib');
  const [keyText, certificateText] = (['private-key', 'certificate'] as const).map((name) => {
    const text = flags.text(name);
    return text === undefined ? undefined : withModule(text, module);
  });
  const either = keyText ?? certificateText;
  if (either === undefined) {
    throw new HoldfastError('ERR_FLAG_MISSING', 'missing: --private-key or --certificate', {
      hint: `add it, all on one line, or to the config file; received ${received}`,
    });
  }
  const certificate = certificateText === undefined ? undefined : parseKeyUri(certificateText);
  const key = withPinOf(certificate, parseKeyUri(either));
  return {
    ...keyOptions(key, context, 'sign a test text'),
    key,
    // What stands for both is opened once, as the key.
    certificate: keyText === undefined ? undefined : certificate,
  };
}

async function certificatesIn({ certificate, ...options }: IdentityOptions): Promise<Certificate[]> {
  if (certificate instanceof Uint8Array) return readCertificates(certificate, 'the certificate selected');
  if (typeof certificate !== 'object') return [];
  const store = await storeOf(certificate);
  const ders = (await store.readCertificates?.(certificate, options)) ?? [];
  if (ders.length > 0) return ders.map((der) => parseCertificate(der, `the certificate of ${String(certificate)}`));
  throw new HoldfastError('ERR_CERTIFICATE_REQUIRED', `${String(certificate)} selects no certificate`, {
    hint: 'correct --certificate, or leave it out where the key shows its public half',
  });
}

interface PublicHalf {
  readonly publicKey: KeyObject;
  /** Undefined where the key itself shows its public half, and no certificate is given. */
  readonly certificate: Certificate | undefined;
}

function publicHalf(key: OpenKey, given: readonly Certificate[]): PublicHalf {
  const kept = given.length > 0 ? given : key.certificates.map((der) => parseCertificate(der));
  const isOwn = ({ publicKey }: Certificate): boolean =>
    key.publicKey === undefined || Buffer.compare(publicKey, key.publicKey) === 0;
  const certificate = kept.find((one) => !one.isCa && isOwn(one)) ?? kept.find(isOwn);
  const [first] = given;
  if (first && !certificate) throw mismatch(first, key);
  const publicKey = key.publicKey ?? certificate?.publicKey;
  if (publicKey === undefined) {
    throw new HoldfastError('ERR_CERTIFICATE_REQUIRED', `${key.description} does not show its public half`, {
      hint: 'give its certificate with --certificate: the text that is signed has the public key in it',
    });
  }
  return {
    publicKey: createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'spki' }),
    certificate: given.length > 0 || key.publicKey === undefined ? certificate : undefined,
  };
}

/** The text of the reference client, which ends with 32 octets for the public key. */
function fixedText(publicKey: KeyObject): Buffer {
  const ending = createHash('sha256').update('IAM RA').update(bareKey(publicKey)).digest();
  return Buffer.concat([Buffer.from('AWS Roles Anywhere Credential Helper Signing Test1'), ending]);
}

/** RSA: PKCS#1. Else what the SubjectPublicKeyInfo wraps: the uncompressed point, the octets of ML-DSA. */
function bareKey(publicKey: KeyObject): Uint8Array {
  if (publicKey.asymmetricKeyType === 'rsa') return publicKey.export({ type: 'pkcs1', format: 'der' });
  const spki = publicKey.export({ type: 'spki', format: 'der' });
  const [, bits] = children(read(spki)?.value ?? new Uint8Array());
  const octets = (bits?.value ?? new Uint8Array()).subarray(1);
  const { namedCurve } = publicKey.asymmetricKeyDetails ?? {};
  if (namedCurve === undefined) return octets;
  return ECDH.convertKey(octets, namedCurve, undefined, undefined, 'uncompressed') as Buffer;
}

/** Nothing leaves the house that does not verify. */
function check(
  publicKey: KeyObject,
  message: Uint8Array,
  signature: Uint8Array,
  hash: HashName,
  certificate: Certificate | undefined,
  key: OpenKey,
): void {
  // FIPS 204 §5.2: ML-DSA takes the message itself.
  const algorithm = publicKey.asymmetricKeyType?.startsWith('ml-dsa') ? null : hash.replace('-', '');
  if (verify(algorithm, message, publicKey, signature)) return;
  if (certificate && key.publicKey === undefined) throw mismatch(certificate, key);
  throw new HoldfastError('ERR_SIGNING_FAILED', `the signature of ${key.description} does not verify`, {
    hint: 'the token or its driver returned a wrong signature: try again, then replace it',
  });
}

const mismatch = ({ subject }: Certificate, { description }: OpenKey): HoldfastError =>
  new HoldfastError(
    'ERR_CERTIFICATE_MISMATCH',
    `the certificate of ${printable(subject)} is not that of ${description}`,
    { hint: 'give the certificate that was issued for this key' },
  );

function formatted(signature: Uint8Array, format: string | undefined): string | Uint8Array {
  if (format === 'bin') return signature;
  const hex = Buffer.from(signature).toString('hex');
  return format === 'text' ? hex : JSON.stringify(hex);
}
