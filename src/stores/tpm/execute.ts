import { createCipheriv, createDecipheriv, randomBytes, timingSafeEqual } from 'node:crypto';
import { sleep } from '../../limits.ts';
import { damaged, type Reader, readerOf, sized, u8, u16, u32, withoutEndingZeros } from './bytes.ts';
import { CC, HT, kindOfHandle, nameOfCommand, RH, SESSION, ST } from './constants.ts';
import { digest, type Hash, hmac, kdfa } from './hashes.ts';
import { isResponse, RC, TpmError } from './response-codes.ts';
import { HEADER, type Transport } from './transport.ts';

/** What a handle stands for in an HMAC (TPM 2.0 Part 1 §16): an object's Name, else the handle itself. */
export interface Entity {
  readonly handle: number;
  /** Of objects. */
  readonly name?: Uint8Array | undefined;
}

/** A session that the TPM keeps (Part 1 §19.6). */
export interface Session {
  readonly handle: number;
  readonly hash: Hash;
  /** Empty when it was neither salted nor bound. Wiped with the session, or with the connection. */
  readonly key: Buffer;
  /** The newest of the TPM's nonces. */
  nonceTpm: Buffer;
}

/** How a command is authorised. */
export interface Authorization {
  /** Undefined: a password session, in which the authValue crosses the bus in clear. */
  readonly session?: Session | undefined;
  /** Of the first handle; empty for none. In a session it never leaves this process. */
  readonly authValue: Uint8Array;
  /** Encrypt the first parameter of the command, which is a `TPM2B`. */
  readonly encryptCommand?: boolean;
  /** Have the TPM encrypt the first parameter of its response. */
  readonly encryptResponse?: boolean;
}

export interface Command {
  /** `TPM_CC`. */
  readonly code: number;
  readonly handles?: readonly Entity[];
  readonly parameters?: Uint8Array;
  readonly authorization?: Authorization | undefined;
  /** The response begins with the handle of something that was loaded. */
  readonly loads?: boolean;
}

export interface Answer {
  /** 0 when the command loads nothing. */
  readonly handle: number;
  readonly parameters: Reader;
}

/** A TPM that somebody is connected to: commands, one after the other. */
export interface Tpm {
  /** @throws {TpmError} for each code but success; `LostError`; `ERR_TOKEN_FAILED` for what is no answer to this */
  run(command: Command): Promise<Answer>;
  /** Handles of what was loaded and not flushed. */
  readonly loaded: Set<number>;
  /** Those of the sessions that were started here: who hangs up wipes them. */
  readonly keys: Buffer[];
  /** Makes nonces and salts. */
  readonly random: (size: number) => Buffer;
}

/** Milliseconds of the first pause before a command is sent again, of the longest, and until that is given up. */
const PAUSES = { first: 1, most: 100, patience: 60_000 } as const;

/**
 * @param signal of whom the TPM works for at the moment: after its end only what clears away goes through. A command that
 *   the TPM has is waited for in any case.
 * @param random makes nonces
 */
export function tpmOver(
  transport: Transport,
  signal: () => AbortSignal,
  random: (size: number) => Buffer = randomBytes,
): Tpm {
  const loaded = new Set<number>();
  return {
    loaded,
    keys: [],
    random,
    async run(command) {
      if (command.code !== CC.FlushContext) signal().throwIfAborted();
      const sealed = seal(command, random);
      try {
        const response = await answered(transport, sealed.bytes, command.code, signal());
        const answer = unseal(command, sealed, response);
        if (command.loads) loaded.add(answer.handle);
        return answer;
      } finally {
        // A password stands in it.
        sealed.bytes.fill(0);
      }
    },
  };
}

/** Send it until the TPM takes it (Part 2 §6.6.3: YIELDED, TESTING, RETRY and NV_RATE say that nothing was done). */
async function answered(transport: Transport, bytes: Buffer, code: number, signal: AbortSignal): Promise<Buffer> {
  const start = performance.now();
  for (let pause: number = PAUSES.first; ; pause = Math.min(pause * 2, PAUSES.most)) {
    const response = await transport.send(bytes);
    const error = errorIn(response, code);
    if (!error) return response;
    const isLater = isResponse(error, RC.YIELDED, RC.TESTING, RC.RETRY, RC.NV_RATE);
    if (!isLater || performance.now() - start > PAUSES.patience) throw error;
    await sleep(pause, signal);
    signal.throwIfAborted();
  }
}

/** The response code of a response whose header fits (Part 1 §18.2). */
function errorIn(response: Buffer, code: number): TpmError | undefined {
  if (response.length < HEADER || response.readUInt32BE(2) !== response.length) throw damaged('its size is wrong');
  const responseCode = response.readUInt32BE(6);
  return responseCode === 0 ? undefined : new TpmError(code, responseCode);
}

/** A command as it is sent, and what its answer is checked with. */
interface Sealed {
  readonly bytes: Buffer;
  readonly nonceCaller: Buffer;
  readonly attributes: number;
}

const EMPTY: Buffer = Buffer.alloc(0);

