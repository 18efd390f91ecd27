import { resolve } from 'node:path';
import { secretAttributesOf, secretOf } from '../pin-source.ts';
import {
  askPerson,
  asksPerson,
  type SecretFunction,
  type SecretRequest,
  type SecretSource,
  type SecretValue,
} from '../secret.ts';
import type { OpenOptions } from '../stores/store.ts';
import { formatKeyUri, type KeyUri, parseKeyUri } from '../uri.ts';
import type { Context } from './context.ts';
import { LOGIN } from './context.ts';
import type { Flags } from './parse.ts';

/**
 * A key URI or path as it was given; a `pkcs11:` URI that names no module gets that of `--pkcs11-lib`. The text
 * holds whatever secret the URI holds: it is for parsing, not for printing.
 */
export function withModule(text: string, module: string | undefined): string {
  if (module === undefined) return text;
  const uri = parseKeyUri(text);
  if (uri.scheme !== 'pkcs11' || uri.query.has('module-path') || uri.query.has('module-name')) return text;
  return formatKeyUri({ ...uri, query: [...uri.query, ['module-path', resolve(module)]] });
}

/** What in a `pkcs11:` URI says which token. */
const TOKEN_ATTRIBUTES = [
  ...['token', 'serial', 'model', 'manufacturer', 'slot-id', 'slot-manufacturer', 'slot-description'],
  ...['library-manufacturer', 'library-description', 'library-version'],
];

/**
 * The key's URI; without a PIN of its own it gets that of the certificate's URI, as the reference client has it, but only
 * when both name the same token: elsewhere the PIN would be wrong and cost a try.
 */
export function withPinOf(certificate: KeyUri | undefined, key: KeyUri): KeyUri {
  const both = key.scheme === 'pkcs11' && certificate?.scheme === 'pkcs11';
  if (!both || hasSecret(key) || !hasSecret(certificate)) return key;
  const isSame = (name: string): boolean =>
    Buffer.compare(key.path.get(name) ?? Buffer.alloc(0), certificate.path.get(name) ?? Buffer.alloc(0)) === 0;
  if (!TOKEN_ATTRIBUTES.every(isSame)) return key;
  return parseKeyUri(formatKeyUri({ ...key, query: [...key.query, ...secretAttributesOf(certificate)] }));
}

const hasSecret = (uri: KeyUri): boolean => secretAttributesOf(uri).length > 0;

/**
 * Where the secrets come from: passphrases from `--pkcs8-password`, else from what the key's URI names, else from the
 * terminal. Where the key is in a token or a TPM its URI is for the PIN, and the passphrase is that of a PKCS#12 file with the
 * certificates: neither is ever tried as the other.
 *
 * @returns undefined for what the URI names: the store reads that
 * @throws {HoldfastError} `ERR_URI_INVALID`
 */
export function secretFor(key: KeyUri, flags: Flags, signal: AbortSignal): SecretSource | undefined {
  const passphrase = flags.text('pkcs8-password');
  const ask = async (request: SecretRequest): Promise<SecretValue> =>
    (await import('./prompt.ts')).promptSecret(request, signal);
  if (!isHardware(key)) return passphrase ?? (hasSecret(key) ? undefined : askPerson(ask));
  const seconds = flags.integer('deadline');
  const deadline = seconds === undefined ? undefined : seconds * 1000;
  const named = secretOf(key, { allowCommands: flags.on('allow-pin-command'), signal, deadline });
  const pin = (key.scheme === 'pkcs11' ? undefined : tpmPassword(flags)) ?? named ?? askPerson(ask);
  const choose = async (request: SecretRequest): Promise<SecretValue> => {
    const source = request.kind === 'PIN' ? pin : (passphrase ?? ask);
    const secret = await (typeof source === 'function' ? source(request) : source);
    if (request.kind === 'PIN') signal.dispatchEvent(new Event(LOGIN));
    return secret;
  };
  return asksPerson(pin) ? askPerson(choose) : Object.assign(choose, { origin: pin.origin });
}

const isHardware = ({ scheme }: KeyUri): boolean => ['pkcs11', 'tpm', 'handle'].includes(scheme);

/** What the flags say of a TPM key's authValue; an empty one is none. */
const tpmPassword = (flags: Flags): SecretFunction | undefined => {
  const password = flags.on('no-tpm-key-password') ? '' : flags.text('tpm-key-password');
  return password === undefined ? undefined : () => password;
};

/** What a command that ends soon has no use for: if the module hangs or crashes, nothing else is lost. */
export const ONE_SHOT: Pick<OpenOptions, 'isolation'> = { isolation: 'in-place' };

/** How a key or its certificates are reached, as the flags of every command have it. */
export function keyOptions(key: KeyUri, { flags, output, signal }: Context, purpose?: string): OpenOptions {
  const seconds = flags.integer('deadline');
  return {
    ...ONE_SHOT,
    strictFiles: flags.on('strict-files'),
    allowCommands: flags.on('allow-pin-command'),
    deadline: seconds === undefined ? undefined : seconds * 1000,
    secret: secretFor(key, flags, signal),
    notify: ({ kind, message, hint }) => output.tell(kind, message, hint),
    purpose,
    signal,
  };
}
