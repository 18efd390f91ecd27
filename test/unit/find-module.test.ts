import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { HoldfastError } from '../../src/errors.ts';
import { readAddress } from '../../src/stores/pkcs11/address.ts';
import { findModule, fitsName } from '../../src/stores/pkcs11/find-module.ts';
import { type Machine, placesOn } from '../../src/stores/pkcs11/module-places.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { everythingOf, thrownBy } from '../helpers/thrown.ts';

/** A machine whose files are all below a folder of ours. */
let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'holdfast-modules-'));
});
afterEach(() => rmSync(root, { recursive: true }));

const put = (path: string, content = ''): string => {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), content);
  return join(root, path);
};

const LINUX = { platform: 'linux', arch: 'x64' } as const;
const machine = (
  kind: { platform: NodeJS.Platform; arch: NodeJS.Architecture } = LINUX,
  { id = 1000, configHome }: { id?: number; configHome?: string } = {},
): Machine => placesOn(kind, { id, home: join(root, 'home'), configHome }, root);

const find = (text: string, on = machine()): { path: string; initReserved?: string | undefined } =>
  findModule(readAddress(parseKeyUri(text), {}), on);
const refusal = (text: string, on = machine()): HoldfastError => thrownBy(() => find(text, on));

const OPENSC = '/usr/lib/x86_64-linux-gnu/opensc-pkcs11.so';
const SOFTHSM = '/usr/lib/softhsm/libsofthsm2.so';
const PROXY = '/usr/lib/x86_64-linux-gnu/p11-kit-proxy.so';

describe('without a name', () => {
  test.each<[system: string, kind: { platform: NodeJS.Platform; arch: NodeJS.Architecture }, path: string]>([
    ['Debian', LINUX, PROXY],
    ['Debian on arm64', { platform: 'linux', arch: 'arm64' }, '/usr/lib/aarch64-linux-gnu/p11-kit-proxy.so'],
    ['Debian on armhf', { platform: 'linux', arch: 'arm' }, '/usr/lib/arm-linux-gnueabihf/p11-kit-proxy.so'],
    ['Fedora', LINUX, '/usr/lib64/p11-kit-proxy.so'],
    ['Alpine', LINUX, '/usr/lib/p11-kit-proxy.so'],
    ['a build of one’s own', LINUX, '/usr/local/lib/p11-kit-proxy.so'],
    ['Homebrew', { platform: 'darwin', arch: 'arm64' }, '/opt/homebrew/lib/p11-kit-proxy.dylib'],
    ['Homebrew on Intel', { platform: 'darwin', arch: 'x64' }, '/usr/local/lib/p11-kit-proxy.dylib'],
    ['MacPorts', { platform: 'darwin', arch: 'arm64' }, '/opt/local/lib/p11-kit-proxy.so'],
    ['FreeBSD', { platform: 'freebsd', arch: 'x64' }, '/usr/local/lib/p11-kit-proxy.so'],
  ])("p11-kit's proxy: %s", (_, kind, path) => {
    const proxy = put(path);
    put(SOFTHSM);
    expect(find('pkcs11:token=a', machine(kind)).path).toBe(proxy);
  });

  test('else the one that p11-kit has configured, else the one of the well-known places', () => {
    const opensc = put(OPENSC);
    expect(find('pkcs11:token=a').path).toBe(opensc);
    const own = put('/opt/acme/lib/acme.so');
    put('/usr/share/p11-kit/modules/acme.module', `# ours\n\nmodule: ${own}\n`);
    expect(find('pkcs11:token=a').path).toBe(own);
  });

  test('several: ERR_MODULE_AMBIGUOUS with a URI for each, and without the PIN', () => {
    const paths = [put(OPENSC), put(SOFTHSM)];
    const error = refusal('pkcs11:token=a%20b;id=%01?pin-value=S3cr3t&x-init-reserved=z');
    expect(error.code).toBe('ERR_MODULE_AMBIGUOUS');
    for (const path of paths) {
      expect(error.hint).toContain(`\n  pkcs11:token=a%20b;id=%01?x-init-reserved=z&module-path=${path}`);
    }
    expect(everythingOf(error)).not.toContain('S3cr3t');
    const found = (error.hint as string).split('\n  ').slice(1);
    expect(found.map((uri) => find(uri).path).sort()).toEqual(paths.sort());
  });

  test('one file under two names is one module', () => {
    const opensc = put(OPENSC);
    mkdirSync(join(root, '/usr/lib/x86_64-linux-gnu/pkcs11'));
    symlinkSync(opensc, join(root, '/usr/lib/x86_64-linux-gnu/pkcs11/opensc-pkcs11.so'));
    expect(find('pkcs11:token=a').path).toBe(opensc);
  });

  test('none: ERR_MODULE_NOT_FOUND with every path that was tried', () => {
    const error = refusal('pkcs11:token=a');
    expect(error).toMatchObject({ code: 'ERR_MODULE_NOT_FOUND', hint: expect.stringContaining('?module-path=') });
    for (const path of [PROXY, OPENSC, SOFTHSM, '/usr/lib/libykcs11.so', '/opt/cloudhsm/lib/libcloudhsm_pkcs11.so']) {
      expect(error.hint).toContain(`\n  ${root}${path}`);
    }
    expect(error.hint).toContain(`\n  ${root}/usr/share/p11-kit/modules/*.module`);
    expect(error.hint).toContain(`\n  ${root}/home/.config/pkcs11/modules/*.module`);
  });

  test('Windows: nothing is looked for, and that is said', () => {
    const error = refusal('pkcs11:token=a', machine({ platform: 'win32', arch: 'x64' }));
    expect(error).toMatchObject({
      code: 'ERR_MODULE_NOT_FOUND',
      hint: expect.stringMatching(/on Windows none is looked/),
    });
  });
});