/** The bytes of a command with its authorisation area (Part 1 §18.1, §19.4). */
function seal(command: Command, random: (size: number) => Buffer): Sealed {
  const { code, handles = [], authorization } = command;
  const handleArea = Buffer.concat(handles.map(({ handle }) => u32(handle)));
  if (!authorization) {
    const body = Buffer.concat([u32(code), handleArea, command.parameters ?? EMPTY]);
    return { bytes: framed(ST.NO_SESSIONS, body), nonceCaller: EMPTY, attributes: 0 };
  }
  const { session, authValue } = authorization;
  let parameters = command.parameters ?? EMPTY;
  let nonceCaller = EMPTY;
  let attributes = 0;
  let proof: Uint8Array = authValue;
  if (session) {
    nonceCaller = random(session.hash.size);
    attributes =
      SESSION.continueSession |
      (authorization.encryptCommand ? SESSION.decrypt : 0) |
      (authorization.encryptResponse ? SESSION.encrypt : 0);
    if (authorization.encryptCommand) {
      parameters = crypt(authorization, session, parameters, { newer: nonceCaller, older: session.nonceTpm }, true);
    }
    const cpHash = digest(session.hash, u32(code), ...handles.map(nameOf), parameters);
    proof = mac(authorization, session, cpHash, nonceCaller, session.nonceTpm, attributes);
  }
  const handle = session?.handle ?? RH.PASSWORD;
  const lastField = sized(proof);
  const area = Buffer.concat([u32(handle), sized(nonceCaller), u8(attributes), lastField]);
  const body = Buffer.concat([u32(code), handleArea, u32(area.length), area, parameters]);
  const bytes = framed(ST.SESSIONS, body);
  // Without a session that was the password.
  for (const copy of [lastField, area, body]) copy.fill(0);
  return { bytes, nonceCaller, attributes };
}

const framed = (tag: number, body: Uint8Array): Buffer => Buffer.concat([u16(tag), u32(body.length + 6), body]);

const nameOf = ({ handle, name }: Entity): Uint8Array => name ?? u32(handle);

/**
 * What a response holds, once it is proven to come from whom the command went to (Part 1 §18.2, §19.6.8). A success
 * without the authorisation area that belongs to it could come from anybody on the bus.
 */
function unseal(command: Command, sealed: Sealed, response: Buffer): Answer {
  const { code, authorization } = command;
  const reader = readerOf(response);
  const tag = reader.u16();
  reader.take(HEADER - 2);
  const handle = command.loads ? reader.u32() : 0;
  if (
    command.loads &&
    ![HT.TRANSIENT, HT.HMAC_SESSION, HT.POLICY_SESSION].some((kind) => kind === kindOfHandle(handle))
  ) {
    throw damaged(`${nameOfCommand(code)} loaded a handle that is none`);
  }
  if (!authorization) {
    if (tag !== ST.NO_SESSIONS) throw damaged('it is authorised, which nobody asked for');
    return { handle, parameters: reader };
  }
  if (tag !== ST.SESSIONS) throw damaged('it is a success without the authorisation that proves it');
  let parameters = reader.take(reader.u32());
  const nonceTpm = Buffer.from(reader.sized());
  const attributes = reader.u8();
  const proof = reader.sized();
  reader.end();
  const { session } = authorization;
  if (session) {
    const rpHash = digest(session.hash, u32(0), u32(code), parameters);
    const expected = mac(authorization, session, rpHash, nonceTpm, sealed.nonceCaller, attributes);
    const isSame = proof.length === expected.length && timingSafeEqual(proof, expected);
    if (!isSame || attributes !== sealed.attributes) throw damaged('its HMAC is wrong');
    session.nonceTpm = nonceTpm;
    if (authorization.encryptResponse) {
      parameters = crypt(authorization, session, parameters, { newer: nonceTpm, older: sealed.nonceCaller }, false);
    }
  } else if (nonceTpm.length > 0 || proof.length > 0) {
    throw damaged('it is authorised in another way than the command');
  }
  return { handle, parameters: readerOf(parameters) };
}

/** Part 1 §19.6.5: the key is the session's and then the authValue. */
function mac(
  { authValue }: Authorization,
  { hash, key }: Session,
  parametersHash: Uint8Array,
  newer: Uint8Array,
  older: Uint8Array,
  attributes: number,
): Buffer {
  const whole = Buffer.concat([key, withoutEndingZeros(authValue)]);
  const made = hmac(hash, whole, parametersHash, newer, older, u8(attributes));
  whole.fill(0);
  return made;
}

/** Octets of an AES-128 key, and of its initialisation vector. */
const AES = 16;

/** AES-128-CFB over the first `TPM2B` of some parameters, without its size (Part 1 §21.3). */
function crypt(
  { authValue }: Authorization,
  { hash, key }: Session,
  parameters: Uint8Array,
  nonces: { readonly newer: Uint8Array; readonly older: Uint8Array },
  isCommand: boolean,
): Buffer {
  const first = readerOf(parameters).sized();
  const whole = Buffer.concat([key, withoutEndingZeros(authValue)]);
  const derived = kdfa(hash, whole, 'CFB', nonces.newer, nonces.older, 2 * AES * 8);
  whole.fill(0);
  const make = isCommand ? createCipheriv : createDecipheriv;
  const cipher = make('aes-128-cfb', derived.subarray(0, AES), derived.subarray(AES));
  const crypted = Buffer.concat([cipher.update(first), cipher.final()]);
  derived.fill(0);
  return Buffer.concat([sized(crypted), parameters.subarray(2 + first.length)]);
}
