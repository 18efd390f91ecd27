import { constants, promises, type Stats, statSync } from 'node:fs';
import { basename } from 'node:path';
import { HoldfastError, messageOf, systemCodeOf } from '../../errors.ts';
import { printable } from '../../read-file.ts';
import { lost, socketDevice, unreachable, whenFree } from './socket.ts';
import { type Connection, type Device, HEADER, LONGEST_RESPONSE } from './transport.ts';

/**
 * A TPM by its path: a character device of the kernel, or the Unix socket of a TPM in software. `/dev/tpmrm0` has a
 * resource manager, `/dev/tpm0` takes one program at a time.
 */
export function pathDevice(path: string): Device {
  const name = `TPM at ${printable(path)}`;
  // A kernel's: the socket of a TPM in software has none, whatever it is called.
  const managed = /^tpmrm\d+$/.test(basename(path)) && !isSocket(path);
  return {
    name,
    managed,
    async connect(signal) {
      const stat = await promises.stat(path).catch((error: unknown): Stats => {
        throw unreachable(name, error);
      });
      if (stat.isSocket()) return socketDevice({ path }).connect(signal);
      checkKind(stat, name);
      return whenFree(name, signal, () => openDevice(path, name));
    },
  };
}

/** @returns false also for what cannot be looked at: who connects learns why */
function isSocket(path: string): boolean {
  try {
    return statSync(path).isSocket();
  } catch {
    return false;
  }
}

async function openDevice(path: string, name: string): Promise<Connection> {
  const file = await promises.open(path, constants.O_RDWR);
  try {
    // Another file may have taken its place.
    checkKind(await file.stat(), name);
    return deviceConnection(file, name);
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** A command would overwrite the beginning of an ordinary file, or of a disk. */
function checkKind(stat: Stats, name: string): void {
  if (stat.isCharacterDevice()) return;
  throw new HoldfastError('ERR_TOKEN_NOT_FOUND', `there is no ${name}: that is no character device and no socket`, {
    hint: 'name the TPM as /dev/tpmrm0, or the socket of a TPM in software (native-notes/tpm.md)',
  });
}

/**
 * One `write` for each command, then the response (Linux, Documentation/security/tpm). The file is ours from then on.
 *
 * A read that has begun cannot be stopped: when it is closed meanwhile, the file itself follows once the driver has answered.
 */
export function deviceConnection(file: promises.FileHandle, name: string): Connection {
  let closed = false;
  let hangUp = (): void => {};
  const exchange = async (command: Uint8Array): Promise<Buffer> => {
    await file.write(command, 0, command.length, null);
    return readResponse(file);
  };
  return {
    async send(command) {
      if (closed) throw lost(name, CLOSED);
      const hungUp = new Promise<never>((_, reject) => {
        hangUp = () => reject(new Error(CLOSED));
      });
      try {
        return await Promise.race([exchange(command), hungUp]);
      } catch (error) {
        throw lost(name, systemCodeOf(error) ?? messageOf(error), error);
      }
    },
    close() {
      if (closed) return;
      closed = true;
      hangUp();
      // It was only asked: nothing can be lost.
      file.close().catch(() => {});
    },
  };
}

const CLOSED = 'the connection was closed';

async function readResponse(file: promises.FileHandle): Promise<Buffer> {
  const buffer = Buffer.alloc(LONGEST_RESPONSE);
  let length = 0;
  for (;;) {
    const { bytesRead } = await file.read(buffer, length, buffer.length - length, null);
    if (bytesRead === 0) throw new Error('it said nothing');
    length += bytesRead;
    if (length >= HEADER && length >= buffer.readUInt32BE(2)) return buffer.subarray(0, length);
  }
}
