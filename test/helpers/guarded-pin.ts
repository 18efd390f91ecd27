import type { HoldfastError } from '../../src/errors.ts';
import { type PinRecord, pinRecordOf } from '../../src/pin-record.ts';
import { findRuntimeDir } from '../../src/runtime-dir.ts';
import { askPerson } from '../../src/secret.ts';
import { login, pinSource } from '../../src/stores/pkcs11/login.ts';
import { makePlaces } from '../../src/stores/pkcs11/pool.ts';
import type { OpenOptions } from '../../src/stores/store.ts';
import { failure } from '../stores/conformance.ts';
import { canaries } from './canaries.ts';
import { type Fake, fakeToken } from './fake-pkcs11.ts';

export const RIGHT: string = canaries.pin;
export const WRONG = 'wrong-one';

/** The one token as another process has it: what that remembers by itself is not shared. */
export const another = (query = '', path = 'object=web'): Fake => fakeToken(query, makePlaces(3), path);

/** Log in and out again. */
export async function enter(
  fake: Fake,
  options: OpenOptions,
  signal: AbortSignal = new AbortController().signal,
): Promise<void> {
  const secret = await login(pinSource(fake.connection, options), signal);
  secret?.wipe();
  fake.logOut();
}

export const refusal = (fake: Fake, options: OpenOptions): Promise<HoldfastError> => failure(enter(fake, options));
export const logins = (fake: Fake): number => fake.calls.filter((call) => call === 'C_Login').length;
export const person = (pin: string): OpenOptions => ({ secret: askPerson(() => pin) });
export const dirOf = (): string => findRuntimeDir().path as string;
export const recordOf = (fake: Fake): PinRecord => pinRecordOf(fake.connection.token) as PinRecord;
