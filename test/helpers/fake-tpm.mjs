// A TPM that is honest until `tamper` says otherwise: sessions, salts, HMACs and parameter encryption are real, so that
// damage can be put below them (on the bus: any HMAC finds it) or above (a TPM that lies). It is for fuzzing alone: what a
// TPM checks besides is left out.
import { constants, createCipheriv, createDecipheriv, createHash, privateDecrypt, randomBytes } from 'node:crypto';
import { readerOf, sized, u8, u16, u32, withoutEndingZeros } from '../../dist/stores/tpm/bytes.js';
import { ALG, CC, PT, RH, SE, SESSION, ST } from '../../dist/stores/tpm/constants.js';
import { digest, hashOf, hmac, kdfa, kdfe } from '../../dist/stores/tpm/hashes.js';
import { nameOfArea, readPublicArea } from '../../dist/stores/tpm/public-area.js';
import {
  EC_KEY,
  EC_SIGNATURE,
  ECDH,
  objectOf,
  PCR_DIGEST,
  PERSISTENT,
  RSA_KEY,
  RSA_SIGNATURE,
  SHA256,
} from './fake-tpm-keys.mjs';

const NONE = Buffer.alloc(0);

/** How many handles a command begins with. */
const HANDLES = new Map([
  [CC.StartAuthSession, 2],
  [CC.PolicySecret, 2],
  [CC.EvictControl, 2],
  ...['ReadPublic', 'CreatePrimary', 'Load', 'Sign', 'Create', 'PolicyPCR', 'PolicyAuthValue'].map((name) => [
    CC[name],
    1,
  ]),
  ...['PolicyCommandCode', 'PolicyRestart', 'PolicyGetDigest'].map((name) => [CC[name], 1]),
]);

const refusal = (code) => Buffer.concat([u16(ST.NO_SESSIONS), u32(10), u32(code)]);
class Refused extends Error {
  constructor(code) {
    super();
    this.code = code;
  }
}

/**
 * @param tamper `area(bytes)` and `parameters(bytes, code)`: what the TPM says instead of a public area, or of any
 *   parameters; `response(bytes, code)`: what arrives instead
 */
