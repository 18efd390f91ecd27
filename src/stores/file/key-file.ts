import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { read } from '../../der.ts';
import { HoldfastError } from '../../errors.ts';
import { type SecretRequest, type SecretSource, withSecret } from '../../secret.ts';
import type { Decrypt } from './decrypt.ts';
import { checkPkcs8Algorithm, isKeyLabel, isPkcs12, isUsualLabel, keyFormOf } from './identify.ts';
import { checkMlDsa } from './ml-dsa.ts';
import { damagedPem, decodePem, type PemBlock, readPem } from './pem.ts';
import type { Pkcs12Key } from './pkcs12.ts';
import { viewOf } from './view-of.ts';

/** What else it may be: loaded when it is no key. */
const findings = (): Promise<typeof import('./findings.ts')> => import('./findings.ts');

/** A private key and the certificates that were found beside it. */
export interface OpenedKey {
  readonly key: KeyObject;
  /** DER, in the order of the file. */
  readonly certificates: readonly Uint8Array[];
}

/** A PKCS#12 file, of which nothing is known before it is open. */
export interface FoundPkcs12 {
  readonly pkcs12: Uint8Array;
}

/** A private key found in a file, perhaps still encrypted, and the certificates that were found beside it. */
export interface FoundKey {
  /** DER of the key; of the encrypted key when `decrypt` is there. */
  readonly der: Uint8Array;
  readonly decrypt: Decrypt | undefined;
  /** DER, in the order of the file. */
  readonly certificates: readonly Uint8Array[];
}

/**
 * Find the one private key in a file's content, PEM or DER, without opening it.
 *
 * @param name what the file is called in an error, without an article
 * @throws {HoldfastError} `ERR_KEY_INVALID`, `ERR_KEY_UNSUPPORTED`, `ERR_KEY_AMBIGUOUS`: each says what the content is
 * instead, and none repeats anything of it
 */
export async function findKey(content: Uint8Array, name: string): Promise<FoundKey | FoundPkcs12> {
  // Windows' Notepad begins UTF-8 with a byte order mark.
  const data = content[0] === 0xef && content[1] === 0xbb && content[2] === 0xbf ? content.subarray(3) : content;
  const text = viewOf(data).toString('latin1');
  if (text.trim() === '') {
    const hint = 'check that whatever writes it has finished';
    throw new HoldfastError('ERR_KEY_INVALID', `the ${name} is empty`, { hint });
  }
  if (/-----BEGIN [^-]*-----/.test(text)) return findInPem(readPem(text, name), name);
  if (isPkcs12(data)) return { pkcs12: data };
  if (data[0] === 0x30 && read(data)) return { ...(await keyInDer(data, name)), certificates: [] };
  throw (await findings()).notAtAll(data, name);
}

async function findInPem(blocks: readonly PemBlock[], name: string): Promise<FoundKey> {
  const [key, ...others] = blocks.filter(({ label }) => isKeyLabel(label));
  if (!key) throw (await findings()).notInPem(blocks, name);
  if (others.length > 0) {
    throw new HoldfastError('ERR_KEY_AMBIGUOUS', `the ${name} holds ${others.length + 1} private keys`, {
      hint: 'put the one to use into a file of its own',
    });
  }
  const unread = isUsualLabel(key.label) ? undefined : (await findings()).notByLabel(key.label, name);
  if (unread) throw unread;

  const der = decodePem(key, name);
  const dekInfo = key.headers.get('DEK-Info');
  const found =
    dekInfo === undefined
      ? await keyInDer(der, name)
      : { der, decrypt: (await import('./decrypt.ts')).decryptTraditional(der, dekInfo, name) };
  const certificates = blocks.filter(({ label }) => label === 'CERTIFICATE' || label === 'X509 CERTIFICATE');
  return { ...found, certificates: certificates.map((block) => decodePem(block, name)) };
}

