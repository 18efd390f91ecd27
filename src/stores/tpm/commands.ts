import { damaged, type Reader, sized, u8, u16, u32, withoutEndingZeros } from './bytes.ts';
import { ALG, CAP, CC, RH, SE, ST } from './constants.ts';
import type { Authorization, Entity, Session, Tpm } from './execute.ts';
import { type Hash, hashOf, kdfa } from './hashes.ts';
import { nameOfArea, type PublicArea, readPublicArea } from './public-area.ts';
import type { Template } from './templates.ts';

/** The commands that find and use a key; those that make one are in make-commands.ts. Sections are of TPM 2.0 Part 3. */

/** An object of the TPM, with what it says of itself. */
export interface TpmObject extends Entity {
  readonly name: Buffer;
  readonly area: PublicArea;
}

/** TPM2_Startup(CLEAR), §9.3: a TPM in software may not have been started by anybody. */
export const startup = (tpm: Tpm): Promise<unknown> => tpm.run({ code: CC.Startup, parameters: u16(0) });

/** TPM2_FlushContext, §28.4. */
export async function flush(tpm: Tpm, handle: number): Promise<void> {
  await tpm.run({ code: CC.FlushContext, parameters: u32(handle) });
  tpm.loaded.delete(handle);
}

/** TPM2_ReadPublic, §12.4. The Name is that of what was read, or somebody changed it on the way. */
export async function readPublic(tpm: Tpm, handle: number): Promise<TpmObject> {
  const { parameters } = await tpm.run({ code: CC.ReadPublic, handles: [{ handle }] });
  const area = readPublicArea(Buffer.from(parameters.sized()));
  const name = Buffer.from(parameters.sized());
  parameters.sized(); // the qualified name
  parameters.end();
  return { handle, area, name: checkedName(area, name) };
}

function checkedName(area: PublicArea, name: Buffer): Buffer {
  if (nameOfArea(area).equals(name)) return name;
  throw damaged('the name of a key is not that of its public area');
}

/** TPM2_CreatePrimary, §24.1, without data of our own. */
export async function createPrimary(
  tpm: Tpm,
  hierarchy: number,
  template: Template,
  authorization: Authorization,
): Promise<TpmObject> {
  const { handle, parameters } = await tpm.run({
    code: CC.CreatePrimary,
    handles: [{ handle: hierarchy }],
    parameters: Buffer.concat([sized(Buffer.concat([sized(), sized()])), sized(template.bytes), sized(), u32(0)]),
    authorization,
    loads: true,
  });
  const area = readPublicArea(Buffer.from(parameters.sized()));
  parameters.sized(); // creationData
  parameters.sized(); // creationHash
  parameters.take(6); // creationTicket: tag and hierarchy
  parameters.sized();
  const name = Buffer.from(parameters.sized());
  parameters.end();
  return { handle, area, name: checkedName(area, name) };
}

/** TPM2_Load, §12.2. */
export async function load(
  tpm: Tpm,
  parent: Entity,
  key: { readonly area: PublicArea; readonly privateBytes: Uint8Array },
  authorization: Authorization,
): Promise<TpmObject> {
  const { handle, parameters } = await tpm.run({
    code: CC.Load,
    handles: [parent],
    parameters: Buffer.concat([sized(key.privateBytes), sized(key.area.bytes)]),
    authorization,
    loads: true,
  });
  const name = Buffer.from(parameters.sized());
  parameters.end();
  return { handle, area: key.area, name: checkedName(key.area, name) };
}

/** Only a key that signs what it hashed itself wants to see another (Part 2 §10.7.6). */
const NO_TICKET: Buffer = Buffer.concat([u16(ST.HASHCHECK), u32(RH.NULL), u16(0)]);

/**
 * TPM2_Sign, §20.2.
 *
 * @param scheme `TPMT_SIG_SCHEME`
 * @returns `TPMT_SIGNATURE`
 */
