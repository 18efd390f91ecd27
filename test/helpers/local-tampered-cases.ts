import { ecdsaSignatureFromDer, ecdsaSignatureToDer } from '../../src/der.ts';
// What an attacker, a proxy or a careless client might do to a signed request: one change each, beside the answer.
import {
  ANCHOR_ARN,
  ARNS,
  identity,
  impostor,
  middleCertificate,
  OTHER_ROLE_ARN,
  other,
  PROFILE_ARN,
  plan,
  ROLE_ARN,
  RSA,
  rootCertificate,
  SOUND,
} from './local-setup.ts';
import {
  add,
  type Change,
  certificates,
  drop,
  flipped,
  inBody,
  inLine,
  inStart,
  repeat,
  set,
  signature,
} from './tampering.ts';
import { type Plan, signRequest } from './x509-request.ts';

export interface Tampered {
  readonly name: string;
  readonly change: Change;
  /** How the request is made before. Default: for a leaf straight below the anchor, without a chain. */
  readonly plan: Partial<Plan> | undefined;
  readonly status: number;
  /** Empty where HTTP itself refuses. */
  readonly text: string;
  /** Only the check of the signature tells: without it the service accepts the request. */
  readonly isSignatureOnly: boolean;
}

const INVALID = 'Invalid signature';
const INSUFFICIENT = 'Untrusted certificate. Insufficient certificate';
const UNTRUSTED = 'Untrusted signing certificate';

type Row = readonly [name: string, change: Change, plan?: Partial<Plan>];
const as =
  (status: number, text: string, isSignatureOnly = false) =>
  ([name, change, plan]: Row): Tampered => ({ name, change, plan, status, text, isSignatureOnly });

const nothingAt = (member: string): string =>
  `1 validation error detected: Value null at '${member}' failed to satisfy constraint: Member must not be null`;

const inQuery: Partial<Plan> = { query: Object.entries(ARNS), body: { durationSeconds: 900 } };
const rsa: Partial<Plan> = { identity: RSA };
/** Of this chain the first certificate is needed. */
const chained: Partial<Plan> = { identity: { ...SOUND, chain: [middleCertificate, impostor] } };

const inNames = (from: string, to: string): Change =>
  inLine('Authorization', /SignedHeaders=[^,]+/, (names) => {
    if (!names.includes(from)) throw new Error(`${from} is not signed`);
    return names.replace(from, to);
  });
const withoutName = (name: string): Change =>
  inLine('Authorization', /SignedHeaders=[^,]+/, (list) => {
    const names = list.slice('SignedHeaders='.length).split(';');
    return `SignedHeaders=${names.filter((one) => one !== name).join(';')}`;
  });

/** Base64 of a leaf that differs from the one that signed in what is given. */
const leafWith = (change: Parameters<typeof identity>[0]): string =>
  Buffer.from(identity(change).certificate).toString('base64');

const authorizationOf = (more: Partial<Plan>): string =>
  signRequest(plan(more)).headers.find(([name]) => name === 'Authorization')?.[1] ?? '';

/** r and s the other way round. */
function exchanged(der: Buffer): Uint8Array {
  const raw = ecdsaSignatureFromDer(der, 32) as Uint8Array;
  return ecdsaSignatureToDer(Buffer.concat([raw.subarray(32), raw.subarray(0, 32)]));
}

/** The length of the SEQUENCE in two octets where one is enough: BER, but not DER (X.690 §10.1). */
const longLength = (der: Buffer): Buffer => Buffer.concat([Buffer.of(0x30, 0x81), der.subarray(1)]);

