import { constants, promises, type Stats } from 'node:fs';
import { basename } from 'node:path';
import { systemCodeOf } from '../../errors.ts';
import { lost, socketDevice, unreachable, whenFree } from './socket.ts';
import { type Connection, type Device, HEADER, LONGEST_RESPONSE } from './transport.ts';

/**
 * A TPM by its path: a character device of the kernel, or the Unix socket of a TPM in software. `/dev/tpmrm0` has a
 * resource manager, `/dev/tpm0` takes one program at a time.
 */
export function pathDevice(path: string): Device {
  const name = `TPM at ${path}`;
  const managed = /^tpmrm\d+$/.test(basename(path));
  return {
    name,
    managed,
    async connect(signal) {
      const stat = await promises.stat(path).catch((error: unknown): Stats => {
        throw unreachable(name, error);
      });
      if (stat.isSocket()) return socketDevice({ path }).connect(signal);
      return whenFree(name, signal, async () => openDevice(await promises.open(path, constants.O_RDWR), name));
    },
  };
}

/** One `write` for each command, then the response (Linux, Documentation/security/tpm). */
function openDevice(file: promises.FileHandle, name: string): Connection {
  let closed = false;
  return {
    async send(command) {
      if (closed) throw lost(name, 'the connection was closed');
      try {
        await file.write(command, 0, command.length, null);
        return await readResponse(file);
      } catch (error) {
        throw lost(name, systemCodeOf(error) ?? (error as Error).message, error);
      }
    },
    close() {
      if (closed) return;
      closed = true;
      // It was only asked: nothing can be lost.
      file.close().catch(() => {});
    },
  };
}

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