export async function sign(
  tpm: Tpm,
  key: Entity,
  digest: Uint8Array,
  scheme: Uint8Array,
  authorization: Authorization,
): Promise<Buffer> {
  const { parameters } = await tpm.run({
    code: CC.Sign,
    handles: [key],
    parameters: Buffer.concat([sized(digest), scheme, NO_TICKET]),
    authorization,
  });
  return parameters.rest();
}

/** What protects the secret between us and the TPM: a salt, encrypted to one of its keys. */
export interface Salt {
  readonly key: Entity;
  /** Wiped when the session is started, or is not. */
  readonly bytes: Buffer;
  /** `TPM2B_ENCRYPTED_SECRET`, without its size. */
  readonly encrypted: Buffer;
}

/**
 * TPM2_StartAuthSession, §11.1: with AES-128-CFB, not bound to anything.
 *
 * @param algorithm its hash; that of a policy session is the name algorithm of the key
 */
export async function startSession(
  tpm: Tpm,
  kind: keyof typeof SE,
  algorithm: number = ALG.SHA256,
  salt?: Salt,
): Promise<Session> {
  const hash = hashOf(algorithm) as Hash;
  const nonceCaller = tpm.random(hash.size);
  try {
    const { handle, parameters } = await tpm.run({
      code: CC.StartAuthSession,
      handles: [salt?.key ?? { handle: RH.NULL }, { handle: RH.NULL }],
      parameters: Buffer.concat([
        sized(nonceCaller),
        sized(salt?.encrypted),
        u8(SE[kind]),
        ...[ALG.AES, 128, ALG.CFB, algorithm].map(u16),
      ]),
      loads: true,
    });
    const nonceTpm = Buffer.from(parameters.sized());
    parameters.end();
    // Part 1 §19.6.8: without salt and binding the session has no key.
    const key = salt ? kdfa(hash, salt.bytes, 'ATH', nonceTpm, nonceCaller, hash.size * 8) : Buffer.alloc(0);
    tpm.keys.push(key);
    return { handle, hash, key, nonceTpm };
  } finally {
    salt?.bytes.fill(0);
  }
}

/** TPM2_PolicySecret, §23.4, in a trial session: nothing comes of it but whether the authValue is right. */
export async function checkAuth(tpm: Tpm, key: Entity, trial: Session, authorization: Authorization): Promise<void> {
  await tpm.run({
    code: CC.PolicySecret,
    handles: [key, { handle: trial.handle }],
    parameters: Buffer.concat([sized(), sized(), sized(), u32(0)]),
    authorization,
  });
}

/** TPM2_GetCapability, §30.2: properties of the TPM, by their tag. */
export async function properties(tpm: Tpm, first: number, count: number): Promise<ReadonlyMap<number, number>> {
  const reader = await capability(tpm, CAP.TPM_PROPERTIES, first, count);
  const found = new Map<number, number>();
  for (let left = reader.u32(); left > 0; left -= 1) found.set(reader.u32(), reader.u32());
  reader.end();
  return found;
}

/** Handles from one on, all of its kind. */
export async function handles(tpm: Tpm, first: number): Promise<readonly number[]> {
  const reader = await capability(tpm, CAP.HANDLES, first, 254);
  const found = Array.from({ length: Math.min(reader.u32(), 1024) }, () => reader.u32());
  reader.end();
  return found;
}

/** `TPM_ECC_CURVE`s that the TPM knows. */
export async function curves(tpm: Tpm): Promise<readonly number[]> {
  const reader = await capability(tpm, CAP.ECC_CURVES, 0, 254);
  const found = Array.from({ length: Math.min(reader.u32(), 1024) }, () => reader.u16());
  reader.end();
  return found;
}

async function capability(tpm: Tpm, wanted: number, property: number, count: number): Promise<Reader> {
  const { parameters } = await tpm.run({
    code: CC.GetCapability,
    parameters: Buffer.concat([u32(wanted), u32(property), u32(count)]),
  });
  parameters.u8(); // whether there is more
  if (parameters.u32() !== wanted) throw damaged('it tells of something else than was asked for');
  return parameters;
}

/** Equal but for the zeros they end with, which do not count. */
export const isEmptyAuth = (authValue: Uint8Array): boolean => withoutEndingZeros(authValue).length === 0;
