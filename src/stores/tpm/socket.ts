import type { Duplex } from 'node:stream';
import { HoldfastError, messageOf, systemCodeOf } from '../../errors.ts';
import { onAbort, sleep } from '../../limits.ts';
import { printable } from '../../read-file.ts';
import { u8, u32 } from './bytes.ts';
import { type Connection, type Device, HEADER, LONGEST_RESPONSE } from './transport.ts';

/** How commands and responses stand in a stream. */
export interface Framing {
  wrap(command: Uint8Array): Uint8Array;
  /** @returns the first response and the octets it took; undefined while it is not whole. @throws {Error} for what is none */
  unwrap(received: Buffer): { readonly response: Buffer; readonly length: number } | undefined;
  /** Sent before hanging up. */
  readonly farewell?: Uint8Array;
}

const checkedSize = (size: number, least: number): number => {
  if (size >= least && size <= LONGEST_RESPONSE) return size;
  throw new Error(`a response of ${size} bytes`);
};

/** swtpm: nothing but commands and responses, which say themselves how long they are. */
export const RAW: Framing = {
  wrap: (command) => command,
  unwrap(received) {
    if (received.length < HEADER) return undefined;
    const length = checkedSize(received.readUInt32BE(2), HEADER);
    return received.length < length ? undefined : { response: received.subarray(0, length), length };
  },
};

/** `TPM_SEND_COMMAND` and `TPM_SESSION_END` of the simulator's protocol. */
const SEND_COMMAND = 8;
const SESSION_END = 20;

/** The reference simulator (mssim): a code, the locality, the size, the command; back come the size, the response and a zero. */
export const MSSIM: Framing = {
  wrap: (command) => Buffer.concat([u32(SEND_COMMAND), u8(0), u32(command.length), command]),
  unwrap(received) {
    if (received.length < 4) return undefined;
    const size = checkedSize(received.readUInt32BE(0), HEADER);
    const length = 4 + size + 4;
    return received.length < length ? undefined : { response: received.subarray(4, 4 + size), length };
  },
  farewell: u32(SESSION_END),
};

/** Milliseconds: a TPM in software that is silent for so long serves another program, which may never end. */
const SILENCE = 60_000;

/** Talk to a TPM over a stream that is connected. It is ours from then on, until it is closed. */
export function connectionOver(stream: Duplex, name: string, framing: Framing = RAW): Connection {
  let received: Buffer = Buffer.alloc(0);
  let waiting:
    | { readonly resolve: (response: Buffer) => void; readonly reject: (error: HoldfastError) => void }
    | undefined;
  let failed: HoldfastError | undefined;

  const timer = setTimeout(() => waiting && fail(`it said nothing for ${SILENCE / 1000} s`), SILENCE).unref();
  const fail = (why: string, cause?: unknown): void => {
    clearTimeout(timer);
    failed ??= lost(name, why, cause);
    waiting?.reject(failed);
    waiting = undefined;
    stream.destroy();
  };
  stream.on('data', (chunk: Buffer) => {
    if (!waiting) return fail('it spoke unasked');
    received = received.length === 0 ? chunk : Buffer.concat([received, chunk]);
    try {
      const found = framing.unwrap(received);
      if (!found) return;
      if (found.length < received.length) return fail('it said more than one answer');
      received = Buffer.alloc(0);
      const { resolve } = waiting;
      waiting = undefined;
      resolve(found.response);
    } catch (error) {
      fail(messageOf(error), error);
    }
  });
  stream.on('error', (error) => fail(systemCodeOf(error) ?? messageOf(error), error));
  stream.on('close', () => fail('it hung up'));

  return {
    send: (command) =>
      new Promise((resolve, reject) => {
        if (failed) return reject(failed);
        if (waiting) return reject(new Error('a TPM takes one command at a time'));
        waiting = { resolve, reject };
        timer.refresh();
        const wrapped = framing.wrap(command);
        // A password may stand in it, and a copy is ours to wipe.
        stream.write(wrapped, () => wrapped !== command && wrapped.fill(0));
      }),
    close(): void {
      clearTimeout(timer);
      failed ??= lost(name, 'the connection was closed');
      waiting?.reject(failed);
      waiting = undefined;
      if (!framing.farewell) stream.destroy();
      else stream.end(framing.farewell, () => stream.destroy());
    },
  };
}

