import type { Attribute } from 'pkcs11js';
import { CK } from './cryptoki.ts';
import { guarded, returnValueOf } from './faults.ts';
import { type Connection, nameOfToken, oneLine } from './token.ts';

/** Handles fetched in one call, and the most that are looked for unless somebody wants fewer, or all. */
export const MOST = 100;

/** So many candidates are too many to choose from, and more than an error lists. */
export const FEW = 11;

/** How many there are, where looking ended at `FEW`. */
export const several = ({ length }: readonly unknown[]): string =>
  length < FEW ? `${length}` : `more than ${FEW - 1}`;

/**
 * The objects that fit a template. What else the token holds costs no call.
 *
 * @param limit stop at so many
 */
export function findObjects(
  { module, session, token }: Connection,
  template: readonly Attribute[],
  limit: number = MOST,
): Buffer[] {
  const { pkcs11 } = module;
  return guarded('ERR_TOKEN_FAILED', `${nameOfToken(token)} could not be searched`, () => {
    const found: Buffer[] = [];
    pkcs11.C_FindObjectsInit(session, [...template]);
    try {
      // PKCS#11 v2.40 §5.7: only an empty answer says that there are no more.
      while (found.length < limit) {
        const handles = pkcs11.C_FindObjects(session, Math.min(MOST, limit - found.length));
        if (handles.length === 0) break;
        found.push(...handles);
      }
    } finally {
      pkcs11.C_FindObjectsFinal(session);
    }
    return found;
  });
}

/** `CKR_ATTRIBUTE_SENSITIVE`, `CKR_ATTRIBUTE_TYPE_INVALID`: the object does not tell, or has none. */
const NOT_TOLD: readonly (number | undefined)[] = [0x11, 0x12];

/**
 * Attributes of an object, without those that it does not tell. Asked for together, and one by one where that fails: one
 * refusal fails them all (PKCS#11 v2.40 §5.7).
 */
export function readAttributes(
  connection: Connection,
  object: Buffer,
  types: readonly number[],
): ReadonlyMap<number, Buffer> {
  const { module, session, token } = connection;
  return guarded('ERR_TOKEN_FAILED', `${nameOfToken(token)} did not describe an object`, () => {
    const read = (wanted: readonly number[]): [number, Buffer][] => {
      try {
        const template = wanted.map((type) => ({ type }));
        return module.pkcs11.C_GetAttributeValue(session, object, template).map(({ type, value }) => [type, value]);
      } catch (thrown) {
        if (!NOT_TOLD.includes(returnValueOf(thrown))) throw thrown;
        return wanted.length > 1 ? wanted.flatMap((type) => read([type])) : [];
      }
    };
    return new Map(read(types));
  });
}

/** `CKA_ID` and `CKA_LABEL`, by which users name objects. */
export interface ObjectName {
  readonly id: Buffer | undefined;
  readonly label: Buffer | undefined;
}

/** The part of a template that selects by name. Undefined selects nothing; an empty value is a value (RFC 7512 §2.3). */
export const byName = ({ id, label }: ObjectName): Attribute[] => [
  ...(id ? [{ type: CK.CKA_ID, value: id }] : []),
  ...(label ? [{ type: CK.CKA_LABEL, value: label }] : []),
];

const NAME: readonly number[] = [CK.CKA_ID, CK.CKA_LABEL];

/** The name among attributes that were read. */
export const nameIn = (attributes: ReadonlyMap<number, Buffer>): ObjectName => ({
  id: attributes.get(CK.CKA_ID),
  label: attributes.get(CK.CKA_LABEL),
});

export const readName = (connection: Connection, object: Buffer): ObjectName =>
  nameIn(readAttributes(connection, object, NAME));

/** Is this attribute there and not empty? An empty one is that of everybody who has none. */
export const isGiven = (value: Buffer | undefined): value is Buffer => value !== undefined && value.length > 0;

/** What leads from one half of a pair to the other: the identifier, or the label of those that were made without one. */
export function leadingName({ id, label }: ObjectName): ObjectName | undefined {
  if (isGiven(id)) return { id, label: undefined };
  return isGiven(label) ? { id: undefined, label } : undefined;
}

/**
 * The URI attributes that select an object of this name.
 *
 * @param isAlone no other object has what is given of its name: then what is empty need not be said (RFC 7512 §2.3: an empty
 * value leaves out those that have one)
 */
export function uriName({ id, label }: ObjectName, isAlone = false): [string, Uint8Array][] {
  const isSaid = (value: Buffer | undefined): value is Buffer => value !== undefined && (!isAlone || value.length > 0);
  return [
    ...(isSaid(id) ? [['id', id] as [string, Uint8Array]] : []),
    ...(isSaid(label) ? [['object', label] as [string, Uint8Array]] : []),
  ];
}

/**
 * Tells which names are the only ones, in each of these lists, with what is given of them. A name without anything is not;
 * and where the address itself says that something is empty, nobody looked for the others.
 */
export function aloneIn(
  { address: { id, object } }: Pick<Connection, 'address'>,
  ...lists: readonly (readonly ObjectName[])[]
): (name: ObjectName) => boolean {
  if (id?.length === 0 || object?.length === 0) return () => false;
  const counts = lists.map((list) => countParts(list));
  return (name) => {
    const parts = partsOf(name);
    return parts.length > 0 && counts.every((count) => parts.some((part) => (count.get(part) ?? 0) <= 1));
  };
}

function countParts(objects: readonly ObjectName[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const part of objects.flatMap(partsOf)) counts.set(part, (counts.get(part) ?? 0) + 1);
  return counts;
}

const partsOf = ({ id, label }: ObjectName): string[] => [
  ...(isGiven(id) ? [`id ${id.toString('hex')}`] : []),
  ...(isGiven(label) ? [`label ${label.toString('hex')}`] : []),
];

/** For objects that no URI can tell apart. */
export const SAME_NAME = 'they have the same id and object: give them different ones first';

/** `"web" (id 01)`, `with id 01`, `"web"`. */
export function inWords({ id, label }: ObjectName): string {
  const hex = isGiven(id) ? `id ${id.toString('hex')}` : '';
  if (isGiven(label)) return `"${oneLine(label.toString())}"${hex && ` (${hex})`}`;
  return hex ? `with ${hex}` : 'without a name';
}

export const sameBytes = (a: Uint8Array | undefined, b: Uint8Array | undefined): boolean =>
  a !== undefined && b !== undefined && Buffer.compare(a, b) === 0;
