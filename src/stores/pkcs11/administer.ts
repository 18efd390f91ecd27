import { createHash, randomBytes } from 'node:crypto';
import type { ITemplate, Session } from 'graphene-pk11';
import { type Certificate, parseCertificate } from '../../certificate.ts';
import { children, read } from '../../der.ts';
import { HoldfastError } from '../../errors.ts';
import { within } from '../../limits.ts';
import { type KeyUri, parseKeyUri } from '../../uri.ts';
import type { CreateOptions, KeySpec, OpenOptions } from '../store.ts';
import type { Address } from './address.ts';
import { certificatesOn, type StoredCertificate } from './certificates.ts';
import { CK, CURVES } from './cryptoki.ts';
import { guarded } from './faults.ts';
import { type PrivateKey, selectKey } from './keys.ts';
import { login, pinSource } from './login.ts';
import { byName, findObjects, inWords, type ObjectName, uriName } from './objects.ts';
import { findPublicKey } from './public-key.ts';
import { type Connection, connect, nameOfToken, uriOnToken } from './token.ts';

/** `create` of this store. */
export async function createKey(address: Address, options: CreateOptions): Promise<KeyUri> {
  const kind = kindOf(options.keyType);
  return writing(address, options, 'making the key', (connection, session) => {
    const { token } = connection;
    const id = address.id && address.id.length > 0 ? address.id : randomBytes(8);
    const name: ObjectName = { id, label: address.object };
    refuseTaken(connection, name);
    const common: ITemplate = { token: true, id, ...labelOf(name) };
    guarded('ERR_TOKEN_FAILED', `${nameOfToken(token)} made no ${options.keyType} key`, () =>
      session.generateKeyPair(
        kind.mechanism,
        { ...common, ...kind.template, verify: true },
        { ...common, sign: true, sensitive: true, extractable: false },
      ),
    );
    return parseKeyUri(uriOnToken(address, token, uriName(name), true));
  });
}

/** `putCertificate` of this store. */
export async function writeCertificates(
  address: Address,
  chain: readonly Uint8Array[],
  options: OpenOptions,
): Promise<void> {
  const [leaf, ...issuers] = chain.map((der, index) => parseCertificate(der, `certificate ${index + 1} of the chain`));
  if (!leaf) {
    throw new HoldfastError('ERR_CERTIFICATE_REQUIRED', 'there is no certificate to put beside the key', {
      hint: 'give the certificate of the key, then its issuers',
    });
  }
  return writing(address, options, 'writing certificates', (connection, session) => {
    const present = certificatesOn(connection);
    const key = selectKey(connection, present);
    refuseForeign(connection, key, leaf, present);
    const write = (certificate: Certificate, name: ObjectName): void => {
      if (present.some(({ der }) => der.equals(certificate.der))) return;
      guarded('ERR_TOKEN_FAILED', `${nameOfToken(connection.token)} took no certificate`, () =>
        session.create({ ...templateOf(certificate), id: name.id ?? Buffer.alloc(0), ...labelOf(name) }),
      );
    };
    write(leaf, key);
    for (const issuer of issuers) write(issuer, { id: identifierOf(issuer), label: Buffer.from(issuer.subject) });
  });
}

/** Log in on a PKCS#11 session that may write, and let graphene work on it; module, token and login stay ours. */
async function writing<T>(
  address: Address,
  options: OpenOptions,
  what: string,
  work: (connection: Connection, session: Session) => T,
): Promise<T> {
  return within(options, what, async (signal) => {
    const graphene = await loadGraphene();
    const connection = await connect(address, CK.CKF_SERIAL_SESSION | CK.CKF_RW_SESSION);
    try {
      signal.throwIfAborted();
      (await login(pinSource(connection, options), signal))?.wipe();
      const { token, session } = connection;
      const { pkcs11 } = connection.module;
      const slot = new graphene.Slot(token.slot, new graphene.Module(pkcs11), pkcs11);
      return work(connection, new graphene.Session(session, slot, pkcs11));
    } finally {
      connection.close();
    }
  });
}