/** The connection is over: unlike what a TPM refuses, another connection may help. */
export class LostError extends HoldfastError {}

export const lost = (name: string, why: string, cause?: unknown): LostError =>
  new LostError('ERR_TOKEN_FAILED', `the ${name} does not answer any more: ${why}`, {
    hint: 'see that it is still there, and open the key again',
    cause,
  });

/** Where a TPM listens. */
export type Place = { readonly path: string } | { readonly host: string; readonly port: number };

export const placeInWords = (place: Place): string =>
  'path' in place
    ? printable(place.path)
    : `${printable(place.host.includes(':') ? `[${place.host}]` : place.host)}:${place.port}`;

/**
 * A TPM in software. It serves one connection at a time; the next one waits in the queue of the system, which for a Unix
 * socket is short.
 */
export function socketDevice(place: Place, framing: Framing = RAW): Device {
  const name = `TPM at ${placeInWords(place)}`;
  return {
    name,
    managed: false,
    connect: (signal) =>
      whenFree(name, signal, async () => connectionOver(await connectTo(place, signal), name, framing)),
  };
}

async function connectTo(place: Place, signal: AbortSignal): Promise<Duplex> {
  const { connect } = await import('node:net');
  signal.throwIfAborted();
  const socket = connect({ ...place, noDelay: true });
  const stop = onAbort(signal, () => socket.destroy());
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
      socket.once('close', () => reject(new Error('it hung up')));
    });
    return socket;
  } finally {
    stop();
    for (const event of ['connect', 'error', 'close']) socket.removeAllListeners(event);
  }
}

/** Milliseconds between two tries to reach what another program has, and until that is given up. */
const PAUSE = 20;
const PATIENCE = 60_000;

const BUSY: readonly string[] = ['EBUSY', 'EAGAIN'];

/** Try until whoever has it is done, which is soon where it is one of us. @throws the signal's reason; `ERR_TOKEN_*` */
export async function whenFree<T>(name: string, signal: AbortSignal, open: () => Promise<T>): Promise<T> {
  for (const start = performance.now(); ; ) {
    signal.throwIfAborted();
    try {
      return await open();
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof HoldfastError) throw error;
      const isBusy = BUSY.includes(systemCodeOf(error) ?? '');
      if (!isBusy || performance.now() - start > PATIENCE) throw unreachable(name, error);
      await sleep(PAUSE * (0.5 + Math.random()), signal);
    }
  }
}

/** A TPM that cannot be opened. */
export function unreachable(name: string, cause: unknown): HoldfastError {
  const code = systemCodeOf(cause) ?? messageOf(cause);
  const isMissing = ['ENOENT', 'ENOTDIR', 'ECONNREFUSED', 'ENOTFOUND', 'EHOSTUNREACH', 'ENXIO', 'ENODEV'].includes(
    code,
  );
  const what = isMissing
    ? `there is no ${name}`
    : BUSY.includes(code)
      ? `the ${name} is busy`
      : `the ${name} cannot be opened`;
  return new HoldfastError(isMissing ? 'ERR_TOKEN_NOT_FOUND' : 'ERR_TOKEN_FAILED', `${what} (${code})`, {
    hint: HINTS.get(code) ?? HINTS.get('ENOENT'),
    cause,
  });
}

const FORBIDDEN = 'let this user use it: on most systems the group "tss" may (usermod -aG tss USER, then log in again)';
const HINTS: ReadonlyMap<string, string> = new Map([
  [
    'ENOENT',
    'switch the TPM on in the firmware, or name another with ?device=, ?tcp= or TPM_DEVICE (native-notes/tpm.md)',
  ],
  [
    'ECONNREFUSED',
    'start the TPM in software that should listen there, or correct the address (native-notes/swtpm.md)',
  ],
  ['EACCES', FORBIDDEN],
  ['EPERM', FORBIDDEN],
  ['EBUSY', 'another program holds it: use /dev/tpmrm0, which several can use'],
  ['EAGAIN', 'other programs hold it, one after the other: see which they are, and end them'],
]);
