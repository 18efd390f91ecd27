import { HoldfastError } from '../../errors.ts';
import { readerOf, sized, u8, u16, u32 } from './bytes.ts';
import { ALG, CC, nameOfCommand } from './constants.ts';
import type { Session, Tpm } from './execute.ts';
import { digest, type Hash } from './hashes.ts';
import { has, type PublicArea } from './public-area.ts';
import { isResponse, RC } from './response-codes.ts';

/** One command of a policy, as key files write it (draft-bottomley-tpm2-keys §4.1). */
export interface PolicyStep {
  /** `TPM_CC`. */
  readonly command: number;
  /** For TPM2_PolicyPCR the selection and then the digest; else the parameters. */
  readonly parameters: Buffer;
}

/** A policy, ready to be shown to the TPM again for each signature. */
export interface Policy {
  readonly steps: readonly PolicyStep[];
  /** Whether it wants the authValue too. */
  readonly wantsAuth: boolean;
}

export const WITH_AUTH: PolicyStep = { command: CC.PolicyAuthValue, parameters: Buffer.alloc(0) };

/** What the bits of a PCR bank are called. */
const BANKS: ReadonlyMap<string, number> = new Map([
  ['sha1', ALG.SHA1],
  ['sha256', ALG.SHA256],
  ['sha384', ALG.SHA384],
  ['sha512', ALG.SHA512],
]);

/** A bank of PCRs, and which of them. */
export interface PcrSelection {
  /** `TPML_PCR_SELECTION` (TPM 2.0 Part 2 §10.9.7). */
  readonly bytes: Buffer;
  /** As it was written. */
  readonly text: string;
}

/** Read `sha256:0,7`; several banks with `+` between them. @throws {HoldfastError} `ERR_URI_INVALID` */
export function pcrSelection(text: string): PcrSelection {
  const banks = text.split('+').map((part) => {
    const [, bank = '', list = ''] = /^([a-z0-9]+):(\d{1,2}(?:,\d{1,2})*)$/.exec(part) ?? [];
    const algorithm = BANKS.get(bank);
    const numbers = list.split(',').map(Number);
    if (algorithm === undefined || numbers.some((number) => number > 23)) {
      throw new HoldfastError('ERR_URI_INVALID', 'the attribute "pcr" names no PCRs', {
        hint: `write pcr=sha256:0,7 with a bank of ${[...BANKS.keys()].join(', ')} and numbers from 0 to 23`,
      });
    }
    const bits = Buffer.alloc(3);
    for (const number of numbers) bits[number >> 3] = (bits[number >> 3] as number) | (1 << (number & 7));
    return Buffer.concat([u16(algorithm), u8(bits.length), bits]);
  });
  return { bytes: Buffer.concat([u32(banks.length), ...banks]), text };
}

/**
 * The policies that may open a key, the likeliest first; none when its authValue is enough. A key file says which it is,
 * a key URI only which PCRs.
 *
 * @throws {HoldfastError} `ERR_KEY_POLICY` for PCRs that a key does not ask for; `ERR_KEY_UNSUPPORTED` for steps that
 *   cannot be done yet
 */
export function policiesOf(
  area: PublicArea,
  steps: readonly PolicyStep[],
  pcrs: PcrSelection | undefined,
): readonly Policy[] {
  if (pcrs && area.authPolicy.length === 0) {
    throw policyError('the key has no policy, so that no PCRs belong to it', 'leave the attribute "pcr" out');
  }
  if (!pcrs && has(area, 'userWithAuth')) return [];
  if (area.authPolicy.length === 0) throw policyError('the key opens with no authValue and with no policy', MAKE_ANEW);
  const strange = steps.find(({ command }) => !DONE.includes(command));
  if (strange) {
    throw new HoldfastError(
      'ERR_KEY_UNSUPPORTED',
      `the policy of the key has a step that holdfast cannot do yet: ${nameOfCommand(strange.command)}`,
      { hint: MAKE_ANEW },
    );
  }
  const named = pcrs && { command: CC.PolicyPCR, parameters: pcrs.bytes };
  if (named) return [[named], [named, WITH_AUTH], [WITH_AUTH, named]].map(policyWith);
  return [steps.length > 0 ? steps : [WITH_AUTH]].map(policyWith);
}

