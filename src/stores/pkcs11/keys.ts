import { HoldfastError } from '../../errors.ts';
import { listing } from './address.ts';
import { namedCertificates, type StoredCertificate } from './certificates.ts';
import { CK, CURVES } from './cryptoki.ts';
import { byName, findObjects, inWords, type ObjectName, readAttribute, readName, uriName } from './objects.ts';
import { keyTypeOf } from './public-object.ts';
import { type Connection, nameOfToken, tokenInWords, uriOnToken } from './token.ts';

/** A private key on the token, and what must be known to sign with it. */
export interface PrivateKey extends ObjectName {
  readonly handle: Buffer;
  readonly type: 'RSA' | 'EC';
  /** Octets of the order of its curve; undefined for RSA and for curves that we do not know by name. */
  readonly orderSize: number | undefined;
  /** Another private key on the token has the same `CKA_ID`: the identifier alone does not lead to its other halves. */
  readonly sharesId: boolean;
  /** It wants a login of its own for every signature (`CKA_ALWAYS_AUTHENTICATE`). */
  readonly alwaysAuthenticate: boolean;
  /** `key "web" (id 01) on token "prod"`. */
  readonly description: string;
}

const PRIVATE = { type: CK.CKA_CLASS, value: CK.CKO_PRIVATE_KEY };

/**
 * Exactly one private key.
 *
 * @throws {HoldfastError} `ERR_KEY_NOT_FOUND`, `ERR_KEY_AMBIGUOUS`, `ERR_KEY_UNSUPPORTED`
 */
export function selectKey(connection: Connection, certificates: readonly StoredCertificate[]): PrivateKey {
  const { address, token } = connection;
  const { id, object } = address;
  const direct = findObjects(connection, [PRIVATE, ...byName({ id, label: object })]);
  const handles = direct.length > 0 || !object ? direct : throughCertificate(connection, certificates);
  const [handle] = handles;
  if (!handle) {
    throw new HoldfastError('ERR_KEY_NOT_FOUND', `${nameOfToken(token)} has no private key that fits ${address.text}`, {
      hint: 'check id and object of the key (pkcs11-tool --list-objects shows them)',
    });
  }
  if (handles.length > 1) {
    const uris = handles.map((one) => uriOnToken(address, token, uriName(readName(connection, one))));
    throw new HoldfastError('ERR_KEY_AMBIGUOUS', `${handles.length} private keys fit ${address.text}`, {
      hint: listing('use one of these', [...new Set(uris)]),
    });
  }
  return describeKey(connection, handle);
}

/** Key and certificate of one pair often have different labels: the certificate's identifier leads to the key. */
function throughCertificate(connection: Connection, certificates: readonly StoredCertificate[]): Buffer[] {
  const named = namedCertificates(certificates, connection.address);
  const ids = new Map(named.flatMap(({ id }) => (id && id.length > 0 ? [[id.toString('hex'), id]] : [])));
  return [...ids.values()].flatMap((id) => findObjects(connection, [PRIVATE, ...byName({ id, label: undefined })]));
}

function describeKey(connection: Connection, handle: Buffer): PrivateKey {
  const name = readName(connection, handle);
  const description = `key ${inWords(name)} on ${tokenInWords(connection.token)}`;
  const isTrue = (attribute: number): boolean | undefined => {
    const value = readAttribute(connection, handle, attribute);
    return value && value[0] !== 0;
  };
  const type = keyTypeOf(connection, handle);
  if (!type || isTrue(CK.CKA_SIGN) === false) {
    throw new HoldfastError(
      'ERR_KEY_UNSUPPORTED',
      type ? `${description} is not allowed to sign (CKA_SIGN)` : `${description} is neither an RSA nor an ECDSA key`,
      { hint: 'use an RSA or ECDSA key that may sign' },
    );
  }
  const curve = type === 'EC' ? readAttribute(connection, handle, CK.CKA_EC_PARAMS)?.toString('hex') : undefined;
  return {
    ...name,
    handle,
    type,
    orderSize: CURVES.find(({ oid }) => oid === curve)?.size,
    sharesId: findObjects(connection, [PRIVATE, ...byName({ id: name.id, label: undefined })]).length > 1,
    alwaysAuthenticate: isTrue(CK.CKA_ALWAYS_AUTHENTICATE) ?? false,
    description,
  };
}
