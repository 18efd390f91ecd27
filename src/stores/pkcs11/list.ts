import { HoldfastError } from '../../errors.ts';
import { within } from '../../limits.ts';
import type { KeyInfo, ListedCertificate, ListedToken, ListOptions } from '../store.ts';
import type { Address, ObjectType } from './address.ts';
import { connectTo, logIn, withModule } from './connect.ts';
import { CKF, ulongOf } from './cryptoki.ts';
import { guarded } from './faults.ts';
import { keysOn } from './list-keys.ts';
import { signingMechanisms } from './mechanisms.ts';
import type { ModuleUse } from './modules.ts';
import { aloneIn, byName, uriName } from './objects.ts';
import { findCertificates, type StoredCertificate } from './stored-certificate.ts';
import { type Connection, fittingTokens, nameOfToken, noneFits, oneLine, type Token, uriOnToken } from './token.ts';

/** What can be listed of a token. */
export const LISTED_TYPES: readonly ObjectType[] = ['private', 'public', 'cert'];

/** `list` of this store. */
export async function listAt(address: Address, options: ListOptions): Promise<KeyInfo[]> {
  return within(options, 'looking around', (signal) =>
    options.login ? listLoggedIn(address, options, signal) : listAll(address, options, signal),
  );
}

async function listLoggedIn(address: Address, options: ListOptions, signal: AbortSignal): Promise<KeyInfo[]> {
  const { connection, secret } = await logIn(address, options, signal);
  secret?.wipe();
  try {
    return contentsOf(connection);
  } finally {
    connection.close();
  }
}

async function listAll(address: Address, options: ListOptions, signal: AbortSignal): Promise<KeyInfo[]> {
  return withModule(address, signal, (module) => {
    const tokens = fittingTokens(module, address);
    // Whoever named a token and finds none should read what there is instead.
    if (tokens.length === 0 && namesToken(address)) throw noneFits(module, address);
    const found = tokens.flatMap((token) => {
      signal.throwIfAborted();
      return listToken(module, token, address, options);
    });
    module.release();
    return found;
  });
}

/** A token that does not answer harms nobody but itself. */
function listToken(module: ModuleUse, token: Token, address: Address, { notify }: ListOptions): KeyInfo[] {
  try {
    const connection = connectTo(module, token, address);
    try {
      return contentsOf(connection);
    } finally {
      connection.close();
    }
  } catch (thrown) {
    if (!(thrown instanceof HoldfastError) || thrown.code !== 'ERR_TOKEN_FAILED') throw thrown;
    notify?.({ kind: 'warning', message: thrown.message, hint: thrown.hint });
    return [];
  }
}

const namesToken = ({ uri }: Address): boolean => [...uri.path.keys()].some((name) => name !== 'type');

function contentsOf(connection: Connection): KeyInfo[] {
  const { id, object, type } = connection.address;
  const isWhole = !id && !object;
  // Of one key the certificates are looked for by its own names; of all, they are read once.
  const certificates =
    isWhole || type !== 'private'
      ? findCertificates(connection, byName({ id, label: object }), Number.POSITIVE_INFINITY)
      : [];
  const isAlone = aloneIn(connection, certificates);
  return [
    ...(isWhole && !type ? [describeToken(connection)] : []),
    ...(type === 'cert' ? [] : keysOn(connection, isWhole ? certificates : undefined)),
    ...(type === undefined || type === 'cert'
      ? certificates.map((one) => describe(connection, one, isAlone(one)))
      : []),
  ];
}

function describeToken({ address, module, token }: Connection): ListedToken {
  const { flags } = guarded('ERR_TOKEN_FAILED', `${nameOfToken(token)} does not answer`, () =>
    module.pkcs11.C_GetTokenInfo(token.slot),
  );
  return {
    kind: 'token',
    uri: uriOnToken(address, token, []),
    label: oneLine(token.label),
    serial: oneLine(token.serial),
    model: oneLine(token.model),
    manufacturer: oneLine(token.manufacturer),
    slot: String(ulongOf(token.slot)),
    pin: pinState(flags),
    loginRequired: (flags & CKF.LOGIN_REQUIRED) !== 0,
    keypad: (flags & CKF.PROTECTED_AUTHENTICATION_PATH) !== 0,
    mechanisms: signingMechanisms(module, token),
  };
}

function pinState(flags: number): ListedToken['pin'] {
  if ((flags & CKF.USER_PIN_INITIALIZED) === 0) return 'not initialised';
  if (flags & CKF.USER_PIN_LOCKED) return 'locked';
  if (flags & CKF.USER_PIN_FINAL_TRY) return 'last try';
  return flags & CKF.USER_PIN_COUNT_LOW ? 'count low' : 'ok';
}

const describe = ({ address, token }: Connection, one: StoredCertificate, isAlone: boolean): ListedCertificate => ({
  kind: 'certificate',
  uri: uriOnToken(address, token, [...uriName(one, isAlone), ['type', 'cert']]),
  label: oneLine((one.label ?? '').toString()),
  id: one.id?.toString('hex') ?? '',
  der: one.der,
  subject: one.certificate?.subject,
  notAfter: one.certificate?.notAfter,
});
