import { createHash, generateKeyPairSync, type KeyObject } from 'node:crypto';
import type { PKCS11 } from 'pkcs11js';
import { readAddress } from '../../src/stores/pkcs11/address.ts';
import { login, pinSource } from '../../src/stores/pkcs11/login.ts';
import { openOn } from '../../src/stores/pkcs11/open.ts';
import { makePlaces, type Places } from '../../src/stores/pkcs11/pool.ts';
import type { Connection } from '../../src/stores/pkcs11/token.ts';
import type { OpenKey, OpenOptions } from '../../src/stores/store.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { canaries } from './canaries.ts';

/** What the driver throws: the number decides, the text of unknown ones is always this. */
export const returnValue = (code: number): Error => Object.assign(new Error('CKR_VENDOR_DEFINED'), { code });

export interface Fake {
  readonly connection: Connection;
  readonly publicKey: KeyObject;
  /** The token's flags; login is required. May be changed. */
  flags: number;
  pin: string;
  /** The manufacturer of the library. */
  maker: string;
  alwaysAuthenticate: boolean;
  /** Whether nobody else in the process uses the module. */
  isAlone: boolean;
  /** Whether the public key is there without a login. */
  showsPublicKey: boolean;
  /** As when the last PKCS#11 session on the token ends. */
  logOut(): void;
  /** As when another user of the module in this process logs out. */
  dropLogin(): void;
  /** Every call, by name, in order; C_Login with the kind of user. */
  readonly calls: string[];
  /** PKCS#11 sessions that are open. */
  readonly open: Set<number>;
  /** Called instead of signing at once; resolves or rejects the native call. */
  onSign: ((finish: (error?: Error) => void) => void) | undefined;
  /** What C_GetMechanismList answers; fails while undefined. */
  mechanisms: readonly number[] | undefined;
  /** What C_SignInit takes. */
  knows: (mechanism: number) => boolean;
  /** What C_Sign was given last, as it was then. */
  given: Buffer | undefined;
  /** Called with each name; may throw. */
  onCall: (name: string) => void;
}

/** A token with one EC key, made of nothing, whose every answer a test may bend. */
export function fakeToken(query = '', places: Places = makePlaces(3), path = 'object=web'): Fake {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const { x = '', y = '' } = publicKey.export({ format: 'jwk' });
  const point = Buffer.concat([Buffer.of(4), Buffer.from(x, 'base64url'), Buffer.from(y, 'base64url')]);
  const attributes = new Map<number, () => Buffer | undefined>([
    [0x100, () => ulong(3)],
    [0x102, () => Buffer.of(1)],
    [0x003, () => Buffer.from('web')],
    [0x108, () => Buffer.of(1)],
    [0x180, () => Buffer.from('06082a8648ce3d030107', 'hex')],
    [0x181, () => point],
    [0x202, () => Buffer.of(fake.alwaysAuthenticate ? 1 : 0)],
  ]);
  let nextSession = 0;
  let loggedIn = false;
  let searched: number | undefined;

  const calls: Record<string, (...args: never[]) => unknown> = {
    C_GetInfo: () => ({ manufacturerID: fake.maker }),
    C_GetSlotList: () => [ulong(0)],
    C_GetTokenInfo: () => ({ label: 'prod', serialNumber: '42', model: 'm', manufacturerID: 'f', flags: fake.flags }),
    C_OpenSession: () => {
      nextSession += 1;
      fake.open.add(nextSession);
      return ulong(nextSession);
    },
    C_CloseSession: (session: Buffer) => {
      if (!fake.open.delete(session.readUInt8())) throw returnValue(0xb3);
    },
    C_FindObjectsInit: (_: Buffer, template: { value: unknown }[]) => {
      searched = template[0]?.value as number;
    },
    C_FindObjects: () => {
      const hidden = searched === 1 || (!loggedIn && (searched === 3 || !fake.showsPublicKey));
      const found = hidden || searched === undefined ? [] : [ulong(searched)];
      searched = undefined;
      return found;
    },
    C_FindObjectsFinal: () => undefined,
    C_GetAttributeValue: (_: Buffer, __: Buffer, template: { type: number }[]) =>
      template.map(({ type }) => {
        const value = attributes.get(type)?.();
        if (!value) throw returnValue(0x12);
        return { type, value };
      }),
    C_GetMechanismList: () => {
      if (!fake.mechanisms) throw returnValue(0x54);
      return fake.mechanisms;
    },
    C_Login: (_: Buffer, user: number, pin: string) => {
      fake.calls.push(`login ${user}`);
      if (loggedIn && user === 1) throw returnValue(0x100);
      if (pin !== fake.pin) throw returnValue(0xa0);
      loggedIn = true;
    },
    C_SignInit: (_: Buffer, { mechanism }: { mechanism: number }) => {
      fake.calls.push(`mechanism ${mechanism}`);
      if (!fake.knows(mechanism)) throw returnValue(0x70);
    },
    C_SignAsync: (_: Buffer, input: Buffer, output: Buffer) =>
      new Promise<Buffer>((resolve, reject) => {
        fake.given = Buffer.from(input);
        const finish = (error?: Error): void => {
          if (error) reject(error);
          else resolve(createHash('sha512').update(input).digest().copy(output) ? output.subarray(0, 64) : output);
        };
        if (fake.onSign) fake.onSign(finish);
        else finish();
      }),
  };
  const pkcs11 = Object.fromEntries(
    Object.entries(calls).map(([name, call]) => [
      name,
      (...args: never[]) => {
        fake.calls.push(name);
        fake.onCall(name);
        return call(...args);
      },
    ]),
  ) as unknown as PKCS11;

  const fake: Fake = {
    connection: {
      address: readAddress(parseKeyUri(`pkcs11:token=prod;${path}?module-path=/x.so${query}`), {}),
      module: {
        path: '/x.so',
        parameters: undefined,
        pkcs11,
        salt: Buffer.alloc(32),
        tokens: new Map(),
        places,
        restart: () => {
          fake.calls.push('restart');
          return fake.isAlone;
        },
        release: () => {
          fake.calls.push('released');
        },
      },
      token: {
        slot: ulong(0),
        label: 'prod',
        serial: '42',
        model: 'm',
        manufacturer: 'f',
        flags: 0x40d,
        hasTwin: false,
      },
      session: ulong(0),
      memory: { connections: 1, accepted: undefined, refused: [], busy: false },
      leave: () => fake.logOut(),
      close: () => {},
    },
    publicKey,
    flags: 0x40d,
    pin: canaries.pin,
    maker: 'somebody',
    alwaysAuthenticate: false,
    isAlone: true,
    showsPublicKey: true,
    logOut: () => {
      loggedIn = false;
      fake.connection.memory.accepted = undefined;
    },
    dropLogin: () => {
      loggedIn = false;
    },
    calls: [],
    open: new Set(),
    onSign: undefined,
    mechanisms: [0x1041],
    knows: () => true,
    given: undefined,
    onCall: () => {},
  };
  return fake;
}

/** What `open` does once it is connected. */
export async function openFake(
  { connection }: Pick<Fake, 'connection'>,
  options: OpenOptions = {},
  signal: AbortSignal = new AbortController().signal,
): Promise<OpenKey> {
  return openOn(connection, await login(pinSource(connection, options), signal), options);
}

function ulong(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}
