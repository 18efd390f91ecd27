import type { ExecFileException } from 'node:child_process';
import { join } from 'node:path';
import { HoldfastError, messageOf, SecretError } from './errors.ts';
import { type Limits, within } from './limits.ts';
import { printable, readBounded, readDescriptor } from './read-file.ts';
import { SECRET_LIMIT, Secret, type SecretOrigin, withoutLineEnd } from './secret.ts';

/**
 * What can be taken only once: the value of a variable that was removed from the environment, and what came out of a
 * pipe. A daemon opens its key again each hour, and a second key may name the same place: so it is kept, in memory only,
 * until the process ends, and nothing but a second asking for the same place gets at it. It is state of the process
 * because environment and descriptors are.
 */
const taken = new Map<string, Promise<Buffer>>();

/**
 * Milliseconds for a pipe or a command, where the caller sets no deadline: one that never ends would else be waited for
 * without end.
 */
const PATIENCE = 60_000;

/**
 * Read the secret from a place that `pin-source` names, other than a file.
 *
 * @param name of the variable or credential, number of the descriptor, the whole command
 * @throws {SecretError} `ERR_SECRET_UNREADABLE`; an interruption and the deadline as they are
 */
export async function readPlace(kind: SecretOrigin['kind'], name: string, limits: Limits): Promise<Secret> {
  if (kind === 'variable') return new Secret(await fromVariable(name));
  if (kind === 'descriptor') return new Secret(await fromDescriptor(name, limits));
  if (kind === 'command') return fromCommand(name, limits);
  return fromCredential(name);
}

/** Child processes and whatever prints the environment do not get it any more. A value that is set anew counts. */
function fromVariable(name: string): Promise<Buffer> {
  const value = process.env[name];
  if (value !== undefined) {
    delete process.env[name];
    taken.set(`env:${name}`, Promise.resolve(Buffer.from(value)));
  }
  const known = taken.get(`env:${name}`);
  if (known) return known;
  throw unreadable(
    `the variable ${name}, which should hold the secret, is not set`,
    'export it to this process, and spell it as it is spelt there',
  );
}

/** A file is read from its beginning each time. A pipe is closed after its end, and its number may be another's then. */
async function fromDescriptor(number: string, limits: Limits): Promise<Buffer> {
  const key = `fd:${number}`;
  const read = async (): Promise<Buffer> => {
    const { data, stat } = await withPatience(limits, `reading the secret on descriptor ${number}`, (signal) =>
      readDescriptor(Number(number), { limit: SECRET_LIMIT, what: 'secret', signal }),
    );
    if (stat.isFile()) taken.delete(key);
    return withoutLineEnd(data);
  };
  const reading = taken.get(key) ?? read();
  taken.set(key, reading);
  try {
    return await reading;
  } catch (cause) {
    taken.delete(key);
    throw asUnreadable(cause, 'open it where this process is started (3<FILE in a shell)');
  }
}

/** systemd.exec(5), LoadCredential=: read again each time, because a restart of the unit is not needed to change it. */
async function fromCredential(name: string): Promise<Secret> {
  const folder = process.env.CREDENTIALS_DIRECTORY;
  const hint = `give it to the unit: LoadCredential=${printable(name)}:/path/to/secret, or LoadCredentialEncrypted=`;
  if (!folder) throw unreadable('there is no directory of credentials ($CREDENTIALS_DIRECTORY is not set)', hint);
  try {
    const { data } = await readBounded(join(folder, name), { limit: SECRET_LIMIT, what: 'credential' });
    const secret = new Secret(withoutLineEnd(data));
    data.fill(0);
    return secret;
  } catch (cause) {
    throw asUnreadable(cause, hint);
  }
}

/**
 * RFC 7512 §2.4 leaves open how a command is run. Without a shell: words are separated by blanks and mean themselves, so
 * that nothing in a URI is expanded, looked for along PATH, or run besides. What needs more than that is a script.
 */
async function fromCommand(line: string, limits: Limits): Promise<Secret> {
  const [program, ...args] = line.trim().split(/\s+/) as [string, ...string[]];
  const { execFile } = await import('node:child_process');
  const what = `the command ${printable(program)}, which should give the secret,`;
  return withPatience(limits, what, (signal) => {
    const options = { encoding: 'buffer', maxBuffer: SECRET_LIMIT, signal, killSignal: 'SIGKILL' } as const;
    return new Promise((resolve, reject) => {
      const child = execFile(program, args, options, (error, stdout, stderr) => {
        const secret = error ? undefined : firstLine(stdout);
        stdout.fill(0);
        if (signal.aborted) reject(signal.reason as Error);
        else if (error) reject(commandFailed(what, error, stderr));
        else if (secret) resolve(secret);
        else reject(unreadable(`${what} printed nothing`, 'let it print the secret as its first line'));
      });
      child.stdin?.end();
    });
  });
}

function firstLine(output: Buffer): Secret | undefined {
  const end = output.indexOf(0x0a);
  const line = withoutLineEnd(end < 0 ? output : output.subarray(0, end + 1));
  return line.length > 0 ? new Secret(line) : undefined;
}

/** Characters of what a command wrote to stderr that are kept, for the cause. */
const WORDS = 500;

/** The error of execFile repeats the arguments; stdout may be the secret. Neither goes on from here. */
function commandFailed(what: string, error: ExecFileException, stderr: Buffer): SecretError {
  const { code, signal } = error;
  if (code === 'ERR_CHILD_PROCESS_STDIO_MAXBUFFER') {
    return unreadable(`${what} printed more than ${SECRET_LIMIT} bytes`, 'let it print the secret and nothing else');
  }
  const how = typeof code === 'number' ? `exit status ${code}` : (code ?? signal ?? 'no reason given');
  const cause = new Error(`${how}: ${printable(stderr.toString('utf8').slice(0, WORDS), ' ').trim()}`);
  return unreadable(`${what} failed (${how})`, 'run it yourself; what it wrote to stderr stands in the cause', cause);
}

const withPatience = <T>(
  { signal, deadline }: Limits,
  what: string,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> => within({ signal, deadline: deadline ?? PATIENCE }, what, work);

const unreadable = (message: string, hint: string, cause?: unknown): SecretError =>
  new SecretError('ERR_SECRET_UNREADABLE', message, { hint, cause });

/** An error of a file, as one of a secret; an interruption stays what it is. */
function asUnreadable(cause: unknown, hint: string): HoldfastError {
  if (cause instanceof HoldfastError && !cause.code.startsWith('ERR_FILE_')) return cause;
  return unreadable(messageOf(cause), hint, cause);
}
