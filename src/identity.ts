import { type Certificate, checkLeaf, parseCertificate, readCertificates } from './certificate.ts';
import { buildChain, preference } from './chain.ts';
import { HoldfastError, messageOf } from './errors.ts';
import { orAborted, within } from './limits.ts';
import { checkOptions, timeOf } from './option-types.ts';
import { printable } from './read-file.ts';
import type { HashName, Signer } from './signer.ts';
import { openKey, storeOf } from './stores/index.ts';
import type { OpenKey, OpenOptions } from './stores/store.ts';
import { type KeyUri, parseKeyUri } from './uri.ts';

/** A signer of the caller's. What an open key knows besides is used where it is there. */
export type CallerSigner = Signer & Partial<Pick<OpenKey, 'publicKey' | 'certificates' | 'attended' | 'description'>>;

export interface IdentityOptions extends OpenOptions {
  /** A key URI (`pkcs11:...`, `file:...`, `env:...`, `fd:...`), a path, or `-`. Default: the value of `certificate`. */
  key?: string | KeyUri | undefined;
  /** A signer of yours instead of a key URI. It stays yours to close. Default: none. */
  signer?: CallerSigner | undefined;
  /** Path, key URI, PEM text, or PEM or DER bytes; further certificates count as chain. Default: those kept beside the key. */
  certificate?: string | Uint8Array | KeyUri | undefined;
  /** Path, key URI, PEM text, or PEM or DER bytes: intermediates in any order. Default: none. */
  chain?: string | Uint8Array | KeyUri | undefined;
  /** Default: the system's clock. */
  now?: (() => Date) | undefined;
}

/** Who we are: a certificate, how it chains up, and the key that proves it is ours. */
export interface Identity {
  readonly certificate: Certificate;
  /** Intermediates, closest to the leaf first, without leaf and root; at most five. */
  readonly chain: readonly Certificate[];
  readonly signer: Signer;
  /** True when the key's public half was compared with the certificate. */
  readonly matched: boolean;
  /** True when each signature costs a person something. */
  readonly attended: boolean;
  /** One line that names the key to a person. */
  readonly description: string;
}

/**
 * Open the key, use it, close it, even when `use` throws. What can be wrong with files and certificates is found before
 * the key is touched.
 *
 * @throws {HoldfastError} `ERR_OPTION_INVALID`, `ERR_FILE_*`, `ERR_CERTIFICATE_*`, and what the store throws
 */
export async function withIdentity<T>(init: IdentityOptions, use: (identity: Identity) => Promise<T>): Promise<T> {
  const options = sayingOnce(withUris(checkOptions(init)));
  const now = timeOf(options);
  const keyUri = keyUriOf(options);
  // What is named as both is opened once, as the key: PKCS#12 wants its passphrase for either.
  const beside = keyUri !== undefined && isUri(options.certificate) && String(keyUri) === String(options.certificate);
  const given = beside ? [] : await certificatesOf(options.certificate, 'certificate', options);
  const pool = await certificatesOf(options.chain, 'chain', options);
  if (given.length > 0) checkAny(given, now);
  const opened = keyUri && (await openKey(keyUri, options));
  try {
    const source = opened ?? (options.signer as CallerSigner);
    const kept = readable(source, given.length === 0);
    const { certificate, matched } = choose(given.length > 0 ? given : kept, source, now);
    checkLeaf(certificate, now);
    return await use({
      certificate,
      chain: buildChain(certificate, [...given, ...pool, ...kept], now),
      signer: opened ?? bound(source, options),
      matched,
      attended: source.attended ?? false,
      description: source.description ?? CALLERS,
    });
  } finally {
    await opened?.close().catch((thrown: unknown) => {
      const message = `${opened.description} was not closed properly: ${messageOf(thrown)}`;
      options.notify?.({ kind: 'warning', message }); // what was done with the key stays done
    });
  }
}

const CALLERS = 'a signer of the caller';

/** A signer of the caller's knows nothing of our limits. */
const bound = (signer: CallerSigner, limits: OpenOptions): Signer => ({
  sign: (message, hash) =>
    within(limits, `the signature of ${signer.description ?? CALLERS}`, (signal) =>
      orAborted(signatureOf(signer, message, hash), signal),
    ),
});

async function signatureOf(signer: CallerSigner, message: Uint8Array, hash: HashName | undefined): Promise<Uint8Array> {
  try {
    return await signer.sign(message, hash);
  } catch (cause) {
    if (cause instanceof HoldfastError) throw cause;
    throw new HoldfastError(
      'ERR_SIGNING_FAILED',
      `${signer.description ?? CALLERS} did not sign: ${messageOf(cause)}`,
      {
        hint: 'look at the cause: that is what its function "sign" threw',
        cause,
      },
    );
  }
}

