import { lstatSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { HoldfastError, messageOf, systemCodeOf } from '../../errors.ts';
import { orAborted, within } from '../../limits.ts';
import { printable } from '../../read-file.ts';
import { askSecret, Secret, type SecretSource } from '../../secret.ts';
import { formatKeyUri, type KeyUri, parseKeyUri } from '../../uri.ts';
import type { CreateOptions, KeySpec, OpenOptions } from '../store.ts';
import type { Address } from './address.ts';
import { damaged } from './bytes.ts';
import { isEmptyAuth, load, startSession } from './commands.ts';
import { ALG, CC, CURVES, HT, hex, kindOfHandle, nameOfParent, OBJECT, RH } from './constants.ts';
import { REACH } from './device.ts';
import type { Tpm } from './execute.ts';
import { guarded, guardOfParent } from './guard.ts';
import { type Hash, hashOf } from './hashes.ts';
import { visit } from './hold.ts';
import {
  checkKept,
  checkOwners,
  evictAsOwner,
  exists,
  isOwners,
  makePersistent,
  OWNERS_HANDLES,
  type Rights,
} from './keep.ts';
import { loadKey } from './load-key.ts';
import { checkLength } from './lockout.ts';
import { create, type MadeKey, pcrDigest } from './make-commands.ts';
import { digestOf, type PcrSelection, type PolicyStep, policyDigest, showPolicy, WITH_AUTH } from './policy.ts';
import { isResponse, RC } from './response-codes.ts';
import { retryCommand } from './retry.ts';
import { endSession, NO_AUTH, parentRefused, persistent, persistentParent, primaryParent } from './storage.ts';
import { targetOf } from './target.ts';
import { ECC_STORAGE, signingTemplate, type Template } from './templates.ts';
import { writeKeyFile } from './write-key-file.ts';

/** Make a key below a storage key, and write its file or make it persistent. See the front door. */
export async function createKey(address: Address, options: CreateOptions): Promise<KeyUri> {
  const { file, handle, device, pcrs, parent = RH.OWNER } = address;
  if (file === undefined && handle === undefined) {
    throw new HoldfastError('ERR_URI_INVALID', 'the key URI does not say where the key is to be', {
      hint: 'write tpm:file=/path/to/key.tpm or tpm:handle=0x81010001',
    });
  }
  if (handle !== undefined) {
    checkOwners(handle);
    checkKept(parent);
  }
  if (file !== undefined && lstatSync(file, { throwIfNoEntry: false })) throw exists(`file ${printable(file)}`);
  const name =
    file === undefined ? `key ${hex(handle as number)} in the ${device.name}` : `TPM key file ${printable(file)}`;
  const secret = await newSecret(options.secret ?? address.secret, name, options);
  try {
    checkLength(secret.bytes, ALG.SHA256, name);
    const hasAuth = !isEmptyAuth(secret.bytes);
    const steps = await atTpm(address, name, options, parent, async (tpm, reach) => {
      const { storage, authorization } =
        kindOfHandle(parent) === HT.PERSISTENT
          ? await persistentParent(tpm, parent, reach)
          : await primaryParent(tpm, parent, ECC_STORAGE, reach);
      const policy = pcrs ? await makePolicy(tpm, pcrs, hasAuth) : NO_POLICY;
      const template = templateFor(options.keyType, hasAuth, policy.digest);
      const key = await create(tpm, storage, template, secret.bytes, authorization).catch((error: unknown) => {
        throw notMade(error, options.keyType, parent);
      });
      if (file === undefined) {
        const loaded = await load(tpm, storage, key, authorization);
        await makePersistent(tpm, loaded, handle as number, reach);
      } else {
        await write(file, key, parent, policy.steps, !hasAuth);
      }
      return policy.steps;
    });
    return uriOf(address, file === undefined && steps.length > 0);
  } finally {
    secret.wipe();
  }
}

/** Put the key of a file at a persistent handle. */
export async function persistKey(address: Address, handle: number, options: OpenOptions): Promise<KeyUri> {
  const { file, device } = address;
  if (!isOwners(handle)) {
    throw new HoldfastError('ERR_OPTION_INVALID', 'the handle is not one that the owner of a TPM may give', {
      hint: `give one ${OWNERS_HANDLES}`,
    });
  }
  if (file === undefined) {
    throw new HoldfastError('ERR_URI_INVALID', 'the key URI names no key file to make persistent', {
      hint: 'write tpm:file=/path/to/key.tpm',
    });
  }
  const name = `key ${hex(handle)} in the ${device.name}`;
  const target = await within(options, `work on the ${name}`, (signal) => targetOf(address, () => NO_AUTH, signal));
  if (target.file) checkKept(target.file.parent);
  await atTpm(address, name, options, target.file?.parent, async (tpm, reach) => {
    const { key } = await loadKey(tpm, { ...target, ...reach });
    await makePersistent(tpm, key, handle, reach);
  });
  const path = [['handle', hex(handle)]] as const;
  return parseKeyUri(formatKeyUri({ scheme: 'tpm', path, query: reachOf(address) }));
}

/** Remove a persistent key. It is gone for good unless there is a file of it. */
export async function removeKey(address: Address, options: OpenOptions): Promise<void> {
  const { handle, device } = address;
  if (handle === undefined) {
    throw new HoldfastError('ERR_URI_INVALID', 'the key URI names no persistent key to remove', {
      hint: 'write tpm:handle=0x81010001; a key file is removed as any other file',
    });
  }
  checkOwners(handle);
  const name = `key ${hex(handle)} in the ${device.name}`;
  await atTpm(address, name, options, undefined, async (tpm, reach) => {
    const key = await persistent(tpm, handle, `there is no ${name}`);
    await evictAsOwner(tpm, key, handle, reach);
  });
}

/**
 * One visit to the TPM, after which nothing is loaded. A stored authValue that the parent has refused is not sent again.
 *
 * @param parent what something is loaded or made below
 */
async function atTpm<T>(
  address: Address,
  name: string,
  options: OpenOptions,
  parent: number | undefined,
  work: (tpm: Tpm, reach: Rights) => Promise<T>,
): Promise<T> {
  const { device, plain, parentSecret, ownerSecret } = address;
  return within(options, `work on the ${name}`, async (signal) => {
    const ask = (source: SecretSource, of: string): Promise<Secret> =>
      orAborted(askSecret(source, { kind: 'PIN', of, purpose: options.purpose }), signal);
    let parentAuth: Secret | undefined;
    let ownerAuth: Secret | undefined;
    try {
      parentAuth = parentSecret && (await ask(parentSecret, `the parent of the ${name}`));
      ownerAuth = ownerSecret && (await ask(ownerSecret, `the owner hierarchy of the ${device.name}`));
      const ofOwner = ownerAuth ?? (parent === RH.OWNER ? parentAuth : undefined);
      const reach: Rights = {
        name,
        deviceName: device.name,
        plain,
        parentAuth: () => parentAuth?.bytes ?? NO_AUTH,
        ownerAuth: () => ofOwner?.bytes ?? NO_AUTH,
      };
      const go = (): Promise<T> => visit(device, (tpm) => work(tpm, reach), signal);
      const guard = guardOfParent(parent, device.name, parentSecret, options, retryFor(address));
      return await (guard && parentAuth ? guarded(guard, parentAuth, go, signal) : go());
    } finally {
      parentAuth?.wipe();
      ownerAuth?.wipe();
    }
  });
}

/** Where a key is made, there is nothing yet but its storage key. */
const retryFor = ({ uri, parent }: Address): string =>
  retryCommand(parent === undefined ? uri : { ...uri, path: new Map([['parent', Buffer.from(hex(parent))]]) });

/** What protects the new key; empty when nobody gives anything. */
const newSecret = async (source: SecretSource | undefined, of: string, { purpose }: OpenOptions): Promise<Secret> =>
  source === undefined ? new Secret('') : askSecret(source, { kind: 'PIN', of, purpose });

interface NewPolicy {
  readonly digest: Buffer;
  readonly steps: readonly PolicyStep[];
}

const NO_POLICY: NewPolicy = { digest: Buffer.alloc(0), steps: [] };

/**
 * A policy for the PCRs as they are now, and the authValue where there is one.
 *
 * What the TPM says of it is not proven by an HMAC: on the bus it might become another's policy, so it is reckoned here.
 */
async function makePolicy(tpm: Tpm, pcrs: PcrSelection, hasAuth: boolean): Promise<NewPolicy> {
  const hash = hashOf(ALG.SHA256) as Hash;
  const values = await pcrDigest(tpm, pcrs.bytes, hash);
  const step: PolicyStep = { command: CC.PolicyPCR, parameters: Buffer.concat([pcrs.bytes, values]) };
  const steps = hasAuth ? [step, WITH_AUTH] : [step];
  const trial = await startSession(tpm, 'TRIAL');
  await showPolicy(tpm, trial, { steps, wantsAuth: hasAuth });
  const digest = digestOf(hash, steps);
  if (!digest.equals(await policyDigest(tpm, trial))) throw damaged('the digest of a policy is not that of its steps');
  await endSession(tpm, trial);
  return { digest, steps };
}

/** Wrong tries are counted where there is something to guess: a key without an authValue must not suffer from others'. */
function templateFor(keyType: KeySpec, hasAuth: boolean, authPolicy: Buffer): Template {
  const attributes =
    OBJECT.fixedTPM |
    OBJECT.fixedParent |
    OBJECT.sensitiveDataOrigin |
    OBJECT.sign |
    (authPolicy.length > 0 ? 0 : OBJECT.userWithAuth) |
    (hasAuth ? 0 : OBJECT.noDA);
  const curve = CURVES.find(({ name }) => name === keyType);
  const kind = curve ? { curve } : { bits: Number(/^RSA-(2048|3072|4096)$/.exec(keyType)?.[1]) };
  if ('bits' in kind && Number.isNaN(kind.bits)) {
    throw new HoldfastError('ERR_OPTION_INVALID', 'there is no such type of key', {
      hint: 'use RSA-2048, RSA-3072, RSA-4096, P-256, P-384 or P-521',
    });
  }
  return signingTemplate(kind, attributes, authPolicy);
}

function notMade(error: unknown, keyType: KeySpec, parent: number): unknown {
  if (isResponse(error, RC.VALUE, RC.CURVE, RC.KEY_SIZE, RC.ASYMMETRIC, RC.TYPE)) {
    return new HoldfastError('ERR_KEY_UNSUPPORTED', `the TPM makes no ${keyType} keys`, {
      hint: 'use P-256 or RSA-2048, which every TPM has',
      cause: error,
    });
  }
  return parentRefused(error, nameOfParent(parent));
}

async function write(
  file: string,
  key: MadeKey,
  parent: number,
  policy: readonly PolicyStep[],
  emptyAuth: boolean,
): Promise<void> {
  const text = writeKeyFile({ ...key, parent, policy, emptyAuth, description: undefined });
  try {
    await writeFile(file, text, { mode: 0o600, flag: 'wx' });
  } catch (cause) {
    const code = systemCodeOf(cause) ?? messageOf(cause);
    if (code === 'EEXIST') throw exists(`file ${printable(file)}`, cause);
    throw new HoldfastError('ERR_FILE_UNWRITABLE', `the TPM key file ${printable(file)} cannot be written (${code})`, {
      hint: 'make its directory and let this user write there',
      cause,
    });
  }
}

/** How the TPM is reached, without any secret. */
const reachOf = ({ uri }: Pick<Address, 'uri'>): [string, Uint8Array][] =>
  [...uri.query].filter(([name]) => (REACH as readonly string[]).includes(name));

/** The URI that opens the key, without any secret. */
function uriOf({ uri, file, handle, pcrs }: Address, withPcrs: boolean): KeyUri {
  const path = file === undefined ? (['handle', hex(handle as number)] as const) : (['file', file] as const);
  const session = uri.query.get('session');
  const query: [string, Uint8Array | string][] = [...reachOf({ uri })];
  if (session) query.push(['session', session]);
  if (withPcrs && pcrs) query.push(['pcr', pcrs.text]);
  return parseKeyUri(formatKeyUri({ scheme: 'tpm', path: [path], query }));
}
