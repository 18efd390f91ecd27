import type { Readable } from 'node:stream';
import { SecretError, systemCodeOf } from './errors.ts';
import { type Limits, patient, within } from './limits.ts';
import { printable } from './read-file.ts';
import { SECRET_LIMIT, Secret, withoutLineEnd } from './secret.ts';

/**
 * RFC 7512 §2.4 leaves open how a command is run. Without a shell: words are separated by blanks and mean themselves, so
 * that nothing in a URI is expanded, looked for along PATH, or run besides. What needs more than that is a script.
 *
 * @throws {SecretError} `ERR_SECRET_UNREADABLE`; an interruption and the deadline as they are
 */
export async function fromCommand(line: string, limits: Limits): Promise<Secret> {
  const [program, ...args] = line.trim().split(/\s+/) as [string, ...string[]];
  const what = `the command ${printable(program)}, which should give the secret,`;
  const { failed, stdout, stderr } = await within(patient(limits), what, (signal) => run(program, args, signal));
  try {
    if (stdout.length > SECRET_LIMIT) {
      throw unreadable(`${what} printed more than ${SECRET_LIMIT} bytes`, 'let it print the secret and nothing else');
    }
    if (failed !== undefined) {
      // What it says may be the secret: it goes to those who ask for the cause, and to no log.
      const cause = new Error(`${failed}: ${printable(stderr.toString('utf8'), ' ').trim()}`);
      throw unreadable(
        `${what} failed (${failed})`,
        'run it yourself: what it says on stderr is not shown here',
        cause,
      );
    }
    const secret = firstLine(stdout);
    if (secret) return secret;
    throw unreadable(`${what} printed nothing`, 'let it print the secret as its first line');
  } finally {
    stdout.fill(0);
  }
}

function firstLine(output: Buffer): Secret | undefined {
  const end = output.indexOf(0x0a);
  const line = withoutLineEnd(end < 0 ? output : output.subarray(0, end + 1));
  return line.length > 0 ? new Secret(line) : undefined;
}

interface Ended {
  /** How, where it did not end well. */
  readonly failed: string | undefined;
  /** One byte more than a secret may have, when there was too much. */
  readonly stdout: Buffer;
  readonly stderr: Buffer;
}

/** Bytes of stderr that are kept, for the cause. */
const WORDS = 500;

/** Milliseconds after its end: whoever it leaves behind may hold its output, but what it printed itself is there. */
const GRACE = 100;

/** @throws the signal's reason; nothing of the arguments, which may hold a secret, is in any error */
async function run(program: string, args: readonly string[], signal: AbortSignal): Promise<Ended> {
  const { spawn } = await import('node:child_process');
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    let failed: string | undefined;
    let grace: NodeJS.Timeout | undefined;
    const child = start();
    if (!child) return resolve({ failed: 'it cannot be run', stdout: Buffer.alloc(0), stderr: Buffer.alloc(0) });
    const stdout = keep(child.stdout, SECRET_LIMIT + 1, () => child.kill('SIGKILL'));
    const stderr = keep(child.stderr, WORDS);
    child.on('error', (error) => {
      failed = systemCodeOf(error) ?? 'no reason given';
      end();
    });
    child.on('exit', (code, killedBy) => {
      if (code !== 0) failed = code === null ? String(killedBy) : `exit status ${code}`;
      grace = setTimeout(end, GRACE);
    });
    child.on('close', end);

    /** Throws for a NUL in a word, which it repeats. */
    function start(): (ReturnType<typeof spawn> & { stdout: Readable; stderr: Readable }) | undefined {
      try {
        return spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], signal, killSignal: 'SIGKILL' });
      } catch {
        return undefined;
      }
    }

    function end(): void {
      clearTimeout(grace);
      child?.stdout.destroy();
      child?.stderr.destroy();
      if (signal.aborted) reject(signal.reason as Error);
      else resolve({ failed, stdout: stdout(), stderr: stderr() });
    }
  });
}

/** The beginning of a stream; the rest is read and dropped, so that nobody waits to be read. */
function keep(stream: Readable, limit: number, whenFull: () => void = () => {}): () => Buffer {
  const kept = Buffer.alloc(limit);
  let length = 0;
  stream.on('data', (chunk: Buffer) => {
    length += chunk.copy(kept, length);
    chunk.fill(0);
    if (length === limit) whenFull();
  });
  return () => kept.subarray(0, length);
}

const unreadable = (message: string, hint: string, cause?: unknown): SecretError =>
  new SecretError('ERR_SECRET_UNREADABLE', message, { hint, cause });
