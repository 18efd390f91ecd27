import { HoldfastError } from '../../errors.ts';
import { printable } from '../../read-file.ts';
import { type Address, LIBRARY_ATTRIBUTES, listing, uriWith } from './address.ts';
import { CK, CKF, ulongOf } from './cryptoki.ts';
import { guarded } from './faults.ts';
import type { ModuleUse, TokenMemory } from './modules.ts';

/** An initialised token, as it describes itself, without the padding. */
export interface Token {
  readonly slot: Buffer;
  readonly label: string;
  readonly serial: string;
  readonly model: string;
  readonly manufacturer: string;
  readonly flags: number;
  /** Another one in this module has the same label and serial number: only its slot tells them apart. */
  readonly hasTwin: boolean;
}

/** An idle PKCS#11 session on one token. While it lasts the module stays initialised and the login holds. */
export interface Connection {
  readonly address: Address;
  readonly module: ModuleUse;
  readonly token: Token;
  readonly session: Buffer;
  readonly memory: TokenMemory;
  /** Ends the PKCS#11 session, when no call is in flight any more. The module stays in use. */
  leave(): void;
  /** The same, and lets go of the module, where the connection is what holds it. */
  close(): void;
}

export const openSession = ({ pkcs11 }: ModuleUse, token: Token, flags: number = CK.CKF_SERIAL_SESSION): Buffer =>
  guarded('ERR_TOKEN_FAILED', `${nameOfToken(token)} opened no PKCS#11 session`, () =>
    pkcs11.C_OpenSession(token.slot, flags),
  );

export function closeSession({ pkcs11 }: ModuleUse, session: Buffer): void {
  try {
    pkcs11.C_CloseSession(session);
  } catch {
    // The token was removed or somebody closed it already: it is closed, which is all that was wanted.
  }
}

/** Labels are text of anybody's making: no line breaks and no terminal codes from there. */
export const oneLine = (text: string): string => printable(text, ' ');

/** `token "prod"`. */
export const tokenInWords = ({ label, serial }: Token): string => `token "${oneLine(label || serial)}"`;

/** What to call a token in a message. */
export const nameOfToken = (token: Token): string => `the ${tokenInWords(token)}`;

/** The URI that selects this token, and an object on it. */
export const uriOnToken = (
  address: Address,
  token: Token,
  object: readonly (readonly [string, Uint8Array | string])[],
  keepPin = false,
): string => {
  const slot: [string, string][] = token.hasTwin ? [['slot-id', String(ulongOf(token.slot))]] : [];
  return uriWith(address, [['token', token.label], ['serial', token.serial], ...slot, ...object], keepPin);
};

/** What the URI says of the object, to be said of another token. */
export const askedFor = ({ uri }: Address): (readonly [string, Uint8Array])[] =>
  [...uri.path].filter(([name]) => name === 'id' || name === 'object' || name === 'type');

/** Exactly one. @throws {HoldfastError} `ERR_TOKEN_NOT_FOUND`, `ERR_TOKEN_AMBIGUOUS`, `ERR_TOKEN_FAILED` */
export function selectToken(module: ModuleUse, address: Address): Token {
  const fitting = fittingTokens(module, address);
  const [token] = fitting;
  const uris = (): string[] => fitting.map((one) => uriOnToken(address, one, askedFor(address)));
  if (!token) throw noneFits(module, address);
  if (fitting.length > 1) {
    throw new HoldfastError('ERR_TOKEN_AMBIGUOUS', `${fitting.length} tokens fit ${address.text}`, {
      hint: listing('use one of these', uris()),
    });
  }
  // "The only token there is" may tomorrow be a stranger's card: something in the URI has to choose.
  if (![...address.uri.path.keys()].some((name) => name !== 'type' && !LIBRARY_ATTRIBUTES.includes(name))) {
    throw new HoldfastError('ERR_TOKEN_AMBIGUOUS', `${address.text} names neither a token nor a key`, {
      hint: listing('name the token', uris()),
    });
  }
  return token;
}

/** The tokens that the address means, be they several or none. */
export const fittingTokens = (module: ModuleUse, address: Address): Token[] =>
  tokensOf(module).filter((token) => fits(module, token, address));

