import type { PKCS11 } from 'pkcs11js';
import { HoldfastError, messageOf, systemCodeOf } from '../../errors.ts';

/**
 * The driver, a native package that may be missing.
 *
 * @throws {HoldfastError} `ERR_DRIVER_NOT_INSTALLED`, `ERR_DRIVER_NOT_BUILT`
 */
export async function loadDriver(): Promise<{ PKCS11: new () => PKCS11 }> {
  try {
    const { default: driver } = await import('pkcs11js');
    return driver;
  } catch (cause) {
    throw driverError(cause);
  }
}

/** Which of its troubles it is. Node's own ERR_MODULE_NOT_FOUND, on the cause, is about the package: ours is not. */
function driverError(cause: unknown): HoldfastError {
  const text = messageOf(cause);
  const code = systemCodeOf(cause);
  if (code === 'ERR_DLOPEN_DISABLED') {
    return new HoldfastError(
      'ERR_DRIVER_NOT_BUILT',
      `Node's permission model keeps the PKCS#11 driver pkcs11js from loading its native part (${code})`,
      { hint: 'start Node with --allow-addons', cause },
    );
  }
  const missing = code === 'MODULE_NOT_FOUND' || code === 'ERR_MODULE_NOT_FOUND';
  if (missing && !text.includes('pkcs11.node')) {
    return new HoldfastError('ERR_DRIVER_NOT_INSTALLED', 'the PKCS#11 driver pkcs11js is not installed', {
      hint: 'run "npm install pkcs11js", and install without --omit=optional (native-notes/install.md)',
      cause,
    });
  }
  return new HoldfastError(
    'ERR_DRIVER_NOT_BUILT',
    missing
      ? 'the PKCS#11 driver pkcs11js was not built: its install script did not run'
      : `the native part of the PKCS#11 driver pkcs11js cannot be loaded: ${text.split('\n')[0]}`,
    {
      hint:
        'allow its install script ("allowScripts": { "pkcs11js": true } in the package.json of your project, or ' +
        '"npm install-scripts approve pkcs11js") and run "npm rebuild pkcs11js"; that needs python3, make and g++ ' +
        '(native-notes/install.md)',
      cause,
    },
  );
}