async function loadGraphene(): Promise<typeof import('graphene-pk11')> {
  try {
    return await import('graphene-pk11');
  } catch (cause) {
    // It loads pkcs11js itself: if that is the trouble, connecting would say so, and says it better.
    await (await import('./driver.ts')).loadDriver();
    throw new HoldfastError(
      'ERR_DRIVER_NOT_INSTALLED',
      'the package graphene-pk11, which writes to tokens, is missing',
      {
        hint: 'run "npm install graphene-pk11", and install without --omit=optional (native-notes/install.md)',
        cause,
      },
    );
  }
}

const labelOf = ({ label }: ObjectName): ITemplate => (label ? { label: label.toString('utf8') } : {});

function kindOf(keyType: KeySpec): { mechanism: string; template: ITemplate } {
  const bits = /^RSA-(2048|3072|4096)$/.exec(keyType)?.[1];
  if (bits) {
    const template = { modulusBits: Number(bits), publicExponent: Buffer.from('010001', 'hex') };
    return { mechanism: 'RSA_PKCS_KEY_PAIR_GEN', template };
  }
  const curve = CURVES.find(({ name }) => name === keyType);
  if (curve) return { mechanism: 'EC_KEY_PAIR_GEN', template: { paramsEC: Buffer.from(curve.oid, 'hex') } };
  throw new HoldfastError('ERR_OPTION_INVALID', `there is no key type "${String(keyType)}"`, {
    hint: 'use RSA-2048, RSA-3072, RSA-4096, P-256, P-384 or P-521',
  });
}

/** Tokens allow two objects of one name; nobody could tell them apart afterwards. */
function refuseTaken(connection: Connection, { id, label }: ObjectName): void {
  const taken = [{ id, label: undefined }, ...(label ? [{ id: undefined, label }] : [])].find(
    (name) => findObjects(connection, byName(name)).length > 0,
  );
  if (!taken) return;
  throw new HoldfastError(
    'ERR_KEY_EXISTS',
    `${nameOfToken(connection.token)} has an object ${inWords(taken)} already`,
    {
      hint: 'choose another id or object; nothing was changed',
    },
  );
}

function refuseForeign(
  connection: Connection,
  key: PrivateKey,
  leaf: Certificate,
  present: readonly StoredCertificate[],
): void {
  const publicKey = findPublicKey(connection, key, []);
  if (publicKey && !publicKey.equals(leaf.publicKey)) {
    throw new HoldfastError(
      'ERR_CERTIFICATE_MISMATCH',
      `the certificate of ${leaf.subject} is not that of ${key.description}`,
      {
        hint: 'give the certificate that was issued for this key, as the first one',
      },
    );
  }
  const other = present.find(({ id, der }) => key.id && id?.equals(key.id) && !der.equals(leaf.der));
  if (!other) return;
  throw new HoldfastError('ERR_KEY_EXISTS', `${key.description} has another certificate beside it already`, {
    hint: 'remove that one first (pkcs11-tool --delete-object --type cert); nothing was changed',
  });
}

function templateOf(certificate: Certificate): ITemplate {
  const { serial, issuer, subject } = fieldsOf(certificate.der);
  return {
    class: CK.CKO_CERTIFICATE,
    certType: CK.CKC_X_509,
    token: true,
    private: false,
    value: Buffer.from(certificate.der),
    serial,
    issuer,
    subject,
  };
}

/** The DER of the fields that PKCS#11 wants beside a certificate (RFC 5280 §4.1, PKCS#11 v2.40 §4.6.3). */
function fieldsOf(certificate: Uint8Array): { serial: Buffer; issuer: Buffer; subject: Buffer } {
  const toBeSigned = read(read(certificate)?.value ?? certificate)?.value ?? certificate;
  const fields: { tag: number; der: Buffer }[] = [];
  let start = 0;
  for (const { tag, end } of children(toBeSigned)) {
    fields.push({ tag, der: Buffer.from(toBeSigned.subarray(start, end)) });
    start = end;
  }
  // The version is [0] EXPLICIT and left out in v1.
  const [serial, , issuer, , subject] = (fields[0]?.tag === 0xa0 ? fields.slice(1) : fields).map(({ der }) => der);
  if (serial && issuer && subject) return { serial, issuer, subject };
  throw new HoldfastError('ERR_CERTIFICATE_INVALID', 'the certificate lacks a serial number, an issuer or a subject');
}

/** An identifier of an issuer's own, so that its certificate is not taken for that of a key. */
const identifierOf = ({ publicKey }: Certificate): Buffer =>
  createHash('sha256').update(publicKey).digest().subarray(0, 20);