export function noneFits(module: ModuleUse, address: Address): HoldfastError {
  const uris = tokensOf(module).map((one) => uriOnToken(address, one, askedFor(address)));
  return new HoldfastError('ERR_TOKEN_NOT_FOUND', `no token in ${module.path} fits ${address.text}`, {
    hint:
      uris.length > 0
        ? listing('these are there', uris)
        : 'plug the token in; the module sees none that is initialised (check its configuration and its service)',
  });
}

/** The initialised tokens. A slot that does not answer harms nobody but itself. */
function tokensOf({ pkcs11, path }: ModuleUse): Token[] {
  const slots = guarded('ERR_TOKEN_FAILED', `the PKCS#11 module ${path} lists no tokens`, () =>
    pkcs11.C_GetSlotList(true),
  );
  const tokens = slots.flatMap((slot) => {
    try {
      const info = pkcs11.C_GetTokenInfo(slot);
      if ((info.flags & CKF.TOKEN_INITIALIZED) === 0) return [];
      return [
        {
          slot,
          label: unpadded(info.label),
          serial: unpadded(info.serialNumber),
          model: unpadded(info.model),
          manufacturer: unpadded(info.manufacturerID),
          flags: info.flags,
        },
      ];
    } catch {
      return [];
    }
  });
  return tokens.map((token) => ({ ...token, hasTwin: tokens.some((one) => one !== token && isTwin(one, token)) }));
}

const isTwin = (a: Pick<Token, 'label' | 'serial'>, b: Pick<Token, 'label' | 'serial'>): boolean =>
  a.label === b.label && a.serial === b.serial;

/** Fields are padded with blanks to their full length (PKCS#11 v2.40 §3.2); some modules pad with NUL. */
export const unpadded = (text: string): string => text.replace(/[ \0]+$/, '');

/** Whether what the URI wants, if anything, is what a padded field says. */
const isSame = (wanted: string | undefined, field: string): boolean =>
  wanted === undefined || unpadded(wanted) === unpadded(field);

/** RFC 7512 §2.3: what the URI says of the library itself. The module is asked only where it says something. */
export function checkLibrary({ pkcs11, path }: ModuleUse, address: Address): void {
  const { libraryManufacturer, libraryDescription, libraryVersion } = address;
  if (libraryManufacturer === undefined && libraryDescription === undefined && !libraryVersion) return;
  const info = guarded('ERR_MODULE_FAILED', `the PKCS#11 module ${path} does not describe itself`, () =>
    pkcs11.C_GetInfo(),
  );
  const { major, minor } = info.libraryVersion;
  if (
    isSame(libraryManufacturer, info.manufacturerID) &&
    isSame(libraryDescription, info.libraryDescription) &&
    (!libraryVersion || (libraryVersion.major === major && libraryVersion.minor === minor))
  ) {
    return;
  }
  const it = `"${oneLine(unpadded(info.libraryDescription))}" of "${oneLine(unpadded(info.manufacturerID))}"`;
  throw new HoldfastError(
    'ERR_TOKEN_NOT_FOUND',
    `the PKCS#11 module ${path} is not the one that ${address.text} names`,
    {
      hint: `it calls itself ${it}, version ${major}.${minor}: correct the library-... attributes, or name another module`,
    },
  );
}

function fits(module: ModuleUse, token: Token, address: Address): boolean {
  if (address.slotId !== undefined && address.slotId !== ulongOf(token.slot)) return false;
  const { token: label, serial, model, manufacturer } = address;
  return (
    isSame(label, token.label) &&
    isSame(serial, token.serial) &&
    isSame(model, token.model) &&
    isSame(manufacturer, token.manufacturer) &&
    fitsSlot(module, token, address)
  );
}

/** One call more, for those who ask: what the reader is called. */
function fitsSlot({ pkcs11 }: ModuleUse, { slot }: Token, address: Address): boolean {
  const { slotManufacturer, slotDescription } = address;
  if (slotManufacturer === undefined && slotDescription === undefined) return true;
  try {
    const info = pkcs11.C_GetSlotInfo(slot);
    return isSame(slotManufacturer, info.manufacturerID) && isSame(slotDescription, info.slotDescription);
  } catch {
    return false;
  }
}
