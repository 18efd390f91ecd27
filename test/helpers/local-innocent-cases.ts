// What may happen to a signed request on its way, or be written so in the first place, without any harm.
import { ecdsaSignatureFromDer, ecdsaSignatureToDer } from '../../src/der.ts';
import { ARNS } from './local-setup.ts';
import { add, type Change, drop, inLine, inStart, set, signature } from './tampering.ts';
import type { Plan } from './x509-request.ts';

const inQuery: Partial<Plan> = { query: Object.entries(ARNS), body: { durationSeconds: 900 } };

/** The order of P-256 (SEC 2 §2.4.2). */
const ORDER = BigInt('0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551');

/** With n - s for s an ECDSA signature is as good: whoever sees one can make the other, and gains nothing. */
function otherS(der: Buffer): Uint8Array {
  const raw = Buffer.from(ecdsaSignatureFromDer(der, 32) as Uint8Array);
  const s = ORDER - BigInt(`0x${raw.toString('hex', 32)}`);
  raw.write(s.toString(16).padStart(64, '0'), 32, 'hex');
  return ecdsaSignatureToDer(raw);
}

const names =
  (change: (name: string) => string): Change =>
  (wire) => ({ ...wire, lines: wire.lines.map((line) => line.replace(/^[^:]+/, change)) });

const inChunks: Change = (wire) => {
  const chunk = (part: Buffer) => [Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from('\r\n')];
  const body = Buffer.concat([wire.body.subarray(0, 9), wire.body.subarray(9), Buffer.alloc(0)].flatMap(chunk));
  return { ...add('Transfer-Encoding: chunked')(drop('Content-Length')(wire)), body };
};

export interface Innocent {
  readonly name: string;
  readonly change: Change;
  readonly plan: Partial<Plan> | undefined;
}

const ROWS: readonly (readonly [name: string, change: Change, plan?: Partial<Plan>])[] = [
  ['header names in lower case', names((name) => name.toLowerCase())],
  ['header names in upper case', names((name) => name.toUpperCase())],
  ['headers in another order', (wire) => ({ ...wire, lines: wire.lines.toReversed() })],
  ['one header more', add('X-Forwarded-For: 192.0.2.1')],
  ['one header more of AWS, not signed', add('X-Amz-Security-Token: x')],
  ['an unsigned header, changed', set('User-Agent', 'other')],
  ['an unsigned header less', drop('User-Agent')],
  ['spaces around a value', set('Content-Type', '   application/json   ')],
  ['tabs around a value', set('Content-Type', '\tapplication/json\t')],
  ['no space before a value', inLine('X-Amz-Date', ': ', ':')],
  ['more spaces within a value', inLine('Amz-Sdk-Request', '; ', ';    ')],
  ['more spaces within Authorization', inLine('Authorization', /, /g, ',   ')],
  ['an empty query', inStart('/sessions', '/sessions?')],
  ['parameters in another order', inStart(/\?(.*)&(.*)&(.*) /, '?$3&$1&$2 '), inQuery],
  ['empty parameters', inStart('?', '?&&'), inQuery],
  ['percent encoding in lower case', inStart(/%3A/g, '%3a'), inQuery],
  ['a letter percent-encoded', inStart('roleArn', 'role%41rn'), inQuery],
  ['a colon not percent-encoded', inStart('%3A', ':'), inQuery],
  ['the body in chunks', inChunks],
  ['HTTP/1.0', inStart('HTTP/1.1', 'HTTP/1.0')],
  ['an empty line before', inStart(/^/, '\r\n')],
  ['the other s of ECDSA', signature(otherS)],
];

export const INNOCENT: readonly Innocent[] = ROWS.map(([name, change, plan]) => ({ name, change, plan }));
