import { type Certificate, parseCertificate } from '../certificate.ts';
import { preference } from '../chain.ts';
import { HoldfastError } from '../errors.ts';
import { formatDate } from '../format-date.ts';
import type { IdentityOptions } from '../identity.ts';
import { secretAttributesOf } from '../pin-source.ts';
import { storeOf } from '../stores/index.ts';
import type { KeyStore, ListedCertificate, ListOptions } from '../stores/store.ts';
import { formatKeyUri, type KeyUri, parseKeyUri } from '../uri.ts';
import { readSelector } from './cert-selector.ts';
import type { Context } from './context.ts';
import { goName, namesOf } from './go-name.ts';

/** A certificate that may be meant. */
export interface Candidate {
  readonly certificate: Certificate;
  /** What selects just this one; undefined where its store does not tell. */
  readonly uri: KeyUri | undefined;
}

/**
 * The certificates in a file, or of a token as far as the URI says which. Logs in only where nothing is found, just one
 * token is meant, and its URI has the PIN.
 *
 * @throws {HoldfastError} what the store throws
 */
export async function candidatesAt(source: KeyUri, options: ListOptions): Promise<Candidate[]> {
  const store = await storeOf(source);
  if (store.list) return (await listed(store, source, options)).flatMap((one) => readable(one, options));
  const ders = (await store.readCertificates?.(source, options)) ?? [];
  return ders.map((der) => ({
    certificate: parseCertificate(der, `a certificate of ${String(source)}`),
    uri: undefined,
  }));
}

async function listed(store: KeyStore, source: KeyUri, options: ListOptions): Promise<ListedCertificate[]> {
  const look = async (login: boolean): Promise<ListedCertificate[]> => {
    const found = await store.list?.(withPath(source, [...source.path, ['type', CERT]]), { ...options, login });
    return (found ?? []).filter((one) => one.kind === 'certificate');
  };
  const shown = await look(false);
  if (shown.length > 0 || secretAttributesOf(source).length === 0) return shown;
  const around = (await store.list?.(nameless(source), options)) ?? [];
  const tokens = around.filter((one) => one.kind === 'token');
  return tokens.length === 1 && tokens[0]?.loginRequired ? look(true) : shown;
}

const CERT = Buffer.from('cert');

const withPath = (uri: KeyUri, path: Iterable<readonly [string, Uint8Array]>): KeyUri =>
  parseKeyUri(formatKeyUri({ ...uri, path: new Map(path) }));

/** What in a URI says which object of a token. */
const OBJECT_ATTRIBUTES = ['id', 'object', 'type'];

const nameless = (uri: KeyUri): KeyUri =>
  withPath(
    uri,
    [...uri.path].filter(([name]) => !OBJECT_ATTRIBUTES.includes(name)),
  );

/** One that nobody can read harms no other. */
function readable({ der, uri }: ListedCertificate, { notify }: ListOptions): Candidate[] {
  try {
    return [{ certificate: parseCertificate(der), uri: parseKeyUri(uri) }];
  } catch {
    notify?.({ kind: 'warning', message: `${uri} is no certificate that can be read, and is passed over` });
    return [];
  }
}

/**
 * What `--cert-selector` makes of the options: the certificate that it selects among those that `certificate` names (or
 * else `key`), the others as chain, and its key where the key's URI names only the token. Without a selector they stay
 * as they are.
 *
 * @throws {HoldfastError} `ERR_CERTIFICATE_REQUIRED` when none fits, `ERR_CERTIFICATE_AMBIGUOUS` when those of several
 *   keys do, and as {@link readSelector} and {@link candidatesAt} do
 */
export async function withSelected<T extends IdentityOptions>(options: T, context: Context): Promise<T> {
  const fits = await readSelector(context);
  if (!fits) return options;
  const key = uriOf(options.key);
  if (!key) return options;
  const named = uriOf(options.certificate);
  // What is named as both is one URI: what comes out of a pipe comes once.
  const source = named && String(named) !== String(key) ? named : isToken(key) && !named ? nameless(key) : key;
  const found = await candidatesAt(source, { ...options, secret: isToken(source) ? undefined : options.secret });
  const chosen = choose(found, fits, source, context);
  const others = found.filter((one) => one !== chosen).map(({ certificate }) => certificate.der);
  return {
    ...options,
    key: keyOf(chosen, key, options.certificate === undefined),
    certificate: chosen.certificate.der,
    chain: options.chain ?? (others.length > 0 ? pemOf(others) : undefined),
  };
}

const isToken = ({ scheme }: KeyUri): boolean => scheme === 'pkcs11';

const uriOf = (option: IdentityOptions['certificate']): KeyUri | undefined =>
  typeof option === 'string' ? parseKeyUri(option) : option instanceof Uint8Array ? undefined : option;

function choose(
  found: readonly Candidate[],
  fits: (one: Certificate) => boolean,
  source: KeyUri,
  context: Context,
): Candidate {
  const fitting = found.filter(({ certificate }) => fits(certificate));
  const leaves = fitting.filter(({ certificate }) => !certificate.isCa);
  const now = new Date();
  const [first, ...more] = (leaves.length > 0 ? leaves : fitting).toSorted((a, b) =>
    preference(a.certificate, b.certificate, now),
  );
  if (!first) {
    throw new HoldfastError(
      'ERR_CERTIFICATE_REQUIRED',
      `none of the ${found.length} certificates of ${String(source)} fits the certificate selector`,
      { hint: lines('there are', found) || 'there are none' },
    );
  }
  const isOther = ({ certificate }: Candidate): boolean =>
    Buffer.compare(certificate.publicKey, first.certificate.publicKey) !== 0;
  if (context.flags.on('use-latest-expiring-certificate') || !more.some(isOther)) return first;
  throw new HoldfastError(
    'ERR_CERTIFICATE_AMBIGUOUS',
    `${1 + more.length} certificates of several keys fit the certificate selector`,
    { hint: lines('add the x509Serial of one, or --use-latest-expiring-certificate', [first, ...more]) },
  );
}

/** As many as a person reads. */
const MANY = 8;

/** In the words of a selector. */
const lines = (head: string, found: readonly Candidate[]): string =>
  found.length === 0
    ? ''
    : [
        `${head}:`,
        ...found.slice(0, MANY).map(({ certificate }) => {
          const { der, notAfter, serialNumber } = certificate;
          return `serial ${serialHex(serialNumber)}, until ${formatDate(notAfter)}: ${goName(namesOf(der).subject)}`;
        }),
        ...(found.length > MANY ? [`and ${found.length - MANY} more`] : []),
      ].join('\n');

/** As Go prints it: upper case, nothing in front. */
export const serialHex = (decimal: string): string => BigInt(decimal).toString(16).toUpperCase();

/** The key of a token that is named without its object has the identifier of its certificate. */
function keyOf({ uri }: Candidate, key: KeyUri, isSource: boolean): KeyUri {
  if (!uri || !isToken(key) || key.path.has('id') || key.path.has('object')) return key;
  const named = [...uri.path].filter(([name]) => name === (uri.path.has('id') ? 'id' : 'object'));
  const token = [...(isSource ? uri : key).path].filter(([name]) => !OBJECT_ATTRIBUTES.includes(name));
  return withPath(key, [...token, ...named]);
}

const pemOf = (ders: readonly Uint8Array[]): string =>
  ders
    .map((der) => {
      const text =
        Buffer.from(der)
          .toString('base64')
          .match(/.{1,64}/g)
          ?.join('\n') ?? '';
      return `-----BEGIN CERTIFICATE-----\n${text}\n-----END CERTIFICATE-----\n`;
    })
    .join('');