const policyWith = (steps: readonly PolicyStep[]): Policy => ({ steps, wantsAuth: steps.some(isAuthStep) });

const DONE: readonly number[] = [CC.PolicyPCR, CC.PolicyAuthValue, CC.PolicyPassword, CC.PolicyCommandCode];
const MAKE_ANEW = 'make a key with a policy of PCRs and authValue';

const isAuthStep = ({ command }: PolicyStep): boolean =>
  command === CC.PolicyAuthValue || command === CC.PolicyPassword;

/** The first policy that is the key's, shown to the TPM in this session. @throws {HoldfastError} `ERR_KEY_POLICY` */
export async function choosePolicy(
  tpm: Tpm,
  session: Session,
  policies: readonly Policy[],
  area: PublicArea,
): Promise<Policy> {
  let why: unknown;
  for (const policy of policies) {
    try {
      await showPolicy(tpm, session, policy);
      if ((await policyDigest(tpm, session)).equals(area.authPolicy)) return policy;
    } catch (error) {
      if (!isResponse(error, RC.VALUE, RC.PCR_CHANGED)) throw error;
      why = error;
    }
    await tpm.run({ code: CC.PolicyRestart, handles: [{ handle: session.handle }] }); // Part 3 §11.2
  }
  const hasPcrs = policies.some(({ steps }) => steps.some(({ command }) => command === CC.PolicyPCR));
  throw hasPcrs
    ? policyError(
        'the PCRs of the TPM do not have the values that the key was made for',
        'start the machine as it was started when the key was made, or make a key for what it is now',
        why,
      )
    : policyError('the key has a policy, and nobody says which', 'name its PCRs in the key URI: ?pcr=sha256:0,7', why);
}

/** Do each step. After a command that it authorised, a session begins anew (Part 1 §19.7.4). */
export async function showPolicy(tpm: Tpm, session: Session, { steps }: Policy): Promise<void> {
  for (const { command, parameters } of steps) {
    // A password would cross the bus; both leave the same digest (Part 3 §23.18).
    const code = command === CC.PolicyPassword ? CC.PolicyAuthValue : command;
    await tpm.run({
      code,
      handles: [{ handle: session.handle }],
      parameters: code === CC.PolicyPCR ? pcrParameters(parameters) : parameters,
    });
  }
}

/** TPM2_PolicyGetDigest (Part 3 §23.19). */
export async function policyDigest(tpm: Tpm, session: Session): Promise<Buffer> {
  const { parameters } = await tpm.run({ code: CC.PolicyGetDigest, handles: [{ handle: session.handle }] });
  return parameters.sized();
}

/**
 * What a policy's digest must be, reckoned here: each step hashes the digest so far, its command and what it is about (Part 3
 * §23.7 TPM2_PolicyPCR, with the digest that the step has; §23.17 TPM2_PolicyAuthValue).
 */
export function digestOf(hash: Hash, steps: readonly PolicyStep[]): Buffer {
  let reckoned: Buffer = Buffer.alloc(hash.size);
  for (const { command, parameters } of steps) reckoned = digest(hash, reckoned, u32(command), parameters);
  return reckoned;
}

/**
 * TPM2_PolicyPCR (Part 3 §23.7) wants the digest first; empty stands for what the PCRs are now.
 *
 * @throws {HoldfastError} for what is no selection
 */
export function pcrParameters(step: Buffer): Buffer {
  const reader = readerOf(step);
  for (let banks = reader.u32(); banks > 0; banks -= 1) {
    reader.u16();
    reader.take(reader.u8());
  }
  const values = reader.rest();
  return Buffer.concat([sized(values), step.subarray(0, step.length - values.length)]);
}

/** The policy does not hold, for whatever reason. */
export const policyError = (what: string, hint: string, cause?: unknown): HoldfastError =>
  new HoldfastError('ERR_KEY_POLICY', what, { hint, cause });
