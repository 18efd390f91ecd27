import type { Attribute } from 'pkcs11js';
import { CK } from './cryptoki.ts';
import { guarded, returnValueOf } from './faults.ts';
import { type Connection, nameOfToken, oneLine } from './token.ts';

/** Handles fetched in one call: more than most tokens hold. */
const BATCH = 100;

/** The objects that fit a template. */
export function findObjects({ module, session, token }: Connection, template: Attribute[]): Buffer[] {
  const { pkcs11 } = module;
  return guarded('ERR_TOKEN_FAILED', `${nameOfToken(token)} could not be searched`, () => {
    const found: Buffer[] = [];
    pkcs11.C_FindObjectsInit(session, template);
    try {
      for (let batch = BATCH; batch === BATCH; ) {
        const handles = pkcs11.C_FindObjects(session, BATCH);
        found.push(...handles);
        batch = handles.length;
      }
    } finally {
      pkcs11.C_FindObjectsFinal(session);
    }
    return found;
  });
}

/** `CKR_ATTRIBUTE_SENSITIVE`, `CKR_ATTRIBUTE_TYPE_INVALID`: the object does not tell, or has none. */
const NOT_TOLD: readonly (number | undefined)[] = [0x11, 0x12];

/** One attribute; undefined when the object does not tell it. Asked one by one, because one refusal fails them all. */
export function readAttribute(connection: Connection, object: Buffer, type: number): Buffer | undefined {
  const { module, session, token } = connection;
  return guarded('ERR_TOKEN_FAILED', `${nameOfToken(token)} did not describe an object`, () => {
    try {
      return module.pkcs11.C_GetAttributeValue(session, object, [{ type }])[0]?.value;
    } catch (thrown) {
      if (NOT_TOLD.includes(returnValueOf(thrown))) return undefined;
      throw thrown;
    }
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

export const readName = (connection: Connection, object: Buffer): ObjectName => ({
  id: readAttribute(connection, object, CK.CKA_ID),
  label: readAttribute(connection, object, CK.CKA_LABEL),
});

/** The URI attributes that select an object of this name. */
export const uriName = ({ id, label }: ObjectName): [string, Uint8Array][] => [
  ...(id && id.length > 0 ? [['id', id] as [string, Uint8Array]] : []),
  ...(label && label.length > 0 ? [['object', label] as [string, Uint8Array]] : []),
];

/** `"web" (id 01)`, `with id 01`, `"web"`. */
export function inWords({ id, label }: ObjectName): string {
  const hex = id && id.length > 0 ? `id ${id.toString('hex')}` : '';
  if (label && label.length > 0) return `"${oneLine(label.toString())}"${hex && ` (${hex})`}`;
  return hex ? `with ${hex}` : 'without a name';
}
