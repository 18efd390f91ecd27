import { type Import, packageOf, perSource, type Reach, type Source, targetOf } from './source-tree.ts';

export interface Finding {
  readonly law: string;
  readonly file: string;
  readonly message: string;
}

interface Home {
  readonly at: (path: string) => boolean;
  readonly native?: boolean;
  readonly dynamicOnly?: boolean;
}

const only =
  (...files: readonly string[]) =>
  (path: string): boolean =>
    files.includes(path);

/** Each third-party package and the one place that may import it. A new package gets its line here. */
export const HOMES: Readonly<Record<string, Home>> = {
  pkcs11js: { at: (path) => path.startsWith('src/stores/pkcs11/'), native: true },
  'graphene-pk11': { at: only('src/stores/pkcs11/administer.ts'), native: true },
  'pcsc-mini': { at: (path) => path.startsWith('src/stores/yubikey/'), native: true },
  '@peculiar/x509': { at: only('src/pki.ts') },
  'reflect-metadata': { at: only('src/pki.ts') },
  asn1js: { at: only('src/pki.ts') },
  '@peculiar/webcrypto': { at: only('src/webcrypto.ts') },
  'node-forge': { at: only('src/stores/file/pkcs12.ts') },
  'https-proxy-agent': { at: only('src/proxy.ts') },
  '@aws-sdk/client-sts': { at: only('src/cli/demo.ts'), dynamicOnly: true },
};

/** Files whose packages are heavy: loaded when somebody asks for what they do. */
const LATE = new Set(['src/pki.ts', 'src/webcrypto.ts', 'src/proxy.ts']);

/** What a process that signs once has loaded before its first `import()`. */
const isHot = (path: string): boolean =>
  /^src\/(index|cli\/main|cli\/credential-process|stores\/index|stores\/[^/]+\/(index|in-place|isolated))\.ts$/.test(
    path,
  );

/** The signing side: a service that verifies with these would agree with its own mistakes. */
const SIGNING =
  /^src\/(sigv4|session|check-session|provider|endpoint|identity|chain|certificate|secret|webcrypto)\.ts$|^src\/stores\//;

const room = (path: string): string | undefined => /^src\/stores\/([^/]+)\//.exec(path)?.[1];

const wing = (path: string): string | undefined => {
  const folder = /^src\/([^/]+)\//.exec(path)?.[1];
  return folder === 'stores' ? undefined : folder;
};

/** Laws 1 to 4 as far as imports tell, and the local service's own law. */
export function lawsOfImports(sources: readonly Source[]): Finding[] {
  const edges = new Map(sources.map((source) => [source.path, edgesOf(source)]));
  return [
    ...sources.flatMap((source) => edgesOf(source).flatMap((edge) => walls(source.path, edge))),
    ...sources.flatMap((source) => source.imports.flatMap((one) => homes(source.path, one))),
    ...sources.flatMap((source) => reaches(source.path, edges)),
    ...cycles(edges),
  ];
}

interface Edge {
  /** A file of the tree, or the name of a package. */
  readonly to: string;
  readonly how: Reach;
}

const edgesOf = perSource(({ path, imports }: Source): Edge[] =>
  imports.flatMap(({ specifier, how }) => {
    const to = targetOf(path, specifier) ?? packageOf(specifier);
    return to === undefined ? [] : [{ to, how }];
  }),
);

/** Law 2, for one import of a file. */
function walls(from: string, { to, how }: Edge): Finding[] {
  if (!to.startsWith('src/')) return [];
  const broken = (message: string): Finding[] => [{ law: '2', file: from, message: `${message} (${to})` }];
  if (wing(from) === 'local' && wing(to) !== 'local' && to !== 'src/errors.ts' && to !== 'src/pki.ts') {
    return [{ law: 'local', file: from, message: `src/local imports only errors, pki and node: (${to})` }];
  }
  if (to === 'src/index.ts' && wing(from) !== 'cli') return broken('the front door is for those outside');
  if (wing(to) !== undefined && wing(to) !== wing(from)) {
    if (wing(from) === undefined) return broken('the corridor and the stores never use a wing');
    if (wing(from) !== 'cli' && !(wing(from) === 'enroll' && wing(to) === 'local')) {
      return broken('wings do not use each other');
    }
    if (how === 'dynamic' && wing(from) !== 'cli') return broken('import() of a wing stands only in cli/');
  }
  const isElsewhere = room(to) !== undefined && room(to) !== room(from);
  if (isElsewhere && from === 'src/stores/index.ts' && how === 'static') {
    return broken('a store is registered with import(), never loaded unasked');
  }
  if (room(from) !== undefined && (isElsewhere || to === 'src/stores/index.ts')) {
    return broken('a store knows no other store');
  }
  if (to === 'src/stores/store.ts' && how === 'type') return [];
  const wall = wallsAround(to).find((folder) => !from.startsWith(folder));
  if (wall === undefined || to === `${wall}index.ts`) return [];
  return broken(
    how === 'dynamic' && room(to)
      ? 'import() of a store stands only in stores/index.ts'
      : `${wall} is entered by its index.ts`,
  );
}

