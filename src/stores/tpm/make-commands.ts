import { damaged, sized, u16, u32 } from './bytes.ts';
import { CC, RH } from './constants.ts';
import type { Authorization, Entity, Tpm } from './execute.ts';
import { digest, type Hash, hashOf } from './hashes.ts';
import { nameOfArea, type PublicArea, readPublicArea } from './public-area.ts';
import { fits, type Template } from './templates.ts';

/** The commands that make, keep and remove keys. Sections are of TPM 2.0 Part 3. */

/** A key as TPM2_Create hands it out: encrypted to its parent. */
export interface MadeKey {
  readonly area: PublicArea;
  /** `TPM2B_PRIVATE`, without its size. */
  readonly privateBytes: Buffer;
}

/**
 * TPM2_Create, §12.1.
 *
 * @param authValue of the new key. It crosses the bus encrypted where the authorisation has a session.
 */
export async function create(
  tpm: Tpm,
  parent: Entity,
  template: Template,
  authValue: Uint8Array,
  authorization: Authorization,
): Promise<MadeKey> {
  const userAuth = sized(authValue);
  const sensitive = Buffer.concat([u16(userAuth.length + 2), userAuth, sized()]);
  const command = Buffer.concat([sensitive, sized(template.bytes), sized(), u32(0)]);
  for (const copy of [userAuth, sensitive]) copy.fill(0);
  const isProtected = authorization.session !== undefined;
  try {
    const { parameters } = await tpm.run({
      code: CC.Create,
      handles: [parent],
      parameters: command,
      authorization: { ...authorization, encryptCommand: isProtected, encryptResponse: isProtected },
    });
    const privateBytes = Buffer.from(parameters.sized());
    const area = readPublicArea(Buffer.from(parameters.sized()));
    if (!fits(area, template)) throw damaged('the key that was made is not what was asked for');
    nameOfArea(area);
    return { area, privateBytes };
  } finally {
    command.fill(0);
  }
}

/** TPM2_EvictControl, §28.5: make an object persistent; with its persistent handle for both, remove it. */
export async function evict(tpm: Tpm, object: Entity, handle: number, authorization: Authorization): Promise<void> {
  await tpm.run({
    code: CC.EvictControl,
    handles: [{ handle: RH.OWNER }, object],
    parameters: u32(handle),
    authorization,
  });
}

/**
 * The digest over the PCRs of a selection, as TPM2_PolicyPCR has it (§23.7), read with TPM2_PCR_Read (§22.4).
 *
 * @param selection `TPML_PCR_SELECTION` with 24 bits for each bank
 */
export async function pcrDigest(tpm: Tpm, selection: Buffer, hash: Hash): Promise<Buffer> {
  const values: Buffer[] = [];
  const banks = Math.trunc((selection.length - 4) / ONE_BANK);
  for (let bank = 0; bank < banks; bank += 1) {
    const at = 4 + bank * ONE_BANK;
    const algorithm = selection.readUInt16BE(at);
    const bits = selection.readUIntLE(at + 3, 3);
    for (let pcr = 0; pcr < 24; pcr += 1) {
      if (bits & (1 << pcr)) values.push(await readPcr(tpm, selection.subarray(at, at + 3), pcr, algorithm));
    }
  }
  return digest(hash, ...values);
}

/** `TPMS_PCR_SELECTION`: the algorithm, 3, and as many octets of bits. */
const ONE_BANK = 6;

async function readPcr(tpm: Tpm, head: Buffer, pcr: number, algorithm: number): Promise<Buffer> {
  const bits = Buffer.alloc(3);
  bits[pcr >> 3] = 1 << (pcr & 7);
  const { parameters } = await tpm.run({ code: CC.PCR_Read, parameters: Buffer.concat([u32(1), head, bits]) });
  parameters.u32(); // pcrUpdateCounter
  for (let banks = parameters.u32(); banks > 0; banks -= 1) {
    parameters.u16();
    parameters.take(parameters.u8());
  }
  const count = parameters.u32();
  const value = count === 1 ? Buffer.from(parameters.sized()) : Buffer.alloc(0);
  if (value.length !== hashOf(algorithm)?.size) throw damaged('it has not the PCR that was asked for');
  parameters.end();
  return value;
}
