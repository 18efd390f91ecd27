// Changes to a request on the wire, after it was signed.
import type { Wire } from './raw-http.ts';

export type Change = (wire: Wire) => Wire;
type Replacement = string | ((found: string) => string);

/** Text with something replaced. A change that changes nothing would test nothing, so it throws. */
function replaced(text: string, from: string | RegExp, to: Replacement): string {
  const changed = typeof to === 'string' ? text.replace(from, to) : text.replace(from, to);
  if (changed === text) throw new Error(`there is no ${String(from)}, or it stays as it is`);
  return changed;
}

const isOf = (line: string, name: string): boolean => line.toLowerCase().startsWith(`${name.toLowerCase()}:`);

/** The one line of a header, as any number of lines. */
const line =
  (name: string, change: (line: string) => readonly string[]): Change =>
  (wire) => {
    if (wire.lines.filter((one) => isOf(one, name)).length !== 1) throw new Error(`there is no one ${name}`);
    return { ...wire, lines: wire.lines.flatMap((one) => (isOf(one, name) ? change(one) : [one])) };
  };

/** In the line of a header. */
export const inLine = (name: string, from: string | RegExp, to: Replacement): Change =>
  line(name, (one) => [replaced(one, from, to)]);
/** Another value of a header. */
export const set = (name: string, value: string): Change => line(name, () => [`${name}: ${value}`]);
export const drop = (name: string): Change => line(name, () => []);
/** The header a second time, behind all others; with the same value unless another is given. */
export const repeat =
  (name: string, value?: string): Change =>
  (wire) => {
    const [own = ''] = wire.lines.filter((one) => isOf(one, name));
    return { ...wire, lines: [...wire.lines, value === undefined ? own : `${name}: ${value}`] };
  };
/** Header lines at the end. */
export const add =
  (...lines: string[]): Change =>
  (wire) => ({ ...wire, lines: [...wire.lines, ...lines] });
/** In the first line. */
export const inStart =
  (from: string | RegExp, to: Replacement): Change =>
  (wire) => ({ ...wire, start: replaced(wire.start, from, to) });
/** In the body; Content-Length follows. */
export const inBody =
  (from: string | RegExp, to: Replacement): Change =>
  (wire) => {
    const body = Buffer.from(replaced(wire.body.toString('latin1'), from, to), 'latin1');
    return set('Content-Length', String(body.length))({ ...wire, body });
  };
/** In the certificates of a header: DER in, DER out. */
export const certificates = (name: string, change: (ders: readonly Buffer[]) => readonly Uint8Array[]): Change =>
  inLine(name, /[^ ]+$/, (list) => {
    const ders = list.split(',').map((item) => Buffer.from(item, 'base64'));
    return change(ders)
      .map((der) => Buffer.from(der).toString('base64'))
      .join(',');
  });
/** In the octets of the signature. */
export const signature = (change: (signature: Buffer) => Uint8Array): Change =>
  inLine('Authorization', /[0-9a-f]+$/, (hex) => Buffer.from(change(Buffer.from(hex, 'hex'))).toString('hex'));

/** One bit of the last octet but `back`, turned over. */
export function flipped(octets: Buffer, back = 0): Buffer {
  const copy = Buffer.from(octets);
  const at = copy.length - 1 - back;
  copy.writeUInt8(copy.readUInt8(at) ^ 1, at);
  return copy;
}
