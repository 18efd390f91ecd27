import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, isAbsolute, join } from 'node:path';
import type { Machine } from './module-places.ts';

/** A module as pkcs11.conf(5) describes it. */
export interface ConfiguredModule {
  /** The name of its file of configuration, without `.module`. */
  readonly name: string;
  readonly path: string;
  /** What is given to C_Initialize. */
  readonly initReserved: string | undefined;
}

type Settings = ReadonlyMap<string, string>;

/**
 * The modules that p11-kit has configured for us. Left out: those without a file here (`remote:`), those for other
 * programs, and those that only hold certificate authorities.
 *
 * @param tried gets the folders that were looked into
 */
export function configuredModules(machine: Machine, tried: string[]): ConfiguredModule[] {
  return [...configurations(machine, tried)].flatMap(([name, settings]) => {
    const file = settings.get('module') ?? '';
    if (file === '' || settings.has('remote') || settings.get('trust-policy') === 'yes' || !isForUs(settings))
      return [];
    // An empty value is none: it is how p11-kit's own files have it.
    const initReserved = settings.get('x-init-reserved') || undefined;
    return [{ name, path: isAbsolute(file) ? file : inFolders(file, machine), initReserved }];
  });
}

/** By name; what stands in several files of one name is merged, and the user's comes before the machine's and a package's. */
function configurations(machine: Machine, tried: string[]): Map<string, Settings> {
  const merged = new Map<string, Settings>();
  for (const folder of foldersOf(machine)) {
    tried.push(join(folder, '*.module'));
    for (const file of namesIn(folder)) {
      const name = file.slice(0, -'.module'.length);
      merged.set(name, new Map([...readSettings(join(folder, file)), ...(merged.get(name) ?? [])]));
    }
  }
  return merged;
}

/** pkcs11.conf(5), `user-config`: the machine says whether the user may, then the user whether alone. */
function foldersOf({ systemFolders, packageFolders, userFolder }: Machine): string[] {
  const system = [...systemFolders.map((folder) => join(folder, 'modules')), ...packageFolders];
  const mode = modeIn(systemFolders) ?? 'merge';
  if (userFolder === undefined || mode === 'none') return system;
  const user = modeIn([userFolder]) ?? mode;
  if (user === 'none') return system;
  return user === 'only' ? [join(userFolder, 'modules')] : [join(userFolder, 'modules'), ...system];
}

const modeIn = (folders: readonly string[]): string | undefined =>
  folders
    .map((folder) => readSettings(join(folder, 'pkcs11.conf')).get('user-config'))
    .find((mode) => mode !== undefined);

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
      .filter((name) => /^[A-Za-z0-9][A-Za-z0-9_.,-]*\.module$/.test(name))
      .sort();
  } catch {
    return [];
  }
}

/** `name: value`, a line each; a comment has a line of its own. A file that cannot be read says nothing. */
function readSettings(path: string): Settings {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return new Map();
  }
  const lines = text.split('\n').map((line) => /^\s*([\w.-]+)\s*:\s*(.*?)\s*$/.exec(line));
  return new Map(lines.flatMap((match) => (match ? [[match[1] as string, match[2] as string]] : [])));
}

/** The first that has the file. */
function inFolders(file: string, { moduleFolders, libraryFolders }: Machine): string {
  const paths = [...moduleFolders, ...libraryFolders].map((folder) => join(folder, file));
  return paths.find((path) => existsSync(path)) ?? paths[0] ?? file;
}

/** We are the program that Node runs, and holdfast. */
function isForUs(settings: Settings): boolean {
  const listed = (name: string): boolean | undefined => {
    const programs = settings.get(name)?.split(/[\s,]+/);
    return programs?.some((program) => program === 'holdfast' || program === basename(process.execPath));
  };
  return (listed('enable-in') ?? true) && !(listed('disable-in') ?? false);
}
