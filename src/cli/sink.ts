import { writeSync } from 'node:fs';
import { systemCodeOf } from '../errors.ts';
import type { Sink } from './output.ts';

/**
 * A standard stream without Node's own, which would cost each start two or three milliseconds: they write to files, terminals
 * and (POSIX) pipes at once, too. Only a pipe that somebody made non-blocking, and that is full, needs one of Node's.
 */
export function sinkOf(fd: 1 | 2, streamOf: () => NodeJS.WriteStream): Sink {
  let opened: NodeJS.WriteStream | undefined;
  const stream = (): NodeJS.WriteStream => {
    if (opened === undefined) {
      opened = streamOf();
      // A reader that went away is its own affair; whatever else goes wrong is reported where it is written.
      opened.on('error', () => undefined);
    }
    return opened;
  };
  // A console of Windows takes no UTF-8 this way.
  if (process.platform === 'win32') return stream();
  return {
    get isTTY() {
      return stream().isTTY;
    },
    write(data, done) {
      let rest: Uint8Array = Buffer.from(data as string);
      try {
        while (rest.length > 0 && opened === undefined) rest = rest.subarray(writeSync(fd, rest));
      } catch (error) {
        if (systemCodeOf(error) !== 'EAGAIN') {
          done?.(error as Error);
          return;
        }
      }
      if (rest.length > 0) stream().write(rest, done);
      else done?.();
    },
  };
}
