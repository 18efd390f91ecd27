import { X509Certificate } from 'node:crypto';
import { HoldfastError } from './errors.ts';
import { printable, readBounded } from './read-file.ts';

/** Bytes of a CA bundle that are read; Debian's whole store has about 220 KB. */
const CA_BUNDLE_LIMIT = 4 * 1024 * 1024;

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]*(-----END CERTIFICATE-----)?/g;

/**
 * The PEM certificates that a TLS server's may chain up to: setting `ca` replaces every root, so the system's, those of
 * NODE_EXTRA_CA_CERTS and the bundle's are put together.
 *
 * @throws {HoldfastError} `ERR_FILE_*`, `ERR_INTERRUPTED`; `ERR_OPTION_INVALID` for a bundle without a certificate, or
 * with one that is damaged: TLS would skip it without a word
 */
export async function trustedRoots(caBundle: string, signal: AbortSignal | undefined): Promise<readonly string[]> {
  const read = async (path: string): Promise<string> =>
    (await readBounded(path, { limit: CA_BUNDLE_LIMIT, what: 'CA bundle', signal })).data.toString('utf8');
  const bundle = await read(caBundle);
  const blocks = bundle.match(PEM_CERTIFICATE) ?? [];
  const name = `the CA bundle ${printable(caBundle)}`;
  if (blocks.length === 0) {
    throw new HoldfastError('ERR_OPTION_INVALID', `${name} holds no PEM certificate`, {
      hint: 'name a file of PEM certificates',
    });
  }
  for (const [index, block] of blocks.entries()) checkRoot(block, `certificate ${index + 1} in ${name}`);
  const tls: typeof import('node:tls') & { getCACertificates?: (type: string) => string[] } = await import('node:tls');
  if (tls.getCACertificates) return [...tls.getCACertificates('default'), bundle];
  const extra = process.env.NODE_EXTRA_CA_CERTS;
  return [...tls.rootCertificates, ...(extra ? [await read(extra)] : []), bundle];
}

function checkRoot(pem: string, what: string): void {
  try {
    void new X509Certificate(pem);
  } catch (cause) {
    const hint = 'copy the whole block once more, from BEGIN CERTIFICATE to END CERTIFICATE';
    throw new HoldfastError('ERR_OPTION_INVALID', `${what} is damaged`, { hint, cause });
  }
}
