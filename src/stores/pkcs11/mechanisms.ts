import { CK } from './cryptoki.ts';
import type { ModuleUse } from './modules.ts';
import type { Token } from './token.ts';

/** What a token says that it can sign with. */
export interface Mechanisms {
  offers(mechanism: number): boolean;
  /** The token knows it less than it said. */
  forget(mechanism: number): void;
}

/** The mechanisms for signatures that we have a use for, in the order in which they are shown. */
const KNOWN: ReadonlyMap<number, string> = new Map(
  (
    [
      'CKM_RSA_PKCS',
      'CKM_SHA256_RSA_PKCS',
      'CKM_SHA384_RSA_PKCS',
      'CKM_SHA512_RSA_PKCS',
      'CKM_ECDSA',
      'CKM_ECDSA_SHA256',
      'CKM_ECDSA_SHA384',
      'CKM_ECDSA_SHA512',
    ] as const
  ).map((name) => [CK[name], name]),
);

/** What every token has that signs at all: it is believed to be there where the list says nothing. */
const COMMON: readonly number[] = [CK.CKM_RSA_PKCS, CK.CKM_ECDSA];

/** One look at the list. A module that fails here, or lists nothing, may sign all the same. */
export function mechanismsOf(module: ModuleUse, token: Token): Mechanisms {
  const listed = listOf(module, token);
  const offered = new Set(listed.length > 0 ? listed : COMMON);
  return {
    offers: (mechanism) => offered.has(mechanism),
    forget(mechanism) {
      offered.delete(mechanism);
      // What it says is not to be relied on, what it leaves out neither.
      for (const one of COMMON) if (one !== mechanism) offered.add(one);
    },
  };
}

/** The names of those we have a use for; empty when the token does not tell. */
export function signingMechanisms(module: ModuleUse, token: Pick<Token, 'slot'>): string[] {
  const listed = new Set(listOf(module, token));
  return [...KNOWN].flatMap(([mechanism, name]) => (listed.has(mechanism) ? [name] : []));
}

function listOf({ pkcs11 }: ModuleUse, { slot }: Pick<Token, 'slot'>): readonly number[] {
  try {
    return pkcs11.C_GetMechanismList(slot);
  } catch {
    return [];
  }
}

export const nameOfMechanism = (mechanism: number): string => KNOWN.get(mechanism) ?? `0x${mechanism.toString(16)}`;