/** What leaves all in order but the signature. */
const SIGNATURE_ONLY: readonly Row[] = [
  // The body
  ['a second more', inBody('900', '901')],
  ['a space behind the body', inBody(/$/, ' ')],
  ['a space within the body', inBody(':900', ': 900')],
  ['a byte order mark before the body', inBody(/^/, '\xef\xbb\xbf')],
  ['a member that nobody asked for', inBody('{', '{"x":1,')],
  ['a letter of a member name', inBody('durationSeconds', 'durationSecondz')],
  ['a letter written as an escape', inBody('"roleArn"', '"\\u0072oleArn"')],
  ['members in another order', inBody(/^\{("trustAnchorArn":"[^"]+"),(.*)\}$/, '{$2,$1}')],
  // The query
  ['a query where there was none', inStart('/sessions', '/sessions?x=1')],
  ['a query that the body outweighs', inStart('/sessions', `/sessions?roleArn=${ROLE_ARN}`)],
  ['one parameter more', inStart('?', '?a=1&'), inQuery],
  ['one parameter twice', inStart(/(roleArn=[^& ]+)/, '$1&$1'), inQuery],
  // Headers that were signed
  ['another port', set('Host', '127.0.0.1:4712')],
  ['another host', set('Host', 'localhost:4711')],
  ['no port', set('Host', '127.0.0.1')],
  ['a second later', inLine('X-Amz-Date', '00Z', '01Z')],
  ['another content type', set('Content-Type', 'text/plain')],
  ['a character set', inLine('Content-Type', /$/, '; charset=utf-8')],
  ['the content type in other letters', set('Content-Type', 'Application/JSON')],
  ['no content type', drop('Content-Type')],
  ['the content type twice', repeat('Content-Type')],
  ['the second attempt', inLine('Amz-Sdk-Request', 'attempt=1', 'attempt=2')],
  ['a space less in a value', inLine('Amz-Sdk-Request', '; max', ';max')],
  ['no attempt', drop('Amz-Sdk-Request')],
  ['the attempt twice', repeat('Amz-Sdk-Request')],
  [
    'the same name and serial on another key',
    set('X-Amz-X509', leafWith({ leaf: { publicKey: other.publicKey } })),
    chained,
  ],
  [
    'another certificate on the same key and serial',
    set('X-Amz-X509', leafWith({ leaf: { subject: 'web-02' } })),
    chained,
  ],
  ['the chain in another order', certificates('X-Amz-X509-Chain', (ders) => ders.toReversed()), chained],
  ['one certificate less in the chain', certificates('X-Amz-X509-Chain', ([first]) => [first as Buffer]), chained],
  [
    'one certificate more in the chain',
    certificates('X-Amz-X509-Chain', (ders) => [...ders, rootCertificate]),
    chained,
  ],
  ['the chain twice', repeat('X-Amz-X509-Chain'), chained],
  // The list of signed headers
  ['an optional header struck off the list', withoutName('amz-sdk-request')],
  ['a header that came put on the list', inNames('host;', 'host;user-agent;')],
  ['Content-Length put on the list', inNames('content-type;', 'content-length;content-type;')],
  ['a header that did not come put on the list', inNames('host;', 'host;range;')],
  // The signature
  ['the signature: its last bit', signature((bytes) => flipped(bytes))],
  ['the signature: a bit of r', signature((bytes) => flipped(bytes, 40))],
  ['the signature: its tag', signature((bytes) => Buffer.concat([Buffer.of(0x31), bytes.subarray(1)]))],
  ['the signature: an octet less', signature((bytes) => bytes.subarray(0, -1))],
  ['the signature: an octet more', signature((bytes) => Buffer.concat([bytes, Buffer.of(0)]))],
  ['the signature: zeros', signature((bytes) => Buffer.alloc(bytes.length))],
  ['the signature: r and s are 0', signature(() => Buffer.from('3006020100020100', 'hex'))],
  ['the signature: r and s exchanged', signature((bytes) => exchanged(bytes))],
  ['the signature: a length in two octets', signature((bytes) => longLength(bytes))],
  ['the signature of another request', set('Authorization', authorizationOf({ body: {} }))],
  ['RSA: a bit', signature((bytes) => flipped(bytes, 100)), rsa],
  ['RSA: a leading zero', signature((bytes) => Buffer.concat([Buffer.of(0), bytes])), rsa],
  ['RSA: an octet less', signature((bytes) => bytes.subarray(1)), rsa],
];

/** What breaks another rule of the signature, most of them before it is verified. */
const INVALID_BESIDES: readonly Row[] = [
  // Required headers
  ['the next day', inLine('X-Amz-Date', '20260615', '20260616')],
  ['half an hour later', inLine('X-Amz-Date', 'T120000Z', 'T123000Z')],
  ['a date in lower case', inLine('X-Amz-Date', 'T120000Z', 't120000z')],
  ['a date with a fraction', inLine('X-Amz-Date', '00Z', '00.0Z')],
  ['no date', drop('X-Amz-Date')],
  ['the date twice', repeat('X-Amz-Date')],
  ['another serial number', set('X-Amz-X509', leafWith({ leaf: { serial: '0a1b2d' } })), chained],
  ['a session name that came on the way', inBody('{', '{"roleSessionName":"web",')],
  // The list of signed headers
  ...['content-type', 'host', 'x-amz-date', 'x-amz-x509'].map(
    (name): Row => [`${name} struck off the list`, withoutName(name)],
  ),
  ['x-amz-x509-chain struck off the list', withoutName('x-amz-x509-chain'), chained],
  ['a chain that is not on the list', add(`X-Amz-X509-Chain: ${middleCertificate.toString('base64')}`)],
  ['two names exchanged', inNames('content-type;host', 'host;content-type')],
  ['a name twice', inNames('host;', 'host;host;')],
  ['a name in upper case', inNames('host', 'Host')],
  ['commas in the list', inNames(';', ',')],
  ['an empty name in the list', inNames(';', ';;')],
  ['an end to the list', inNames('x-amz-x509', 'x-amz-x509;')],
  ['an empty list', inLine('Authorization', /SignedHeaders=[^,]+/, 'SignedHeaders=')],
  // Algorithm, credential, scope
  ['the RSA algorithm', inLine('Authorization', 'ECDSA', 'RSA')],
  ['the EC algorithm over RSA', inLine('Authorization', 'RSA', 'ECDSA'), rsa],
  ['the algorithm of ML-DSA', inLine('Authorization', 'ECDSA-SHA256', 'MLDSA')],
  ['the algorithm of secret keys', inLine('Authorization', 'AWS4-X509-ECDSA-SHA256', 'AWS4-HMAC-SHA256')],
  ['another hash', inLine('Authorization', 'SHA256', 'SHA384')],
  ['the algorithm in lower case', inLine('Authorization', 'ECDSA-SHA256', 'ecdsa-sha256')],
  ['the serial number plus one', inLine('Authorization', '662316', '662317')],
  ['the serial number in hex', inLine('Authorization', '662316', '0a1b2c')],
  ['a zero before the serial number', inLine('Authorization', '662316', '0662316')],
  ['a minus before the serial number', inLine('Authorization', '662316', '-662316')],
  ['no serial number', inLine('Authorization', '662316', '')],
  ['the day before', inLine('Authorization', '20260615', '20260614')],
  ['another region', inLine('Authorization', 'us-east-1', 'us-east-2')],
  ['another service', inLine('Authorization', '/rolesanywhere/', '/sts/')],
  ['another end of the scope', inLine('Authorization', 'aws4_request', 'aws4_requests')],
  ['a part less in the scope', inLine('Authorization', '/us-east-1', '')],
  ['a part more in the scope', inLine('Authorization', 'aws4_request', 'aws4_request/x')],
  // The header around it
  ['no Authorization', drop('Authorization')],
  ['Authorization twice', repeat('Authorization')],
  ['a second Authorization', repeat('Authorization', 'Bearer x')],
  ['no signature', inLine('Authorization', /, Signature=.*/, '')],
  ['an empty signature', inLine('Authorization', /[0-9a-f]+$/, '')],
  ['the signature in upper case', inLine('Authorization', /[0-9a-f]+$/, (hex) => hex.toUpperCase())],
  ['half an octet more', inLine('Authorization', /$/, '0')],
  ['something behind the signature', inLine('Authorization', /$/, ', x=1')],
  ['no spaces behind the commas', inLine('Authorization', /, /g, ',')],
  ['the parts in another order', inLine('Authorization', /(Credential=.*), (SignedHeaders=.*), /, '$2, $1, ')],
];

const OTHERS: readonly Tampered[] = [
  ...(
    [
      ['no leaf', drop('X-Amz-X509')],
      ['the leaf twice', repeat('X-Amz-X509')],
      ['a leaf with a space in it', inLine('X-Amz-X509', /.{8}$/, (end) => ` ${end}`)],
      ['a leaf in the alphabet of URLs', inLine('X-Amz-X509', /[+/]/g, (mark) => (mark === '+' ? '-' : '_'))],
      ['a leaf cut short', certificates('X-Amz-X509', ([leaf]) => [(leaf as Buffer).subarray(0, -1)])],
      [
        'an octet behind the leaf',
        certificates('X-Amz-X509', ([leaf]) => [Buffer.concat([leaf as Buffer, Buffer.of(0)])]),
      ],
      ['the leaf and its issuer', certificates('X-Amz-X509', ([leaf]) => [leaf as Buffer, middleCertificate])],
      ['the intermediate as leaf', certificates('X-Amz-X509', () => [middleCertificate])],
    ] as const
  ).map(as(403, INSUFFICIENT)),
  ...(
    [
      ['a bit of the signature on the leaf', certificates('X-Amz-X509', ([leaf]) => [flipped(leaf as Buffer)])],
      ['no chain', drop('X-Amz-X509-Chain'), chained],
      ['an empty chain', set('X-Amz-X509-Chain', ''), chained],
      ['a stranger in place of the issuer', certificates('X-Amz-X509-Chain', () => [impostor, impostor]), chained],
      ['a space in the chain', inLine('X-Amz-X509-Chain', ',', ', '), chained],
      ['a comma behind the chain', inLine('X-Amz-X509-Chain', /$/, ','), chained],
      ['six in the chain', certificates('X-Amz-X509-Chain', (ders) => [...ders, ...ders, ...ders]), chained],
      [
        'a chain cut short',
        certificates('X-Amz-X509-Chain', ([first]) => [(first as Buffer).subarray(0, -1)]),
        chained,
      ],
      [
        'a bit of the signature on the issuer',
        certificates('X-Amz-X509-Chain', ([first]) => [flipped(first as Buffer)]),
        chained,
      ],
    ] as const
  ).map(as(403, UNTRUSTED)),
  ...(
    [
      ['a letter less in the body', inBody(/.$/, '')],
      ['something behind the body', inBody(/$/, 'x')],
      ['half a character in the body', inBody('web', '\xffweb')],
    ] as const
  ).map(as(400, 'The request body is not a JSON object.')),
  as(
    403,
    "Requested Role isn't one of those listed in the Profile.",
  )(['another role', inBody(ROLE_ARN, OTHER_ROLE_ARN)]),
  as(
    403,
    "Requested Role isn't one of those listed in the Profile.",
  )(['another role in the query', inStart(encodeURIComponent(ROLE_ARN), encodeURIComponent(OTHER_ROLE_ARN)), inQuery]),
  as(403, "Specified Trust Anchor wasn't found.")(['another anchor', inBody(ANCHOR_ARN, `${ANCHOR_ARN}1`)]),
  as(403, 'Invalid or empty profile provided.')(['another profile', inBody(PROFILE_ARN, `${PROFILE_ARN}1`)]),
  as(400, nothingAt('profileArn'))(['no body', inBody(/^.*$/, '')]),
  as(400, nothingAt('roleArn'))(['a parameter less', inStart(/roleArn=[^& ]+&/, ''), inQuery]),
  as(400, nothingAt('roleArn'))(['a parameter in other letters', inStart('roleArn', 'RoleArn'), inQuery]),
  as(400, 'The query string is not percent-encoded.')(['a percent sign alone', inStart('?', '?%&'), inQuery]),
  as(
    400,
    "1 validation error detected: Value '90' at 'durationSeconds' failed to satisfy constraint: Member must have value greater than or equal to 900",
  )(['a tenth of the duration', inBody('900', '90')]),
  ...['/sessions/', '//sessions', '/Sessions', '/%73essions', '/v1/../sessions', '/sessions;x'].map((path) =>
    as(404, 'There is no such operation.')([`the path ${path}`, inStart('/sessions', path)]),
  ),
  ...['GET', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'].map((method) =>
    as(405, 'There is no such operation.')([`the method ${method}`, inStart('POST', method)]),
  ),
  ...(
    [
      ['no host', drop('Host')],
      ['a method that HTTP does not know', inStart('POST', 'POSTS')],
      ['the method in lower case', inStart('POST', 'post')],
      ['a header folded over two lines', inLine('X-Amz-X509', ': ', ':\r\n ')],
      ['a space before the colon', inLine('X-Amz-Date', ':', ' :')],
      ['a control character', inLine('User-Agent', 'test', 'te\x01st')],
      ['two lengths', repeat('Content-Length', '1')],
      ['a length one less', inLine('Content-Length', /\d+/, (length) => String(Number(length) - 1))],
      ['a length and chunks', add('Transfer-Encoding: chunked')],
    ] as const
  ).map(as(400, '')),
];

export const TAMPERED: readonly Tampered[] = [
  ...SIGNATURE_ONLY.map(as(403, INVALID, true)),
  ...INVALID_BESIDES.map(as(403, INVALID)),
  ...OTHERS,
];
