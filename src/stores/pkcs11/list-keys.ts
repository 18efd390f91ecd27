import { createPublicKey } from 'node:crypto';
import type { ListedKey } from '../store.ts';
import { underNameOf } from './certificates.ts';
import { CK, CURVES, ulongOf } from './cryptoki.ts';
import {
  aloneIn,
  byName,
  FEW,
  findObjects,
  leadingName,
  nameIn,
  type ObjectName,
  readAttributes,
  sameBytes,
  uriName,
} from './objects.ts';
import { keyTypeIn, readPublicKey } from './public-object.ts';
import { isAttestation, publicKeyOf, type StoredCertificate } from './stored-certificate.ts';
import { type Connection, oneLine, uriOnToken } from './token.ts';

/** A key object as it shows itself, one half of a pair. */
interface Half extends ObjectName {
  readonly type: string;
  /** DER SubjectPublicKeyInfo, where the object tells. */
  readonly publicKey: Buffer | undefined;
  readonly alwaysAuthenticate: boolean | undefined;
}

/**
 * The key pairs that the URI means. Where nobody is logged in their public halves stand for them.
 *
 * @param all every certificate on the token, where all of its keys are listed; else they are looked for by each key's name
 */
export function keysOn(connection: Connection, all: readonly StoredCertificate[] | undefined): ListedKey[] {
  const { type } = connection.address;
  const privates = type === 'public' ? [] : halvesOf(connection, CK.CKO_PRIVATE_KEY);
  const publics = halvesOf(connection, CK.CKO_PUBLIC_KEY);
  const publicsByName = byLeadingName(publics);
  const names = new Set(privates.map(textOf));
  const certificatesByName = all && byLeadingName(all);
  const publicOnly = publics.filter((half) => !names.has(textOf(half)));
  const isAlone = aloneIn(connection, [...privates, ...publicOnly], publics);
  const listed = (half: Half, privateSeen: boolean): ListedKey => {
    const name = textOf(half);
    const other = privateSeen && !half.publicKey ? publicHalf(connection, half, publicsByName.get(name)) : undefined;
    const certificates = certificatesByName ? (certificatesByName.get(name) ?? []) : underNameOf(connection, half);
    const publicKey = half.publicKey ?? other?.publicKey;
    return {
      kind: 'key',
      uri: uriOnToken(connection.address, connection.token, uriName(half, isAlone(half))),
      label: oneLine((half.label ?? '').toString()),
      id: half.id?.toString('hex') ?? '',
      type: half.type,
      privateSeen,
      alwaysAuthenticate: half.alwaysAuthenticate,
      certificate: certificates.some(
        (one) => one.certificate && !isAttestation(one) && (!publicKey || sameBytes(publicKeyOf(one), publicKey)),
      ),
    };
  };
  return [...privates.map((half) => listed(half, true)), ...publicOnly.map((half) => listed(half, false))];
}

function halvesOf(connection: Connection, objectClass: number): Half[] {
  const { id, object } = connection.address;
  const template = [{ type: CK.CKA_CLASS, value: objectClass }, ...byName({ id, label: object })];
  return findObjects(connection, template, Number.POSITIVE_INFINITY).map((handle) =>
    describeHalf(connection, handle, objectClass),
  );
}

function describeHalf(connection: Connection, handle: Buffer, objectClass: number): Half {
  const isPrivate = objectClass === CK.CKO_PRIVATE_KEY;
  const wanted = [CK.CKA_KEY_TYPE, CK.CKA_ID, CK.CKA_LABEL, ...(isPrivate ? [CK.CKA_ALWAYS_AUTHENTICATE] : [])];
  const attributes = readAttributes(connection, handle, wanted);
  const type = keyTypeIn(attributes);
  const publicKey = type && (type === 'RSA' || !isPrivate) ? readPublicKey(connection, handle, type) : undefined;
  const always = attributes.get(CK.CKA_ALWAYS_AUTHENTICATE);
  return {
    ...nameIn(attributes),
    type: publicKey ? specOf(publicKey) : type === 'EC' ? curveOf(connection, handle) : typeInWords(attributes),
    publicKey,
    alwaysAuthenticate: isPrivate ? (always?.[0] ?? 0) !== 0 : undefined,
  };
}

/** The public object under the name of a private one, when it is alone there. */
function publicHalf(connection: Connection, half: Half, known: readonly Half[] | undefined): Half | undefined {
  const name = leadingName(half);
  if (!name) return undefined;
  const template = [{ type: CK.CKA_CLASS, value: CK.CKO_PUBLIC_KEY }, ...byName(name)];
  const halves =
    known ??
    findObjects(connection, template, FEW).map((handle) => describeHalf(connection, handle, CK.CKO_PUBLIC_KEY));
  return halves.length === 1 ? halves[0] : undefined;
}

const NAMES_OF_CURVES: Readonly<Record<string, string>> = {
  prime256v1: 'P-256',
  secp384r1: 'P-384',
  secp521r1: 'P-521',
};

/** `RSA-2048`, `P-256`. */
function specOf(publicKey: Buffer): string {
  const { asymmetricKeyDetails = {} } = createPublicKey({ key: publicKey, format: 'der', type: 'spki' });
  const { modulusLength, namedCurve = '' } = asymmetricKeyDetails;
  if (modulusLength === undefined) return NAMES_OF_CURVES[namedCurve] ?? namedCurve;
  // Outside of this it is no modulus, whatever somebody wrote there.
  return modulusLength >= 512 && modulusLength <= 16_384 ? `RSA-${modulusLength}` : 'RSA';
}

function curveOf(connection: Connection, handle: Buffer): string {
  const oid = readAttributes(connection, handle, [CK.CKA_EC_PARAMS]).get(CK.CKA_EC_PARAMS)?.toString('hex');
  return CURVES.find((curve) => curve.oid === oid)?.name ?? 'EC on another curve';
}

/** What we cannot sign with is named all the same. */
function typeInWords(attributes: ReadonlyMap<number, Buffer>): string {
  const value = attributes.get(CK.CKA_KEY_TYPE);
  if (keyTypeIn(attributes) === 'RSA') return 'RSA';
  return value ? `key type 0x${ulongOf(value).toString(16)}` : 'unknown';
}

/** The leading name as text: an identifier is never taken for a label. */
function textOf(object: ObjectName): string {
  const { id, label } = leadingName(object) ?? {};
  return id ? `id ${id.toString('hex')}` : `label ${label?.toString('hex')}`;
}

function byLeadingName<T extends ObjectName>(objects: readonly T[]): Map<string, T[]> {
  const found = new Map<string, T[]>();
  for (const one of objects) {
    if (leadingName(one)) found.set(textOf(one), [...(found.get(textOf(one)) ?? []), one]);
  }
  return found;
}
