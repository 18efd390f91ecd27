import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { HoldfastError, messageOf } from '../errors.ts';
import { formatKeyUri } from '../uri.ts';
import type { Place } from './place.ts';

const MODULES = [
  '/usr/lib/softhsm/libsofthsm2.so',
  '/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so',
  '/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so',
  '/usr/lib64/softhsm/libsofthsm2.so',
  '/usr/lib64/pkcs11/libsofthsm2.so',
  '/usr/lib64/softhsm/libsofthsm.so',
  '/usr/local/lib/softhsm/libsofthsm2.so',
  '/opt/homebrew/lib/softhsm/libsofthsm2.so',
];

/** A token of one's own, in software, that ends with its place. */
export interface SoftToken {
  readonly label: string;
  readonly module: string;
  /** The URI of a key on it. The PIN stays in a file beside the token. */
  uriOf(object: string): string;
}

/**
 * Make a SoftHSM token in a place. Sets `SOFTHSM2_CONF` of this process, before the module is loaded, and so of its
 * children.
 *
 * @throws {HoldfastError} `ERR_MODULE_NOT_FOUND` where SoftHSM is not installed, `ERR_MODULE_FAILED` where it fails
 */
export async function makeSoftToken(place: Place, env: NodeJS.ProcessEnv): Promise<SoftToken> {
  const module = MODULES.find((path) => existsSync(path));
  if (module === undefined) throw notInstalled('its module is in none of the usual places');
  const label = 'holdfast-demo';
  const tokens = join(place.directory, 'tokens');
  await mkdir(tokens, { mode: 0o700 });
  env.SOFTHSM2_CONF = await place.write(
    'softhsm2.conf',
    `directories.tokendir = ${tokens}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n`,
  );
  // softhsm2-util takes PINs by argument only. These are random, and the token they open ends with the demo.
  const [pin, soPin] = [randomBytes(8).toString('hex'), randomBytes(8).toString('hex')];
  const pinFile = await place.write('pin', pin);
  const args = ['--module', module, '--init-token', '--free', '--label', label, '--so-pin', soPin, '--pin', pin];
  await promisify(execFile)('softhsm2-util', args, { env }).catch((cause: { code?: unknown; stderr?: string }) => {
    if (cause.code === 'ENOENT') throw notInstalled('there is no softhsm2-util');
    // The message of execFile's own error repeats the arguments, and with them the PIN.
    throw new HoldfastError(
      'ERR_MODULE_FAILED',
      `softhsm2-util made no token: ${cause.stderr ?? messageOf(cause.code)}`,
      {
        hint: 'try --store file',
      },
    );
  });
  return {
    label,
    module,
    uriOf: (object) =>
      formatKeyUri({
        scheme: 'pkcs11',
        path: [
          ['token', label],
          ['object', object],
        ],
        query: [
          ['module-path', module],
          ['pin-source', `file:${pinFile}`],
        ],
      }),
  };
}

const notInstalled = (why: string): HoldfastError =>
  new HoldfastError('ERR_MODULE_NOT_FOUND', `SoftHSM is not installed: ${why}`, {
    hint: 'apt-get install softhsm2',
  });