/**
 * The same options, with their paths and key URIs parsed. What came out of a pipe is kept as long as its parsed URI is:
 * whoever goes through options again holds on to these.
 *
 * @throws {HoldfastError} `ERR_URI_INVALID`
 */
export function withUris<T extends IdentityOptions>(options: T): T {
  const parsed = <Option>(option: Option): Option | KeyUri =>
    typeof option === 'string' && !isPem(option) ? parseKeyUri(option) : option;
  const { key, certificate, chain } = options;
  return {
    ...options,
    key: typeof key === 'string' ? parseKeyUri(key) : key,
    certificate: parsed(certificate),
    chain: parsed(chain),
  };
}

/** What is wrong with the URIs of key and certificate alike is said once. */
function sayingOnce<T extends IdentityOptions>(options: T): T {
  const { notify } = options;
  if (!notify) return options;
  const said = new Set<string>();
  return {
    ...options,
    notify(notice) {
      if (notice.kind === 'warning' && said.has(notice.message)) return;
      said.add(notice.message);
      notify(notice);
    },
  };
}

const isUri = (option: string | Uint8Array | KeyUri | undefined): option is KeyUri =>
  typeof option === 'object' && !(option instanceof Uint8Array);

/** The key to open; undefined when the caller signs. */
function keyUriOf({ key, signer, certificate }: IdentityOptions): KeyUri | undefined {
  const refuse = (message: string, hint: string): never => {
    throw new HoldfastError('ERR_OPTION_INVALID', message, { hint });
  };
  if (signer) {
    if (key !== undefined) refuse('both a key and a signer are given', 'give one of them');
    if (typeof signer.sign !== 'function') refuse('the signer has no function "sign"', 'see docs/new-store.md');
    return undefined;
  }
  if (isUri(key)) return key;
  if (key === undefined && isUri(certificate)) return certificate;
  return refuse('no key is given', 'give a key URI, the path of a key file, or a signer');
}

const isPem = (text: string): boolean => text.includes('-----BEGIN ');

/** The certificates that an option names or holds. */
async function certificatesOf(
  option: string | Uint8Array | KeyUri | undefined,
  what: 'certificate' | 'chain',
  options: IdentityOptions,
): Promise<Certificate[]> {
  if (option === undefined) return [];
  if (!isUri(option)) return readCertificates(Buffer.from(option as string), `the ${what} given`);
  const store = await storeOf(option);
  const found = (await store.readCertificates?.(option, options)) ?? [];
  if (found.length > 0) return found.map((der) => parseCertificate(der, `the certificate of ${String(option)}`));
  throw new HoldfastError('ERR_CERTIFICATE_REQUIRED', `${String(option)} selects no certificate`, {
    hint: 'put the certificate beside the key, or give it as a file',
  });
}

/** What is kept beside the key. One that cannot be read harms nobody, unless there is nothing else and one is needed. */
function readable({ certificates, description }: CallerSigner, needed: boolean): Certificate[] {
  const ders = certificates ?? [];
  const kept = ders.flatMap((der) => {
    try {
      return [parseCertificate(der)];
    } catch {
      return [];
    }
  });
  const [first] = ders;
  return first && needed && kept.length === 0
    ? [parseCertificate(first, `the certificate beside ${description ?? 'the signer'}`)]
    : kept;
}

/** Refuse certificates of which none could be ours; the complaint is about the likeliest. */
function checkAny(given: readonly Certificate[], now: Date): void {
  const fits = given.some((certificate) => {
    try {
      checkLeaf(certificate, now);
      return true;
    } catch {
      return false;
    }
  });
  if (!fits) checkLeaf(given.find(({ isCa }) => !isCa) ?? (given[0] as Certificate), now);
}

/** The certificate of the key: by its public half where the key shows it, else the first that is no CA's. */
function choose(
  candidates: readonly Certificate[],
  { publicKey, description = 'the signer' }: CallerSigner,
  now: Date,
): { certificate: Certificate; matched: boolean } {
  const hint = 'give the certificate that was issued for this key';
  const first = candidates.find(({ isCa }) => !isCa) ?? candidates[0];
  if (!first) {
    const message = `no certificate is given and none is kept beside ${description}`;
    throw new HoldfastError('ERR_CERTIFICATE_REQUIRED', message, { hint });
  }
  const wanted = publicKey ?? first.publicKey;
  const [own] = candidates
    .filter((candidate) => Buffer.compare(candidate.publicKey, wanted) === 0)
    .sort((a, b) => preference(a, b, now));
  if (own) return { certificate: own, matched: Boolean(publicKey) };
  if (candidates.every(({ isCa }) => isCa)) {
    const message = `${description} has no certificate of this key beside it, only those of CAs`;
    throw new HoldfastError('ERR_CERTIFICATE_REQUIRED', message, { hint });
  }
  const message = `the certificate of ${printable(first.subject)} is not that of ${description}`;
  throw new HoldfastError('ERR_CERTIFICATE_MISMATCH', message, { hint });
}
