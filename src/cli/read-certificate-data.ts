import { createHash } from 'node:crypto';
import type { Certificate } from '../certificate.ts';
import { algorithmOf } from '../der.ts';
import { HoldfastError } from '../errors.ts';
import { parseKeyUri } from '../uri.ts';
import { readSelector } from './cert-selector.ts';
import type { Context } from './context.ts';
import { goName, namesOf } from './go-name.ts';
import { keyOptions, withModule } from './key-flags.ts';
import { type Candidate, candidatesAt, serialHex } from './select-certificate.ts';

/** A file's certificate as one line of JSON; those of a token, or those that a selector finds, as a list. */
export async function readCertificateData(context: Context): Promise<void> {
  const { flags, output, received } = context;
  const text = flags.text('certificate');
  if (text === undefined) {
    throw new HoldfastError('ERR_FLAG_MISSING', 'missing: --certificate', {
      hint: `name a file or a pkcs11: URI (certificate stores of the operating system are not supported yet); received ${received}`,
    });
  }
  const source = parseKeyUri(withModule(text, flags.text('pkcs11-lib')));
  const fits = await readSelector(context);
  const found = await candidatesAt(source, keyOptions(source, context, 'read certificates'));
  const fitting = fits ? found.filter(({ certificate }) => fits(certificate)) : found;
  const isOne = source.scheme !== 'pkcs11' && fits === undefined;
  const [first] = found;
  if (isOne && first) return output.result(JSON.stringify(dataOf(first.certificate)));
  if (flags.text('output') === 'json') return output.result(`${JSON.stringify(fitting.map(listed))}\n`);
  const list = fitting.map((one, index) => inWords(one, index + 1)).join('');
  return output.result(list === '' ? 'No matching identities\n' : `Matching identities\n${list}`);
}

/** By the hex of the key's algorithm; asked of the DER, since not every Node can read every key. */
const KEY_TYPES: Readonly<Record<string, string>> = {
  '2a864886f70d010101': 'RSA',
  '2a8648ce3d0201': 'EC',
  '608648016503040311': 'ML-DSA-44',
  '608648016503040312': 'ML-DSA-65',
  '608648016503040313': 'ML-DSA-87',
};

const HASHES = ['SHA256', 'SHA384', 'SHA512'];

function dataOf({ der, publicKey, serialNumber }: Certificate): object {
  const keyType = KEY_TYPES[algorithmOf(publicKey) ?? ''] ?? '';
  const isMlDsa = keyType.startsWith('ML-DSA');
  return {
    keyType,
    certificateData: Buffer.from(der).toString('base64'),
    serialNumber,
    supportedAlgorithms: isMlDsa ? [keyType] : keyType === '' ? [] : HASHES.map((hash) => `${keyType}${hash}`),
  };
}

function listed({ certificate, uri }: Candidate): object {
  const { der, serialNumber } = certificate;
  const { subject, issuer } = namesOf(der);
  return {
    fingerprint: createHash('sha1').update(der).digest('hex'),
    subject: goName(subject),
    issuer: goName(issuer),
    serialNumber: serialHex(serialNumber),
    uri: uri?.toString(),
  };
}

function inWords(one: Candidate, number: number): string {
  const { fingerprint, subject, issuer, serialNumber, uri } = listed(one) as Record<string, string | undefined>;
  const lines = [
    `${number}) Hex Fingerprint: ${fingerprint}`,
    `Subject: ${subject}`,
    `Issuer: ${issuer}`,
    `Serial Number: ${serialNumber}`,
    ...(uri === undefined ? [] : [`URI: ${uri}`]),
    '',
  ];
  // Names are text of anybody's making.
  return lines.map((line) => `${line.replace(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, ' ')}\n`).join('');
}
