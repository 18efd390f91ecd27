import { read } from '../../der.ts';
import { HoldfastError } from '../../errors.ts';
import { shapeOf, tagsOf } from './identify.ts';

/** What something is that is no private key we read. */
interface Finding {
  /** As it follows `the key file PATH is`. */
  readonly what: string;
  readonly hint: string;
  /** It does hold a private key, in a form or of a kind that is not read: `ERR_KEY_UNSUPPORTED`. */
  readonly key?: true;
}

const CERTIFICATE: Finding = {
  what: 'a certificate, not a private key',
  hint: 'give it as the certificate, and name the file of its private key here',
};
const REQUEST: Finding = {
  what: 'a certificate request (CSR)',
  hint: 'name the file of the private key it was made with',
};
const CRL: Finding = { what: 'a certificate revocation list (CRL)', hint: 'name the file of the private key' };
const PUBLIC: Finding = { what: 'a public key', hint: 'name the file of its private key' };
const BUNDLE: Finding = {
  what: 'a PKCS#7 bundle, which holds no private key',
  hint: 'name the file of the private key',
};
const PARAMETERS: Finding = { what: 'a set of key parameters without a key', hint: 'name the file of the private key' };
const DSA: Finding = { what: 'a DSA private key', hint: 'use an RSA or ECDSA key', key: true };
const PKCS12: Finding = {
  what: 'a PKCS#12 file written as PEM',
  hint: 'decode the Base64 between its BEGIN and END lines',
  key: true,
};
const TPM: Finding = { what: 'a key that only its TPM can use (TSS2)', hint: 'use it with tpm:file=FILE', key: true };
const OPENSSH: Finding = {
  what: 'a private key in the format of OpenSSH',
  hint: 'convert a copy of it (this rewrites FILE): ssh-keygen -p -m PKCS8 -f FILE',
  key: true,
};
const OPENSSH_PUBLIC: Finding = {
  what: 'a public key of OpenSSH',
  hint: 'name the file without .pub, converted to PKCS#8',
};
const PUTTY: Finding = {
  what: 'a private key in the format of PuTTY',
  hint: 'convert it: puttygen FILE -O private-openssh -o KEY.pem',
  key: true,
};
const KEYSTORE: Finding = {
  what: 'a Java keystore',
  hint: 'convert it: keytool -importkeystore -srckeystore FILE -destkeystore KEY.p12 -deststoretype PKCS12',
  key: true,
};
const PGP: Finding = { what: 'an OpenPGP file', hint: 'name a key file in PEM or DER' };
const OTHER: Finding = { what: 'PEM, but holds no private key', hint: 'name the file of the private key' };
const ARCHIVE: Finding = { what: 'an archive', hint: 'unpack it and name the key file in it' };

/** By PEM label. Those of keys that are read are in `identify.ts` alone. */
const LABELS: ReadonlyMap<string, Finding> = new Map([
  ['CERTIFICATE', CERTIFICATE],
  ['X509 CERTIFICATE', CERTIFICATE],
  ['TRUSTED CERTIFICATE', CERTIFICATE],
  ['CERTIFICATE REQUEST', REQUEST],
  ['NEW CERTIFICATE REQUEST', REQUEST],
  ['X509 CRL', CRL],
  ['PUBLIC KEY', PUBLIC],
  ['RSA PUBLIC KEY', PUBLIC],
  ['PKCS12', PKCS12],
  ['PKCS7', BUNDLE],
  ['CMS', BUNDLE],
  ['EC PARAMETERS', PARAMETERS],
  ['DSA PARAMETERS', PARAMETERS],
  ['DH PARAMETERS', PARAMETERS],
  ['X9.42 DH PARAMETERS', PARAMETERS],
  ['DSA PRIVATE KEY', DSA],
  ['OPENSSH PRIVATE KEY', OPENSSH],
  ['TSS2 PRIVATE KEY', TPM],
  ['PGP PRIVATE KEY BLOCK', PGP],
  ['PGP PUBLIC KEY BLOCK', PGP],
  ['PGP MESSAGE', PGP],
]);

const OTHER_SHAPES: readonly (readonly [RegExp, Finding])[] = [
  [/^30 30 03$/, CERTIFICATE],
  [/^30 03$/, PUBLIC],
  [/^02 02$/, PUBLIC],
  [/^06 a0$/, BUNDLE],
  [/^06 .*04 04$/, TPM],
  [/^(02 ){5}02$/, DSA],
  [/^02 02 02$/, PARAMETERS],
];

