import { HoldfastError } from '../errors.ts';
import { checkKeyUri, checkOptions } from '../option-types.ts';
import { type KeyUri, parseKeyUri } from '../uri.ts';
import type { KeyStore, OpenKey, OpenOptions } from './store.ts';

/** The only list of key stores. To add one: add a folder, add a line. */
const REGISTRATION: readonly (readonly [schemes: readonly string[], load: () => Promise<KeyStore>])[] = [
  [['file', 'env', 'fd'], () => import('./file/index.ts')],
  [['pkcs11'], () => import('./pkcs11/index.ts')],
  [['tpm', 'handle'], () => import('./tpm/index.ts')],
];

/** The store a URI's scheme names. @throws {HoldfastError} `ERR_STORE_UNKNOWN` */
export async function storeOf(uri: KeyUri): Promise<KeyStore> {
  const load = REGISTRATION.find(([schemes]) => schemes.includes(uri.scheme))?.[1];
  if (load) return load();
  throw new HoldfastError('ERR_STORE_UNKNOWN', `there is no key store "${uri.scheme}:"`, {
    hint: `use one of ${REGISTRATION.flatMap(([schemes]) => schemes.map((scheme) => `${scheme}:`)).join(', ')}, or a plain path`,
  });
}

/** Open the private key a URI names. It is opened there or not at all: no store is tried in another's place. */
export async function openKey(uri: string | KeyUri, options: OpenOptions = {}): Promise<OpenKey> {
  checkKeyUri(uri);
  const parsed = typeof uri === 'string' ? parseKeyUri(uri) : uri;
  const store = await storeOf(parsed);
  return store.open(parsed, checkOptions(options));
}