/** Most keys of daemons are not encrypted: what can decrypt is loaded when it is needed. */
async function keyInDer(der: Uint8Array, name: string): Promise<Omit<FoundKey, 'certificates'>> {
  if (!read(der)) throw damagedPem(name, 'the DER in it does not end where it says');
  const form = keyFormOf(der);
  if (form === undefined) throw (await findings()).notInDer(der, name);
  if (form !== 'encrypted') return { der, decrypt: undefined };
  return { der, decrypt: (await import('./decrypt.ts')).decryptPkcs8(der, name) };
}

/**
 * Open a key that was found. The passphrase is asked for here, if one is needed, and wiped here.
 *
 * @throws {HoldfastError} `ERR_SECRET_REQUIRED`, `ERR_SECRET_WRONG`, `ERR_KEY_INVALID`, `ERR_KEY_UNSUPPORTED`
 */
export async function unlockKey(
  found: FoundKey | FoundPkcs12,
  secret: SecretSource | undefined,
  request: SecretRequest,
): Promise<OpenedKey> {
  const name = request.of;
  if ('pkcs12' in found) {
    const { withPkcs12 } = await import('./pkcs12.ts');
    return withPkcs12(found.pkcs12, secret, request, async ({ keys, certificates }) => {
      return { key: await openPlain(only(keys, name).open(), name), certificates };
    });
  }
  const { der, decrypt, certificates } = found;
  if (!decrypt) return { key: await parseKey(der, name), certificates };
  return withSecret(secret, request, async ({ bytes }) => {
    return { key: await openPlain(decrypt(bytes), name), certificates };
  });
}

/** The one key of a PKCS#12 file. */
function only(keys: readonly Pkcs12Key[], name: string): Pkcs12Key {
  const [key, ...others] = keys;
  if (key && others.length === 0) return key;
  if (!key) {
    const hint = 'name the file of the private key, or export this one with its key';
    throw new HoldfastError('ERR_KEY_INVALID', `the PKCS#12 in the ${name} holds no private key`, { hint });
  }
  const labels = keys.slice(0, LISTED).map(({ label }) => label);
  if (keys.length > LISTED) labels.push(`${keys.length - LISTED} more`);
  const message = `the PKCS#12 in the ${name} holds ${keys.length} private keys: ${labels.join(', ')}`;
  throw new HoldfastError('ERR_KEY_AMBIGUOUS', message, { hint: 'export the one to use into a file of its own' });
}

/** At most so many keys are listed in an error. */
const LISTED = 10;

/** Parse a key that is decrypted, and wipe it. */
async function openPlain(decrypting: Promise<Buffer>, name: string): Promise<KeyObject> {
  const { orUndecryptable } = await import('./cipher-box.ts');
  const plain = await orUndecryptable(decrypting, name);
  try {
    return await parseKey(plain, name);
  } finally {
    plain.fill(0);
  }
}

async function parseKey(der: Uint8Array, name: string): Promise<KeyObject> {
  const form = keyFormOf(der);
  if (form === undefined || form === 'encrypted') throw (await findings()).notInDer(der, name);
  const mlDsa = form === 'pkcs8' ? checkPkcs8Algorithm(der, name) : undefined;
  if (mlDsa) checkMlDsa(mlDsa, name);
  try {
    return createPrivateKey({ key: viewOf(der), format: 'der', type: form });
  } catch (cause) {
    throw new HoldfastError('ERR_KEY_INVALID', `the private key in the ${name} is damaged`, {
      hint: 'copy the file again, or check it with: openssl pkey -noout -check -in FILE',
      cause,
    });
  }
}

/** Certificates in the file's order, but those of this key first. One that cannot be read is left for its reader to refuse. */
export function sortCertificates(certificates: readonly Uint8Array[], key: KeyObject): readonly Uint8Array[] {
  const isOfKey = (der: Uint8Array): boolean => {
    try {
      return new X509Certificate(der).checkPrivateKey(key);
    } catch {
      return false;
    }
  };
  const own = new Set(certificates.filter(isOfKey));
  return [...own, ...certificates.filter((certificate) => !own.has(certificate))];
}
