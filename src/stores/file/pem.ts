import { HoldfastError } from '../../errors.ts';

/** One block of a PEM file (RFC 7468, and RFC 1421 §4.4 for the headers of old encrypted keys). */
export interface PemBlock {
  readonly label: string;
  /** Header fields by name, such as `DEK-Info`; empty for everything newer than the 1990s. */
  readonly headers: ReadonlyMap<string, string>;
  /** What stands between headers and END line, without white space; not yet checked. */
  readonly base64: string;
}

/**
 * The blocks of a PEM file in their order. Text around them is passed over.
 *
 * @throws {HoldfastError} `ERR_KEY_INVALID` when BEGIN and END lines do not pair up
 */
export function readPem(text: string, name: string): PemBlock[] {
  const blocks: PemBlock[] = [];
  let label: string | undefined;
  let lines: string[] = [];
  for (const line of text.split(/\r\n|\n|\r/).map((each) => each.trim())) {
    const [, edge, found] = /^-----(BEGIN|END) ([^-]*)-----$/.exec(line) ?? [];
    if (edge === undefined && line.includes('-----BEGIN ')) {
      const hint = 'put BEGIN line, Base64 and END line on lines of their own (\\n may stand where a line end belongs)';
      throw new HoldfastError('ERR_KEY_INVALID', `the PEM in the ${name} has lost its line ends`, { hint });
    } else if (edge === 'BEGIN') {
      if (label !== undefined)
        throw damagedPem(name, 'a BEGIN line follows another: the END line between them is missing');
      label = found;
      lines = [];
    } else if (edge === 'END') {
      if (label === undefined) throw damagedPem(name, 'an END line has no BEGIN line before it');
      if (label !== found) throw damagedPem(name, 'a BEGIN line and the END line after it name different things');
      blocks.push(block(label, lines));
      label = undefined;
    } else if (label !== undefined) lines.push(line);
  }
  if (label !== undefined) throw damagedPem(name, 'it is cut off: the last END line is missing');
  return blocks;
}

/** The octets of a block. @throws {HoldfastError} `ERR_KEY_INVALID` */
export function decodePem({ base64 }: PemBlock, name: string): Buffer {
  if (base64 !== '' && base64.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(base64)) {
    return Buffer.from(base64, 'base64');
  }
  throw damagedPem(name, 'its Base64 is damaged or cut off');
}

function block(label: string, lines: readonly string[]): PemBlock {
  const headers = new Map<string, string>();
  let at = 0;
  for (; lines[at]?.includes(':'); at += 1) {
    const [field = '', ...value] = (lines[at] as string).split(':');
    headers.set(field, value.join(':').trim());
  }
  return { label, headers, base64: lines.slice(at).join('') };
}

/** The error for PEM that is not whole. `what` follows a colon. */
export const damagedPem = (name: string, what: string): HoldfastError =>
  new HoldfastError('ERR_KEY_INVALID', `the PEM in the ${name} is damaged: ${what}`, { hint: 'copy the file again' });