/** The error for PEM without a private key; `blocks` has at least one. */
export const notInPem = (blocks: readonly { label: string }[], name: string): HoldfastError =>
  refusal(blocks.map(({ label }) => LABELS.get(label)).find((found) => found !== undefined) ?? OTHER, name);

/** The error for a PEM block labelled as a key whose label says that it is not read; undefined when it is. */
export function notByLabel(label: string, name: string): HoldfastError | undefined {
  const found = LABELS.get(label);
  return found && refusal(found, name);
}

/** The error for DER that is no key that is read. */
export const notInDer = (der: Uint8Array, name: string): HoldfastError => refusal(identifyDer(der), name);

/** The error for data that is neither PEM nor DER. */
export const notAtAll = (data: Uint8Array, name: string): HoldfastError =>
  refusal(identifyOther(Buffer.from(data)), name);

const refusal = ({ what, hint, key }: Finding, name: string): HoldfastError =>
  new HoldfastError(key ? 'ERR_KEY_UNSUPPORTED' : 'ERR_KEY_INVALID', `the ${name} is ${what}`, { hint });

function identifyDer(der: Uint8Array): Finding {
  const shape = shapeOf(der);
  const found = OTHER_SHAPES.find(([pattern]) => pattern.test(shape))?.[1];
  if (found !== CERTIFICATE) return found ?? { what: 'DER, but no private key or a damaged one', hint: OTHER.hint };
  // Something signed: what was signed tells a request (RFC 2986 §4.1) and a CRL (RFC 5280 §5.1) from a certificate.
  const signed = tagsOf(read(read(der)?.value ?? der)?.value ?? der);
  if (signed === '02 30 30 a0') return REQUEST;
  return /^(02 )?30 30 1[78]/.test(signed) ? CRL : CERTIFICATE;
}

const TEXTS: readonly (readonly [RegExp, Finding])[] = [
  [/^PuTTY-User-Key-File-/, PUTTY],
  [/^(ssh-|ecdsa-sha2-|sk-)\S+ AAAA/, OPENSSH_PUBLIC],
  [/^---- BEGIN SSH2 PUBLIC KEY/, OPENSSH_PUBLIC],
  [/^---- BEGIN SSH2 ENCRYPTED PRIVATE KEY/, OPENSSH],
  [/^[{[]/, { what: 'JSON', hint: 'name a key file in PEM or DER; convert a JSON Web Key to PKCS#8' }],
  [/^<(!doctype )?html/i, { what: 'a web page (HTML)', hint: 'download the key file itself' }],
  [/^</, { what: 'XML', hint: 'name a key file in PEM or DER' }],
  [
    /^M[A-Za-z0-9+/\s]{40,}={0,2}$/, // of trimmed text
    {
      what: 'Base64 without the lines around it',
      hint: 'put -----BEGIN PRIVATE KEY----- before it and -----END PRIVATE KEY----- after it',
    },
  ],
  [/-- ?BEGIN /, { what: 'damaged PEM: its BEGIN line is misspelt', hint: 'copy the file again' }],
  [/-----END /, { what: 'damaged PEM: its BEGIN line is missing', hint: 'copy the file again' }],
];

/** First octets, in hex. */
const MAGIC: readonly (readonly [RegExp, Finding])[] = [
  [/^(fffe|feff)/, { what: 'text in UTF-16', hint: 'save it as UTF-8 or ASCII' }],
  [/^2d002d00|^002d002d/, { what: 'text in UTF-16', hint: 'save it as UTF-8 or ASCII' }],
  [/^(feedfeed|cececece)/, KEYSTORE],
  [/^(504b0304|1f8b)/, ARCHIVE],
  [
    /^53514c69746520666f726d61742033/,
    { what: 'a database (SQLite; NSS keeps keys so)', hint: 'export the key from it first' },
  ],
  [/^.{16}4b425866|^(9[4-9]|c[56])0[0-7]/, PGP],
  [
    /^308/,
    { what: 'damaged or cut off: its DER does not end where it says', hint: 'copy the file again, in binary mode' },
  ],
];

function identifyOther(data: Buffer): Finding {
  const head = data.subarray(0, 16).toString('hex');
  const magic = MAGIC.find(([pattern]) => pattern.test(head))?.[1];
  if (magic) return magic;
  if (data.subarray(0, 4096).some((octet) => octet < 0x20 && !/\s/.test(String.fromCharCode(octet)))) {
    return { what: 'binary, and no key that holdfast knows', hint: 'name a key file in PEM or DER' };
  }
  const text = data.toString('latin1').trim();
  const found = TEXTS.find(([pattern]) => pattern.test(text))?.[1];
  return found ?? { what: 'text without a private key', hint: 'name a key file in PEM or DER' };
}
