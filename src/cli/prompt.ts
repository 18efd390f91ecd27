import { closeSync, openSync, writeSync } from 'node:fs';
import { ReadStream } from 'node:tty';
import { HoldfastError, SecretError } from '../errors.ts';
import { Secret, type SecretRequest } from '../secret.ts';
import { ASKING } from './context.ts';
import { formatLine } from './output.ts';

const CTRL_C = 0x03;
const CTRL_D = 0x04;
const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const CTRL_U = 0x15;
const BACKSPACE: ReadonlySet<number> = new Set([0x08, 0x7f]);

export type Typed = { state: 'typing' | 'ended' | 'interrupted' } | { state: 'done'; secret: Secret };

/** The line discipline that raw mode takes away: what a person typed so far, as bytes that can be wiped. */
export interface LineEditor {
  feed(data: Uint8Array): Typed;
  wipe(): void;
}

/** Longest secret that is taken, bytes; what is typed beyond it is dropped. */
const LIMIT = 1024;

export function makeLineEditor(): LineEditor {
  const buffer = Buffer.alloc(LIMIT);
  let length = 0;
  return {
    feed(data) {
      for (const byte of data) {
        if (byte === CTRL_C) return { state: 'interrupted' };
        // An empty line is nobody's PIN: sending it would cost a try.
        if (byte === LINE_FEED || byte === CARRIAGE_RETURN) {
          return length === 0 ? { state: 'ended' } : { state: 'done', secret: new Secret(buffer.subarray(0, length)) };
        }
        if (byte === CTRL_D && length === 0) return { state: 'ended' };
        if (byte === CTRL_U) length = 0;
        else if (BACKSPACE.has(byte)) length = withoutLastCharacter(buffer, length);
        else if (byte >= 0x20 && length < LIMIT) {
          buffer[length] = byte;
          length += 1;
        }
      }
      return { state: 'typing' };
    },
    wipe() {
      buffer.fill(0);
      length = 0;
    },
  };
}

/** UTF-8: continuation bytes are 10xxxxxx and belong to the character before them. */
function withoutLastCharacter(buffer: Buffer, length: number): number {
  let end = Math.max(0, length - 1);
  while (end > 0 && ((buffer[end] as number) & 0xc0) === 0x80) end -= 1;
  return end;
}

/** The one line a person reads before typing. */
export function promptText(request: SecretRequest): string {
  const why = request.purpose === undefined ? '' : `, to ${request.purpose}`;
  const left = request.triesLeft;
  const tries = left === undefined ? '' : ` (${left} ${left === 1 ? 'try' : 'tries'} left)`;
  return `${formatLine('note', `${request.kind} of ${request.of}${why}${tries}`).trimEnd()}: `;
}

/**
 * Ask on the controlling terminal, never on stdin, without echo. The terminal is put back whatever happens.
 *
 * @returns what was typed, without its line end, for the caller to wipe; undefined when there is no terminal
 * @throws {HoldfastError} `ERR_INTERRUPTED` on Ctrl-C and when the signal aborts, `ERR_SECRET_REQUIRED` when nothing was
 * entered or the terminal was closed
 */
export async function promptSecret(request: SecretRequest, signal: AbortSignal): Promise<Secret | undefined> {
  signal.throwIfAborted();
  const terminal = openTerminal();
  if (terminal === undefined) return undefined;
  signal.dispatchEvent(new Event(ASKING));
  const editor = makeLineEditor();
  try {
    terminal.input.setRawMode(true);
    writeSync(terminal.output, promptText(request));
    const secret = await readLine(terminal.input, editor, signal);
    if (secret === undefined) throw nothingEntered(request);
    return secret;
  } finally {
    editor.wipe();
    terminal.input.setRawMode(false);
    writeSync(terminal.output, '\n');
    terminal.input.destroy();
    closeSync(terminal.output);
  }
}

const nothingEntered = ({ kind, of, triesLeft }: SecretRequest): SecretError =>
  new SecretError('ERR_SECRET_REQUIRED', `${of} needs its ${kind}, and nothing was entered`, {
    hint: `run it again and type the ${kind}; nothing was tried`,
    triesLeft,
  });

/** Two descriptors: the read stream closes its own. */
function openTerminal(): { input: ReadStream; output: number } | undefined {
  let output: number | undefined;
  try {
    output = openSync('/dev/tty', 'w');
    return { input: new ReadStream(openSync('/dev/tty', 'r')), output };
  } catch {
    // ENXIO: no controlling terminal, as under cron or a service manager. That is an answer, not a failure.
    if (output !== undefined) closeSync(output);
    return undefined;
  }
}

function readLine(input: ReadStream, editor: LineEditor, signal: AbortSignal): Promise<Secret | undefined> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => void): void => {
      input.removeAllListeners('data').removeAllListeners('end').pause();
      signal.removeEventListener('abort', abort);
      act();
    };
    const abort = (): void => settle(() => reject(signal.reason));
    signal.addEventListener('abort', abort, { once: true });
    input.on('end', () => settle(() => resolve(undefined)));
    // A terminal that goes away reports EIO on Linux.
    input.on('error', () => settle(() => resolve(undefined)));
    input.on('data', (data: Buffer) => {
      const typed = editor.feed(data);
      data.fill(0);
      if (typed.state === 'typing') return;
      settle(() => {
        if (typed.state === 'interrupted') reject(new HoldfastError('ERR_INTERRUPTED', 'interrupted'));
        else resolve(typed.state === 'done' ? typed.secret : undefined);
      });
    });
  });
}