export function fakeTpm(tamper = {}) {
  const objects = new Map(PERSISTENT);
  const sessions = new Map();
  let next = 0;

  const at = (handle) => {
    const found = objects.get(handle);
    if (!found) throw new Refused(0x18b);
    return found;
  };
  const loaded = (object) => {
    const handle = 0x80000000 + next++;
    objects.set(handle, object);
    return handle;
  };
  function newSession(kind, hash, key) {
    const handle = (kind === SE.HMAC ? 0x02000000 : 0x03000000) + next++;
    const session = { handle, hash, key, nonceTpm: randomBytes(hash.size), digest: Buffer.alloc(hash.size) };
    sessions.set(handle, session);
    return session;
  }
  const extend = (handle, ...parts) => {
    const session = sessions.get(handle);
    if (!session) throw new Refused(0x910);
    session.digest = digest(session.hash, session.digest, ...parts);
    if (parts[0].readUInt32BE(0) === CC.PolicyAuthValue) session.wantsAuth = true;
    return {};
  };
  /** A public area that is told with a Name that fits, whatever it is. */
  function shown({ area, name }) {
    const bytes = tamper.area?.(area.bytes) ?? area.bytes;
    return { bytes, name: bytes === area.bytes ? name : Buffer.concat([u16(ALG.SHA256), digest(SHA256, bytes)]) };
  }
  const ticket = () => Buffer.concat([u16(0x8021), u32(RH.OWNER), sized(Buffer.alloc(32))]);
  const creation = () => [sized(Buffer.alloc(55)), sized(Buffer.alloc(32)), ticket()];

  const commands = {
    [CC.Startup]: () => ({}),
    [CC.FlushContext](_, reader) {
      const handle = reader.u32();
      if (!(objects.delete(handle) || sessions.delete(handle))) throw new Refused(0x1c4);
      return {};
    },
    [CC.StartAuthSession]([saltKey], reader) {
      const nonceCaller = reader.sized();
      const secret = reader.sized();
      const kind = reader.u8();
      reader.take(6);
      const hash = hashOf(reader.u16());
      const session = newSession(kind, hash, NONE);
      if (saltKey !== RH.NULL) {
        session.key = kdfa(hash, saltOf(at(saltKey), secret), 'ATH', session.nonceTpm, nonceCaller, hash.size * 8);
      }
      return { handle: session.handle, parameters: sized(session.nonceTpm) };
    },
    [CC.ReadPublic]([handle]) {
      const { bytes, name } = shown(at(handle));
      return { parameters: Buffer.concat([bytes, name, Buffer.alloc(34)].map((part) => sized(part))) };
    },
    [CC.CreatePrimary](_, reader) {
      reader.sized();
      const made = objectOf(reader.sized());
      const { bytes, name } = shown(made);
      return { handle: loaded(made), parameters: Buffer.concat([sized(bytes), ...creation(), sized(name)]) };
    },
    [CC.Create]([parent], reader) {
      const authValue = Buffer.from(readerOf(reader.sized()).sized());
      const { area, privateBytes } = objectOf(reader.sized(), authValue, at(parent).name);
      return { parameters: Buffer.concat([sized(privateBytes), sized(area.bytes), ...creation()]) };
    },
    [CC.Load]([parent], reader) {
      const blob = readerOf(reader.sized());
      const isHere = blob.take(32).equals(createHash('sha256').update(at(parent).name).digest());
      if (!isHere) throw new Refused(0x1df);
      const authValue = Buffer.from(blob.sized());
      const area = readPublicArea(Buffer.from(reader.sized()));
      const object = { area, name: nameOfArea(area), authValue, key: area.type === 'RSA' ? RSA_KEY : EC_KEY };
      return { handle: loaded(object), parameters: sized(object.name) };
    },
    [CC.Sign]([handle], reader) {
      const { area } = at(handle);
      reader.sized();
      const scheme = reader.take(4);
      return { parameters: Buffer.concat([scheme, area.type === 'RSA' ? RSA_SIGNATURE : EC_SIGNATURE]) };
    },
    [CC.EvictControl]([, object], reader) {
      const [found, handle] = [at(object), reader.u32()];
      if (object === handle) objects.delete(handle);
      else if (objects.has(handle)) throw new Refused(0x14c);
      else objects.set(handle, found);
      return {};
    },
    [CC.PolicySecret]: () => ({ parameters: Buffer.concat([sized(), ticket()]) }),
    [CC.PolicyAuthValue]: ([handle]) => extend(handle, u32(CC.PolicyAuthValue)),
    [CC.PolicyCommandCode]: ([handle], reader) => extend(handle, u32(CC.PolicyCommandCode), reader.rest()),
    [CC.PolicyPCR]([handle], reader) {
      const values = reader.sized();
      return extend(handle, u32(CC.PolicyPCR), reader.rest(), values.length > 0 ? values : PCR_DIGEST);
    },
    [CC.PolicyRestart]([handle]) {
      sessions.get(handle)?.digest.fill(0);
      return {};
    },
    [CC.PolicyGetDigest]([handle]) {
      return { parameters: sized(sessions.get(handle)?.digest) };
    },
    [CC.PCR_Read](_, reader) {
      return { parameters: Buffer.concat([u32(20), reader.rest(), u32(1), sized(Buffer.alloc(32))]) };
    },
    [CC.GetCapability](_, reader) {
      const [kind, first, count] = [reader.u32(), reader.u32(), reader.u32()];
      const list =
        kind === 6
          ? Array.from({ length: Math.min(count, 20) }, (__, i) =>
              Buffer.concat([u32(first + i), u32(PROPERTIES.get(first + i) ?? 0)]),
            )
          : kind === 8
            ? [3, 4].map(u16)
            : [...objects.keys()].filter((handle) => handle >= first && handle >>> 24 === first >>> 24).map(u32);
      return { parameters: Buffer.concat([u8(0), u32(kind), u32(list.length), ...list]) };
    },
  };

  function answer(command) {
    const reader = readerOf(command);
    const tag = reader.u16();
    reader.u32();
    const code = reader.u32();
    const handles = Array.from({ length: HANDLES.get(code) ?? 0 }, () => reader.u32());
    const seal =
      tag === ST.SESSIONS ? opened(code, handles, readerOf(reader.take(reader.u32())), reader.rest()) : undefined;
    const { handle, parameters = NONE } = commands[code](handles, seal?.parameters ?? reader);
    const said = tamper.parameters?.(parameters, code) ?? parameters;
    const head = handle === undefined ? NONE : u32(handle);
    const body = seal ? seal.close(said, head) : Buffer.concat([head, said]);
    return Buffer.concat([u16(tag), u32(10 + body.length), u32(0), body]);
  }

  /** The parameters of a command, in clear, and how those of its response are closed. */
  function opened(code, handles, area, bytes) {
    const session = sessions.get(area.u32());
    const nonceCaller = Buffer.from(area.sized());
    const attributes = area.u8();
    const proof = area.sized();
    const { authValue = NONE } = objects.get(handles[0]) ?? {};
    if (!session) {
      if (!withoutEndingZeros(proof).equals(withoutEndingZeros(authValue))) throw new Refused(0x9a2);
      const close = (said, head) => Buffer.concat([head, u32(said.length), said, sized(), u8(attributes), sized()]);
      return { parameters: readerOf(bytes), close };
    }
    const isPolicy = session.handle >>> 24 === 3;
    const counts = withoutEndingZeros(isPolicy && !session.wantsAuth ? NONE : authValue);
    const key = Buffer.concat([session.key, counts]);
    const [newer, older] = [nonceCaller, session.nonceTpm];
    const names = handles.map((handle) => objects.get(handle)?.name ?? u32(handle));
    const cpHash = digest(session.hash, u32(code), ...names, bytes);
    if (!hmac(session.hash, key, cpHash, newer, older, u8(attributes)).equals(proof)) throw new Refused(0x9a2);
    const clear = attributes & SESSION.decrypt ? crypted(createDecipheriv, session, key, bytes, newer, older) : bytes;
    return {
      parameters: readerOf(clear),
      close(said, head) {
        session.nonceTpm = randomBytes(session.hash.size);
        const out =
          attributes & SESSION.encrypt
            ? crypted(createCipheriv, session, key, said, session.nonceTpm, nonceCaller)
            : said;
        const rpHash = digest(session.hash, u32(0), u32(code), out);
        const made = hmac(session.hash, key, rpHash, session.nonceTpm, nonceCaller, u8(attributes));
        return Buffer.concat([head, u32(out.length), out, sized(session.nonceTpm), u8(attributes), sized(made)]);
      },
    };
  }

  return {
    async send(command) {
      let response;
      try {
        response = answer(Buffer.from(command));
      } catch (error) {
        // What makes no sense is refused; why, matters to nobody here.
        response = refusal(error instanceof Refused ? error.code : 0x1c4);
      }
      return tamper.response?.(response, command.readUInt32BE(6)) ?? response;
    },
    /** A session as the other side has it. */
    session() {
      const { handle, hash, key, nonceTpm } = newSession(SE.HMAC, SHA256, Buffer.alloc(32, 5));
      return { handle, hash, key: Buffer.from(key), nonceTpm: Buffer.from(nonceTpm) };
    },
  };
}

/** Three tries, none of them wrong. */
const PROPERTIES = new Map([
  [PT.MAX_AUTH_FAIL, 3],
  [PT.LOCKOUT_INTERVAL, 1000],
]);

function saltOf({ area, key }, secret) {
  if (area.type === 'RSA') {
    const label = Buffer.from('SECRET\0');
    return privateDecrypt(
      { key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256', oaepLabel: label },
      secret,
    );
  }
  const reader = readerOf(secret);
  const [x, y] = [reader.sized(), reader.sized()];
  const shared = ECDH.computeSecret(Buffer.concat([Buffer.of(4), x, y]));
  return kdfe(SHA256, shared, 'SECRET', x, area.x, 256);
}

/** The first TPM2B of some parameters; as much of it as is there. */
function crypted(make, session, key, bytes, newer, older) {
  const end = Math.min(bytes.length, 2 + (bytes.length < 2 ? 0 : bytes.readUInt16BE(0)));
  const derived = kdfa(session.hash, key, 'CFB', newer, older, 256);
  const cipher = make('aes-128-cfb', derived.subarray(0, 16), derived.subarray(16));
  return Buffer.concat([bytes.subarray(0, 2), cipher.update(bytes.subarray(2, end)), bytes.subarray(end)]);
}
