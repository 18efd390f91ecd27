import { isUtf8 } from 'node:buffer';
import { createHash, randomBytes } from 'node:crypto';
import type { ITemplate, Session } from 'graphene-pk11';
import { type Certificate, parseCertificate } from '../../certificate.ts';
import { HoldfastError } from '../../errors.ts';
import { within } from '../../limits.ts';
import { pinRecordOf } from '../../pin-record.ts';
import { takeTurn, turnWhen } from '../../turn.ts';
import { type KeyUri, parseKeyUri } from '../../uri.ts';
import type { CreateOptions, KeySpec, OpenOptions } from '../store.ts';
import { type Address, listing } from './address.ts';
import { underNameOf } from './certificates.ts';
import { logIn } from './connect.ts';
import { CK, CURVES } from './cryptoki.ts';
import { guarded } from './faults.ts';
import { fieldsOf } from './issuers.ts';
import { type PrivateKey, selectKey } from './keys.ts';
import {
  byName,
  FEW,
  findObjects,
  inWords,
  isGiven,
  type ObjectName,
  readName,
  SAME_NAME,
  sameBytes,
  several,
  uriName,
} from './objects.ts';
import { findPublicKey } from './public-key.ts';
import { findCertificateObjects, findCertificates, isAttestation, publicKeyOf } from './stored-certificate.ts';
import { type Connection, nameOfToken, type Token, uriOnToken } from './token.ts';

/** `create` of this store. */
export async function createKey(address: Address, options: CreateOptions): Promise<KeyUri> {
  const kind = kindOf(options.keyType);
  refuseOddLabel(address);
  return writing(address, options, 'making the key', (connection, session) => {
    const { token } = connection;
    const id = address.id && address.id.length > 0 ? address.id : randomBytes(8);
    const name: ObjectName = { id, label: address.object };
    refuseTaken(connection, name);
    const common: ITemplate = { token: true, id, ...labelOf(name) };
    const made = guarded('ERR_TOKEN_FAILED', `${nameOfToken(token)} made no ${options.keyType} key`, () =>
      session.generateKeyPair(
        kind.mechanism,
        { ...common, ...kind.template, verify: true },
        { ...common, sign: true, sensitive: true, extractable: false },
      ),
    );
    // Some tokens name keys themselves, whatever they are asked.
    const given = readName(connection, made.privateKey.handle);
    return parseKeyUri(
      uriOnToken(address, token, uriName(isGiven(given.id) || isGiven(given.label) ? given : name, true), true),
    );
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
    const key = selectKey(connection);
    refuseForeign(connection, key, leaf);
    const write = (certificate: Certificate, name: ObjectName): void => {
      if (isThere(connection, certificate, name)) return;
      guarded('ERR_TOKEN_FAILED', `${nameOfToken(connection.token)} took no certificate`, () =>
        session.create({ ...templateOf(certificate), id: name.id ?? Buffer.alloc(0), ...labelOf(name) }),
      );
    };
    write(leaf, key);
    for (const issuer of issuers) write(issuer, { id: identifierOf(issuer), label: Buffer.from(issuer.subject) });
  });
}