/** Folders below `src/` that hold a file, the outermost first. */
const wallsAround = (path: string): string[] =>
  [...path.matchAll(/\//g)].map(({ index }) => path.slice(0, index + 1)).filter((folder) => folder !== 'src/');

/** Law 3, for one import of a package; and law 2 where nobody can tell what is imported. */
function homes(from: string, { specifier, how }: Import): Finding[] {
  if (specifier === undefined) return [{ law: '2', file: from, message: 'import() of something computed' }];
  const name = packageOf(specifier);
  if (name === undefined) return [];
  const broken = (message: string): Finding[] => [{ law: '3', file: from, message }];
  if (wing(from) === 'local') {
    return [{ law: 'local', file: from, message: `src/local imports only errors, pki and node: (${name})` }];
  }
  const home = HOMES[name];
  if (home === undefined) return broken(`the package ${name} has no home (test/helpers/laws-imports.ts lists them)`);
  if (!home.at(from)) return broken(`the package ${name} is imported outside its home`);
  return home.dynamicOnly && how === 'static' ? broken(`the package ${name} is imported late, by import()`) : [];
}

/** Laws 1 and 3: what a file has loaded once it is loaded; and what the local service must never see. */
function reaches(from: string, edges: ReadonlyMap<string, readonly Edge[]>): Finding[] {
  const found: Finding[] = [];
  const loaded = closure(from, edges, ['static']);
  const isInside = room(from) !== undefined && !from.endsWith('/index.ts');
  for (const [to, path] of loaded) {
    const way = path.join(' -> ');
    const isPackage = !to.startsWith('src/');
    if (isPackage && HOMES[to]?.native && !isInside) found.push({ law: '1', file: from, message: `loads ${way}` });
    if (isHot(from) && (isPackage || LATE.has(to))) {
      found.push({ law: '3', file: from, message: `the hot path loads ${way}` });
    }
  }
  if (from === 'src/local/index.ts') {
    for (const [to, path] of closure(from, edges, ['static', 'dynamic', 'type'])) {
      if (!SIGNING.test(to)) continue;
      found.push({ law: 'local', file: from, message: `sees the signing side: ${path.join(' -> ')}` });
    }
  }
  return found;
}

/** Everything reachable by these kinds of import, each with the shortest way to it. */
function closure(
  from: string,
  edges: ReadonlyMap<string, readonly Edge[]>,
  kinds: readonly Reach[],
): Map<string, readonly string[]> {
  const found = new Map<string, readonly string[]>();
  const open: (readonly string[])[] = [[from]];
  for (let path = open.shift(); path; path = open.shift()) {
    for (const { to, how } of edges.get(path.at(-1) as string) ?? []) {
      if (!kinds.includes(how) || found.has(to)) continue;
      found.set(to, [...path, to]);
      open.push([...path, to]);
    }
  }
  return found;
}

/** Law 4: files that import each other, each circle once. An `import()` closes no circle: both sides are loaded by then. */
function cycles(edges: ReadonlyMap<string, readonly Edge[]>): Finding[] {
  const circles = new Map<string, Finding>();
  for (const file of edges.keys()) {
    const circle = closure(file, edges, ['static', 'type']).get(file);
    const key = circle && [...new Set(circle)].sort().join();
    if (circle && key && !circles.has(key)) {
      circles.set(key, { law: '4', file, message: `import cycle ${circle.join(' -> ')}` });
    }
  }
  return [...circles.values()];
}
