import { join } from 'node:path';
import { SecretError } from './errors.ts';
import { type Limits, orAborted, patient, within } from './limits.ts';
import { printable, readDescriptor } from './read-file.ts';
import { asUnreadable, readSecretFile, SECRET_LIMIT, Secret, type SecretOrigin, withoutLineEnd } from './secret.ts';
import { fromCommand } from './secret-command.ts';

/**
 * What can be taken only once: the value of a variable that was removed from the environment, and what came out of a
 * pipe. A daemon opens its key again each hour, and a second key may name the same place: so it is kept, in memory only,
 * until the process ends, and nothing but a second asking for the same place gets at it. It is state of the process
 * because environment and descriptors are.
 */
const taken = new Map<string, Taken>();

/** One reading for all who wait for it. */
interface Taken {
  readonly bytes: Promise<Buffer>;
  waiting: number;
  /** Nobody waits any more: if it is not done, it ends. */
  stop(): void;
}

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
  return fromCredential(name, limits);
}

/** Child processes and whatever prints the environment do not get it any more. A value that is set anew counts. */
function fromVariable(name: string): Promise<Buffer> {
  const value = process.env[name];
  if (value !== undefined) {
    delete process.env[name];
    taken.set(`env:${name}`, { bytes: Promise.resolve(Buffer.from(value)), waiting: 0, stop: () => {} });
  }
  const known = taken.get(`env:${name}`);
  if (known) return known.bytes;
  throw new SecretError('ERR_SECRET_UNREADABLE', `the variable ${name}, which should hold the secret, is not set`, {
    hint: 'export it to this process, and spell it as it is spelt there',
  });
}

/** A file is read from its beginning each time. A pipe is closed after its end, and its number may be another's then. */
async function fromDescriptor(number: string, limits: Limits): Promise<Buffer> {
  const reading = taken.get(`fd:${number}`) ?? startReading(number);
  reading.waiting += 1;
  try {
    return await within(patient(limits), `reading the secret on descriptor ${number}`, (signal) =>
      orAborted(reading.bytes, signal),
    );
  } catch (cause) {
    throw asUnreadable(cause, 'open it where this process is started (3<FILE in a shell)');
  } finally {
    reading.waiting -= 1;
    if (reading.waiting === 0) reading.stop();
  }
}

function startReading(number: string): Taken {
  const key = `fd:${number}`;
  const controller = new AbortController();
  let isDone = false;
  const forget = (): void => {
    if (taken.get(key) === reading) taken.delete(key);
  };
  const read = async (): Promise<Buffer> => {
    const { signal } = controller;
    const { data, stat } = await readDescriptor(Number(number), { limit: SECRET_LIMIT, what: 'secret', signal });
    isDone = true;
    if (stat.isFile()) forget();
    return withoutLineEnd(data);
  };
  const bytes = read();
  const reading: Taken = {
    bytes,
    waiting: 0,
    stop() {
      if (isDone) return;
      forget();
      controller.abort();
    },
  };
  taken.set(key, reading);
  // Whoever waits is told; when nobody does, nobody needs to be.
  bytes.catch(forget);
  return reading;
}

/** systemd.exec(5), LoadCredential=: read again each time, because a restart of the unit is not needed to change it. */
async function fromCredential(name: string, limits: Limits): Promise<Secret> {
  const folder = process.env.CREDENTIALS_DIRECTORY;
  const hint = `give it to the unit: LoadCredential=${printable(name)}:/path/to/secret, or LoadCredentialEncrypted=`;
  if (folder) return readSecretFile(join(folder, name), 'credential', hint, limits);
  throw new SecretError(
    'ERR_SECRET_UNREADABLE',
    'there is no directory of credentials ($CREDENTIALS_DIRECTORY is not set)',
    { hint },
  );
}
