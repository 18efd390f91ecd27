import type { Attribute } from 'pkcs11js';
import { HoldfastError } from '../../errors.ts';
import { listing } from './address.ts';
import { CK, CURVES } from './cryptoki.ts';
import {
  byName,
  FEW,
  findObjects,
  inWords,
  isGiven,
  leadingName,
  nameIn,
  type ObjectName,
  readAttributes,
  readName,
  SAME_NAME,
  several,
  uriName,
} from './objects.ts';
import { keyTypeIn, publicValueOf } from './public-object.ts';
import { findCertificates, publicKeyOf, type StoredCertificate } from './stored-certificate.ts';
import { type Connection, nameOfToken, tokenInWords, uriOnToken } from './token.ts';

/** A private key on the token, and what must be known to sign with it. */
export interface PrivateKey extends ObjectName {
  readonly handle: Buffer;
  readonly type: 'RSA' | 'EC';
  /** Octets of the order of its curve; undefined for RSA and for curves that we do not know by name. */
  readonly orderSize: number | undefined;
  /** Another private key has the same `leadingName`, which then does not lead to certificates and public keys alone. */
  readonly sharesName: boolean;
  /** It wants a login of its own for every signature (`CKA_ALWAYS_AUTHENTICATE`). */
  readonly alwaysAuthenticate: boolean;
  /** `key "web" (id 01) on token "prod"`. */
  readonly description: string;
}

const PRIVATE: Attribute = { type: CK.CKA_CLASS, value: CK.CKO_PRIVATE_KEY };
const PUBLIC: Attribute = { type: CK.CKA_CLASS, value: CK.CKO_PUBLIC_KEY };

/**
 * Exactly one private key.
 *
 * @throws {HoldfastError} `ERR_KEY_NOT_FOUND`, `ERR_KEY_AMBIGUOUS`, `ERR_KEY_UNSUPPORTED`
 */
export function selectKey(connection: Connection): PrivateKey {
  const { address, token } = connection;
  const { id, object } = address;
  const direct = (): Buffer[] => findObjects(connection, [PRIVATE, ...byName({ id, label: object })], FEW);
  const indirect = (): Buffer[] => throughCertificate(connection);
  const [first, second] = address.type === 'cert' ? [indirect, direct] : [direct, indirect];
  const found = first();
  const handles = found.length > 0 ? found : second();
  const [handle] = handles;
  if (!handle) {
    throw new HoldfastError('ERR_KEY_NOT_FOUND', `${nameOfToken(token)} has no private key that fits ${address.text}`, {
      hint: 'check id and object of the key (holdfast list --login shows them)',
    });
  }
  if (handles.length > 1) {
    const names = handles.slice(0, FEW - 1).map((one) => uriName(readName(connection, one)));
    const uris = new Set(names.map((name) => uriOnToken(address, token, name)));
    throw new HoldfastError('ERR_KEY_AMBIGUOUS', `${several(handles)} private keys fit ${address.text}`, {
      hint: uris.size > 1 ? listing('use one of these', [...uris]) : SAME_NAME,
    });
  }
  return describeKey(connection, handle);
}

/**
 * Key and certificate of one pair often have different names: the certificate's identifier leads to the key, or its
 * public values do.
 */
function throughCertificate(connection: Connection): Buffer[] {
  const { id, object } = connection.address;
  if (!isGiven(id) && !isGiven(object)) return [];
  const named = findCertificates(connection, byName({ id, label: object }), FEW);
  const found = distinct(
    named.flatMap((one) =>
      isGiven(one.id) ? findObjects(connection, [PRIVATE, ...byName({ id: one.id, label: undefined })], FEW) : [],
    ),
  );
  return found.length > 0 ? found : distinct(named.flatMap((one) => byPublicValue(connection, one)));
}

/** The private key of an RSA certificate by its modulus; that of an EC one through the public key object. */
function byPublicValue(connection: Connection, certificate: StoredCertificate): Buffer[] {
  const value = publicValueOf(publicKeyOf(certificate));
  if (value?.type === 'RSA') return findObjects(connection, [PRIVATE, ...value.templates.flat()], FEW);
  for (const template of value?.templates ?? []) {
    for (const handle of findObjects(connection, [PUBLIC, ...template], FEW)) {
      const { id } = readName(connection, handle);
      const found = isGiven(id) ? findObjects(connection, [PRIVATE, ...byName({ id, label: undefined })], FEW) : [];
      if (found.length > 0) return found;
    }
  }
  return [];
}

const distinct = (handles: readonly Buffer[]): Buffer[] => [
  ...new Map(handles.map((handle) => [handle.toString('hex'), handle])).values(),
];

const DESCRIPTION: readonly number[] = [
  CK.CKA_KEY_TYPE,
  CK.CKA_ID,
  CK.CKA_LABEL,
  CK.CKA_SIGN,
  CK.CKA_ALWAYS_AUTHENTICATE,
];

function describeKey(connection: Connection, handle: Buffer): PrivateKey {
  const attributes = readAttributes(connection, handle, DESCRIPTION);
  const name = nameIn(attributes);
  const description = `key ${inWords(name)} on ${tokenInWords(connection.token)}`;
  const type = keyTypeIn(attributes);
  if (!type || attributes.get(CK.CKA_SIGN)?.[0] === 0) {
    throw new HoldfastError(
      'ERR_KEY_UNSUPPORTED',
      type ? `${description} is not allowed to sign (CKA_SIGN)` : `${description} is neither an RSA nor an ECDSA key`,
      { hint: 'use an RSA or ECDSA key that may sign' },
    );
  }
  const curve = type === 'EC' ? readAttributes(connection, handle, [CK.CKA_EC_PARAMS]) : undefined;
  const oid = curve?.get(CK.CKA_EC_PARAMS)?.toString('hex');
  const leading = leadingName(name);
  return {
    ...name,
    handle,
    type,
    orderSize: CURVES.find((known) => known.oid === oid)?.size,
    sharesName: leading !== undefined && findObjects(connection, [PRIVATE, ...byName(leading)], 2).length > 1,
    alwaysAuthenticate: (attributes.get(CK.CKA_ALWAYS_AUTHENTICATE)?.[0] ?? 0) !== 0,
    description,
  };
}
