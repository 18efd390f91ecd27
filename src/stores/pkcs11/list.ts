import { HoldfastError } from '../../errors.ts';
import { within } from '../../limits.ts';
import { formatKeyUri, parseKeyUri } from '../../uri.ts';
import type { KeyInfo, ListedCertificate, ListedToken, ListOptions } from '../store.ts';
import { type Address, type ObjectType, readAddress } from './address.ts';
import { CKF, ulongOf } from './cryptoki.ts';
import { guarded } from './faults.ts';
import { findModule } from './find-module.ts';
import { keysOn } from './list-keys.ts';
import { login, pinSource } from './login.ts';
import { signingMechanisms } from './mechanisms.ts';
import { useModule } from './modules.ts';
import { byName, uriName } from './objects.ts';
import { findCertificates, type StoredCertificate } from './stored-certificate.ts';
import { type Connection, connect, nameOfToken, oneLine, uriOnToken } from './token.ts';

/** What can be listed of a token. */
export const LISTED_TYPES: readonly ObjectType[] = ['private', 'public', 'cert'];

/** `list` of this store. */
export async function listAt(address: Address, options: ListOptions): Promise<KeyInfo[]> {
  return within(options, 'looking around', async (signal) => {
    if (options.login) return listLoggedIn(address, options, signal);
    const { path, initReserved } = findModule(address);
    // Held, so that the module is started once for all of its tokens.
    const module = await useModule(path, address.initReserved ?? initReserved);
    try {
      const slots = guarded('ERR_TOKEN_FAILED', `the PKCS#11 module ${path} lists no tokens`, () =>
        module.pkcs11.C_GetSlotList(true),
      );
      const found: KeyInfo[] = [];
      let fitting = 0;
      for (const slot of slots) {
        signal.throwIfAborted();
        const listed = await listSlot(address, ulongOf(slot), options);
        if (listed) fitting += 1;
        found.push(...(listed ?? []));
      }
      // Whoever named a token and finds none should read what there is instead.
      if (fitting === 0 && namesToken(address)) (await connect(address)).close();
      return found;
    } finally {
      module.release();
    }
  });
}

async function listLoggedIn(address: Address, options: ListOptions, signal: AbortSignal): Promise<KeyInfo[]> {
  const connection = await connect(address);
  try {
    signal.throwIfAborted();
    (await login(pinSource(connection, options), signal))?.wipe();
    return contentsOf(connection);
  } finally {
    connection.close();
  }
}

/** What is in one slot; undefined when it is not meant. A token that does not answer harms nobody but itself. */
async function listSlot(address: Address, slot: bigint, options: ListOptions): Promise<KeyInfo[] | undefined> {
  if (address.slotId !== undefined && address.slotId !== slot) return undefined;
  const path = new Map([...address.uri.path, ['slot-id', Buffer.from(String(slot))]]);
  const uri = parseKeyUri(formatKeyUri({ ...address.uri, path }));
  try {
    const connection = await connect(readAddress(uri, { allowCommands: options.allowCommands }, LISTED_TYPES));
    try {
      return contentsOf(connection);
    } finally {
      connection.close();
    }
  } catch (thrown) {
    if (!(thrown instanceof HoldfastError)) throw thrown;
    if (thrown.code === 'ERR_TOKEN_NOT_FOUND') return undefined;
    if (thrown.code !== 'ERR_TOKEN_FAILED') throw thrown;
    options.notify?.({ kind: 'warning', message: thrown.message, hint: thrown.hint });
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
  return [
    ...(isWhole && !type ? [describeToken(connection)] : []),
    ...(type === 'cert' ? [] : keysOn(connection, isWhole ? certificates : undefined)),
    ...(type === undefined || type === 'cert' ? certificates.map((one) => describe(connection, one)) : []),
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

const describe = ({ address, token }: Connection, one: StoredCertificate): ListedCertificate => ({
  kind: 'certificate',
  uri: uriOnToken(address, token, [...uriName(one), ['type', 'cert']]),
  label: oneLine((one.label ?? '').toString()),
  id: one.id?.toString('hex') ?? '',
  subject: one.certificate?.subject,
  notAfter: one.certificate?.notAfter,
});