/** `removeCertificate` of this store. */
export async function deleteCertificate(address: Address, options: OpenOptions): Promise<void> {
  const { id, object: label } = address;
  if (!isGiven(id) && !isGiven(label)) {
    throw new HoldfastError('ERR_CERTIFICATE_AMBIGUOUS', `${address.text} does not say which certificate`, {
      hint: 'name it by its id or object (holdfast list shows them); nothing was changed',
    });
  }
  return writing(address, options, 'removing a certificate', (connection) => {
    const { module, session, token } = connection;
    const found = findCertificateObjects(connection, byName({ id, label }), FEW);
    const [handle] = found;
    if (!handle) {
      throw new HoldfastError('ERR_CERTIFICATE_REQUIRED', `${nameOfToken(token)} has none that ${address.text} fits`, {
        hint: 'check id and object of the certificate (holdfast list shows them); nothing was changed',
      });
    }
    if (found.length > 1) {
      const names = found.slice(0, FEW - 1).map((one) => uriName(readName(connection, one)));
      const uris = new Set(names.map((name) => uriOnToken(address, token, [...name, ['type', 'cert']])));
      throw new HoldfastError('ERR_CERTIFICATE_AMBIGUOUS', `${several(found)} certificates fit ${address.text}`, {
        hint: uris.size > 1 ? listing('use one of these', [...uris]) : `${SAME_NAME}; nothing was changed`,
      });
    }
    guarded('ERR_TOKEN_FAILED', `${nameOfToken(token)} did not remove the certificate`, () =>
      module.pkcs11.C_DestroyObject(session, handle),
    );
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
    const flags = CK.CKF_SERIAL_SESSION | CK.CKF_RW_SESSION;
    const { connection, secret } = await logIn(address, options, signal, flags);
    secret?.wipe();
    try {
      const { token, session } = connection;
      const { pkcs11 } = connection.module;
      const slot = new graphene.Slot(token.slot, new graphene.Module(pkcs11), pkcs11);
      const leave = await turnToWrite(token, signal);
      try {
        return work(connection, new graphene.Session(session, slot, pkcs11));
      } finally {
        leave();
      }
    } finally {
      connection.close();
    }
  });
}

/**
 * Among the processes of this user, from the look at what is there until it is written; without a private directory nobody
 * waits. Not the turn of the PIN: a long key takes some tokens minutes, and to log in must not wait for that.
 */
async function turnToWrite(token: Token, signal: AbortSignal): Promise<() => void> {
  const record = pinRecordOf(token);
  if (typeof record === 'string') return () => {};
  const enter = (): (() => void) | undefined => {
    try {
      return takeTurn(`${record.path}.write`);
    } catch {
      return () => {}; // the directory went away, or is full: then there is none
    }
  };
  return await turnWhen(enter, signal);
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

/** PKCS#11 v2.40 §4.4: a label is a string of UTF-8. What is none would become another one on the way. */
function refuseOddLabel({ object }: Address): void {
  if (!object || isUtf8(object)) return;
  throw new HoldfastError('ERR_URI_INVALID', 'the object, which is to become the label, is not UTF-8', {
    hint: 'percent-encode the UTF-8 bytes of the label; other bytes are for id',
  });
}

/** Tokens allow two objects of one name; nobody could tell them apart afterwards. */
function refuseTaken(connection: Connection, { id, label }: ObjectName): void {
  const taken = [{ id, label: undefined }, ...(label ? [{ id: undefined, label }] : [])].find(
    (one) => findObjects(connection, byName(one), 1).length > 0,
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

function refuseForeign(connection: Connection, key: PrivateKey, leaf: Certificate): void {
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
  const other = underNameOf(connection, key).find(
    (one) => sameBytes(publicKeyOf(one), leaf.publicKey) && !isAttestation(one) && !one.der.equals(leaf.der),
  );
  if (!other) return;
  throw new HoldfastError('ERR_KEY_EXISTS', `${key.description} has another certificate beside it already`, {
    hint: 'remove that one first; nothing was changed',
  });
}

/** Under the name that it would get, or, as other programs write them, under another one. */
function isThere(connection: Connection, { der }: Certificate, { id }: ObjectName): boolean {
  const subject = fieldsOf(der)?.subject;
  const templates = [byName({ id, label: undefined }), subject ? [{ type: CK.CKA_SUBJECT, value: subject }] : []];
  return templates
    .filter(({ length }) => length > 0)
    .some((template) => findCertificates(connection, template).some((one) => one.der.equals(der)));
}

function templateOf({ der }: Certificate): ITemplate {
  const names = fieldsOf(der);
  if (!names) {
    throw new HoldfastError('ERR_CERTIFICATE_INVALID', 'the certificate lacks a serial number, an issuer or a subject');
  }
  return {
    class: CK.CKO_CERTIFICATE,
    certType: CK.CKC_X_509,
    token: true,
    private: false,
    value: Buffer.from(der),
    ...names,
  };
}

/** An identifier of an issuer's own, so that its certificate is not taken for that of a key. */
const identifierOf = ({ publicKey }: Certificate): Buffer =>
  createHash('sha256').update(publicKey).digest().subarray(0, 20);
