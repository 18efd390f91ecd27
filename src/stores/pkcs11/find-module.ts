import { existsSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { HoldfastError } from '../../errors.ts';
import { type Address, uriWith } from './address.ts';
import { type Machine, thisMachine } from './module-places.ts';
import { configuredModules } from './p11-kit.ts';

/** A module to load, and what its configuration wants to have said to C_Initialize. */
export interface FoundModule {
  readonly path: string;
  readonly initReserved?: string | undefined;
}

/** What the URI says of the module. */
type Wanted = Pick<Address, 'uri' | 'text' | 'modulePath' | 'moduleName'>;

/**
 * The one module that a URI without the path of one means. Exactly one is ever loaded: a module is foreign code, which
 * may hang, crash or ask for things, and a token that is found in whichever answers first is tomorrow another one.
 *
 * By `module-name`: what p11-kit has configured under that name, else a file of that name where modules are put. By a
 * `module-path` that is a directory: the one in there. By neither: p11-kit's proxy, which is all the modules that this
 * machine has configured in one, else the one that is configured, else the one of the well-known places.
 *
 * @throws {HoldfastError} `ERR_MODULE_NOT_FOUND` with every path that was tried, `ERR_MODULE_AMBIGUOUS` with a URI for each
 */
export function findModule(wanted: Wanted, machine: Machine = thisMachine()): FoundModule {
  const tried: string[] = [];
  for (const look of waysFor(wanted, machine)) {
    const found = distinct(look(tried));
    const [first] = found;
    if (first && found.length === 1) return first;
    if (first) throw ambiguous(wanted, found);
  }
  throw notFound(wanted, tried, machine);
}

type Look = (tried: string[]) => readonly FoundModule[];

function waysFor({ modulePath, moduleName }: Wanted, machine: Machine): readonly Look[] {
  const isNamed = ({ path }: FoundModule): boolean => moduleName === undefined || fitsName(basename(path), moduleName);
  if (modulePath !== undefined) {
    return isDirectory(modulePath)
      ? [(tried) => modulesIn(modulePath, tried).filter(isNamed)]
      : [(tried) => existing([modulePath], tried).filter(isNamed)];
  }
  const configured: Look = (tried) =>
    configuredModules(machine, tried)
      .filter((one) => moduleName === undefined || fitsName(one.name, moduleName) || isNamed(one))
      .filter(({ path }) => existing([path], tried).length > 0);
  const wellKnown: Look = (tried) => existing(machine.wellKnown, tried).filter(isNamed);
  if (moduleName === undefined) return [(tried) => existing(machine.proxies, tried).slice(0, 1), configured, wellKnown];
  const anywhere: Look = (tried) => [
    ...machine.moduleFolders.flatMap((one) => modulesIn(one, tried).filter(isNamed)),
    ...machine.libraryFolders.flatMap((one) => modulesIn(one, tried, MODULE).filter(isNamed)),
  ];
  return [configured, wellKnown, anywhere];
}

function existing(paths: readonly string[], tried: string[]): FoundModule[] {
  tried.push(...paths.filter((path) => !tried.includes(path)));
  return paths.filter((path) => existsSync(path)).map((path) => ({ path }));
}

/** Among all libraries of a machine: a module by its own name. No other may run because a URI names it. */
const MODULE = /pkcs[-_]?11|cryptoki|softokn/i;

function modulesIn(folder: string, tried: string[], kind: RegExp = AFFIXES): FoundModule[] {
  tried.push(join(folder, kind === AFFIXES ? '*' : '*pkcs11*'));
  try {
    const names = readdirSync(folder).filter((name) => AFFIXES.test(name) && kind.test(name));
    return names.map((name) => ({ path: join(folder, name) }));
  } catch {
    return [];
  }
}

function isDirectory(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}

const AFFIXES = /\.(so|dylib|dll)(\.\d+)*$/i;

/**
 * RFC 7512 §2.4: the name is that of the file without what the system adds (`lib`, `.so`, `.dylib`), in any case of
 * letters. Many files end with `-pkcs11` besides, which a name may leave out.
 */
export function fitsName(file: string, name: string): boolean {
  const plain = file
    .toLowerCase()
    .replace(AFFIXES, '')
    .replace(/\.module$/, '');
  const wanted = name.toLowerCase();
  const forms = [plain, plain.replace(/^lib/, '')].flatMap((form) => [form, form.replace(/[-_]pkcs11$/, '')]);
  return forms.includes(wanted);
}

/** One file under several names is one module. */
function distinct(found: readonly FoundModule[]): FoundModule[] {
  const byFile = new Map<string, FoundModule>();
  for (const one of found) {
    const real = realPath(one.path);
    if (!byFile.has(real)) byFile.set(real, one);
  }
  return [...byFile.values()];
}

function realPath(path: string): string {
  try {
    return realpathSync.native(path);
  } catch {
    return path;
  }
}

function ambiguous(wanted: Wanted, found: readonly FoundModule[]): HoldfastError {
  const uris = found.map(({ path, initReserved }) => uriFor(wanted, path, initReserved));
  return new HoldfastError('ERR_MODULE_AMBIGUOUS', `${found.length} PKCS#11 modules fit ${wanted.text}`, {
    hint: ['only one is loaded; say which:', ...uris].join('\n  '),
  });
}

/** The same URI, with this module. */
function uriFor({ uri }: Wanted, path: string, initReserved: string | undefined): string {
  const isModule = (name: string): boolean => name === 'module-path' || name === 'module-name';
  const query = new Map([...uri.query].filter(([name]) => !isModule(name)));
  query.set('module-path', Buffer.from(path));
  if (initReserved !== undefined && !query.has('x-init-reserved'))
    query.set('x-init-reserved', Buffer.from(initReserved));
  return uriWith(
    { uri: { ...uri, query } },
    [...uri.path].filter(([name]) => !name.startsWith('pin-')),
  );
}

function notFound(
  { text, moduleName, modulePath }: Wanted,
  tried: readonly string[],
  { platform }: Machine,
): HoldfastError {
  const isNamed = moduleName !== undefined || modulePath !== undefined;
  const what = isNamed ? `no PKCS#11 module fits ${text}` : `${text} names no PKCS#11 module, and none was found`;
  const hint = 'add its path to the key URI: ?module-path=/usr/lib/softhsm/libsofthsm2.so or the like';
  // Windows has no place where modules are put, and p11-kit is rare there.
  const looked = platform === 'win32' ? ['on Windows none is looked for'] : ['these were looked for:', ...tried];
  return new HoldfastError('ERR_MODULE_NOT_FOUND', what, { hint: `${hint}; ${looked.join('\n  ')}` });
}