describe('module-name', () => {
  test.each<[file: string, name: string, fits: boolean]>([
    ['libsofthsm2.so', 'softhsm2', true],
    ['libsofthsm2.so', 'SoftHSM2', true],
    ['libsofthsm2.so', 'libsofthsm2', true],
    ['libsofthsm2.so', 'softhsm', false],
    ['libsofthsm2.so', 'libsofthsm2.so', false],
    ['opensc-pkcs11.so', 'opensc', true],
    ['opensc-pkcs11.so', 'opensc-pkcs11', true],
    ['onepin-opensc-pkcs11.so', 'opensc', false],
    ['libtpm2_pkcs11.so.1.9.0', 'tpm2_pkcs11', true],
    ['libtpm2_pkcs11.so.1', 'tpm2', true],
    ['libykcs11.2.dylib', 'ykcs11', false],
    ['libykcs11.dylib', 'ykcs11', true],
    ['cknfast.dll', 'cknfast', true],
    ['opensc.module', 'opensc', true],
    ['x.so', '', false],
  ])('%s by %s: %s', (file, name, fits) => {
    expect(fitsName(file, name)).toBe(fits);
  });

  test("p11-kit's name for it, then well-known places, then all folders for modules", () => {
    const anywhere = put('/usr/lib64/pkcs11/libacme.so');
    expect(find('pkcs11:token=a?module-name=acme').path).toBe(anywhere);
    put(PROXY);
    const configured = put('/opt/acme/x1.so');
    put('/etc/pkcs11/modules/acme.module', `module: ${configured}\nx-init-reserved: slot=1\n`);
    expect(find('pkcs11:token=a?module-name=acme')).toMatchObject({ path: configured, initReserved: 'slot=1' });
    expect(find('pkcs11:token=a?module-name=X1').path).toBe(configured);
    const softhsm = put(SOFTHSM);
    expect(find('pkcs11:token=a?module-name=softhsm2').path).toBe(softhsm);
  });

  test('among the libraries of the machine it means those alone that are modules by their own name', () => {
    put('/usr/lib/x86_64-linux-gnu/libc.so.6');
    put('/usr/lib/x86_64-linux-gnu/libssl.so');
    put('/usr/lib/x86_64-linux-gnu/libacme.so');
    for (const name of ['c', 'ssl', 'libssl', 'acme']) {
      expect(refusal(`pkcs11:?module-name=${name}`).code).toBe('ERR_MODULE_NOT_FOUND');
    }
    const nss = put('/usr/lib/x86_64-linux-gnu/libsoftokn3.so');
    const acme = put('/usr/lib/x86_64-linux-gnu/libacme-pkcs11.so');
    expect(find('pkcs11:?module-name=softokn3').path).toBe(nss);
    expect(find('pkcs11:?module-name=acme').path).toBe(acme);
  });

  test('a relative path in a configuration counts from the folders for modules', () => {
    const file = put('/usr/lib/x86_64-linux-gnu/pkcs11/acme-pkcs11.so');
    put('/usr/share/p11-kit/modules/acme.module', 'module: acme-pkcs11.so\n');
    expect(find('pkcs11:?module-name=acme').path).toBe(file);
  });

  test('two of the name: ERR_MODULE_AMBIGUOUS; none: the folders are listed', () => {
    put('/usr/lib64/pkcs11/libacme.so', '1');
    put('/usr/local/lib/pkcs11/libacme.so', '2');
    expect(refusal('pkcs11:?module-name=acme').code).toBe('ERR_MODULE_AMBIGUOUS');
    const error = refusal('pkcs11:?module-name=nothing');
    expect(error.message).toMatch(/^no PKCS#11 module fits pkcs11:\?module-name=nothing/);
    expect(error.hint).toContain(`\n  ${root}/usr/lib64/pkcs11/*`);
  });

  test('a module-path that is a directory (RFC 7512 §2.4): the one in it, or the one of the name', () => {
    const acme = put('/opt/modules/libacme.so');
    const folder = join(root, '/opt/modules');
    expect(find(`pkcs11:?module-path=${folder}`).path).toBe(acme);
    const other = put('/opt/modules/other.so');
    put('/opt/modules/README');
    expect(refusal(`pkcs11:?module-path=${folder}`).code).toBe('ERR_MODULE_AMBIGUOUS');
    expect(find(`pkcs11:?module-path=${folder}&module-name=other`).path).toBe(other);
    expect(find(`pkcs11:?module-path=${acme}&module-name=acme`).path).toBe(acme);
    const error = refusal(`pkcs11:?module-path=${acme}&module-name=other`);
    expect([error.code, error.hint]).toEqual(['ERR_MODULE_NOT_FOUND', expect.stringContaining(acme)]);
  });
});

describe("p11-kit's configuration", () => {
  const USER = '/home/.config/pkcs11';
  const paths = (on = machine()): string[] => {
    try {
      return [find('pkcs11:token=a', on).path];
    } catch (error) {
      return [...((error as { hint: string }).hint.matchAll(/module-path=(\S+)/g) ?? [])].map(
        ([, path]) => path as string,
      );
    }
  };
  const module = (name: string, folder: string, ...lines: string[]): string => {
    const path = put(`/opt/${name}.so`);
    put(`${folder}/modules/${name}.module`, [`module: ${path}`, ...lines, ''].join('\n'));
    return path;
  };

  test.each<[why: string, line: string]>([
    ['a remote one', 'remote: |ssh host p11-kit remote x.so'],
    ['one with certificate authorities only', 'trust-policy: yes'],
    ['one for others', 'enable-in: p11-kit-proxy, firefox'],
    ['one not for us', 'disable-in: seahorse holdfast'],
    ['one that is turned off', 'module:'],
  ])('%s is left out', (_, line) => {
    const used = module('used', '/etc/pkcs11');
    module('left-out', '/etc/pkcs11', line);
    expect(paths()).toEqual([used]);
  });

  test.each([
    ['one for us', 'enable-in: firefox holdfast'],
    ['one not for others', 'disable-in: p11-kit-proxy'],
  ])('%s is used', (_, line) => {
    const used = module('used', '/etc/pkcs11', line);
    expect(paths()).toEqual([used]);
  });

  test("the user's comes first, also in $XDG_CONFIG_HOME, and fills in from the machine's", () => {
    module('acme', '/etc/pkcs11', 'x-init-reserved: a');
    const own = put('/opt/own.so');
    put(`${USER}/modules/acme.module`, `module: ${own}\n`);
    expect(find('pkcs11:token=a')).toEqual({ name: 'acme', path: own, initReserved: 'a' });
    put('/xdg/pkcs11/modules/acme.module', 'module:\n');
    expect(paths(machine(LINUX, { configHome: join(root, 'xdg') }))).not.toContain(own);
  });

  test.each<[system: string, user: string, id: number, found: string]>([
    ['', '', 1000, 'both'],
    ['user-config: none', 'user-config: only', 1000, 'system'],
    ['user-config: merge', 'user-config: only', 1000, 'user'],
    ['user-config: only', '', 1000, 'user'],
    ['', 'user-config: none', 1000, 'system'],
    ['user-config: merge', '', 0, 'system'],
  ])('%j and %j of user %s: %s', (system, user, id, found) => {
    put('/etc/pkcs11/pkcs11.conf', `${system}\n`);
    put(`${USER}/pkcs11.conf`, `# mine\n${user}\n`);
    const files = { system: module('sys', '/etc/pkcs11'), user: module('usr', USER) };
    const wanted = { both: [files.system, files.user], system: [files.system], user: [files.user] }[found];
    expect(paths(machine(LINUX, { id })).sort()).toEqual(wanted?.sort());
  });

  test('what is configured and not there is no module', () => {
    put('/etc/pkcs11/modules/gone.module', 'module: /nowhere/gone.so\n');
    const error = refusal('pkcs11:token=a');
    expect([error.code, error.hint]).toEqual(['ERR_MODULE_NOT_FOUND', expect.stringContaining('\n  /nowhere/gone.so')]);
  });
});
