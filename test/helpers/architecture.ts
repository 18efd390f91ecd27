import { lawOfGlobals, lawsOfCode } from './laws-code.ts';
import { type Finding, lawsOfImports } from './laws-imports.ts';
import { type Node, nodesOf, perSource, readTree, type Source, sourcesOf, type Tree } from './source-tree.ts';

/** Longest file, lines (law 4). */
const LIMIT = 300;

/** What the laws are about, read from a checkout. */
export const readHouse = (root: string): Tree =>
  readTree(root, ['src', 'test', 'scripts', 'docs', 'native-notes', 'package.json']);

/** Every law of the house that a machine can check, held against a tree of files. */
export function checkLaws(tree: Tree): Finding[] {
  const sources = sourcesOf(tree);
  return [
    ...lawsOfImports(sources),
    ...sources.flatMap(lawsOfCode),
    ...lawOfGlobals(sources),
    ...lawOfSize(tree),
    ...lawOfCodes(tree, sources),
    ...lawOfStores(tree),
    ...lawOfSubpaths(tree),
  ];
}

export const print = ({ law, file, message }: Finding): string => `${file}: law ${law}: ${message}`;

/** Law 4: short files. */
const lawOfSize = (tree: Tree): Finding[] =>
  [...tree]
    .filter(([file]) => /\.(ts|mjs)$/.test(file))
    .map(([file, text]) => ({ file, lines: text.split('\n').length - 1 }))
    .filter(({ lines }) => lines > LIMIT)
    .map(({ file, lines }) => ({ law: '4', file, message: `${lines} lines, at most ${LIMIT}` }));

/** Law 5: the table of codes, the sources and docs/errors.md say the same. */
function lawOfCodes(tree: Tree, sources: readonly Source[]): Finding[] {
  const table = 'src/errors.ts';
  const page = 'docs/errors.md';
  const codes = codesOf(sources.find(({ path }) => path === table));
  const headings = [...(tree.get(page) ?? '').matchAll(/^#+ +`?(ERR_[A-Z0-9_]+)/gm)].map(([, code]) => code as string);
  const others = sources.filter(({ path }) => path !== table);
  const used = new Set(others.flatMap(literalsOf));
  const law = '5';
  return [
    ...codes
      .filter((code) => !headings.includes(code))
      .map((code) => ({ law, file: page, message: `${code} has no section` })),
    ...codes.filter((code) => !used.has(code)).map((code) => ({ law, file: table, message: `${code} is never used` })),
    ...headings
      .filter((code) => !codes.includes(code))
      .map((code) => ({ law, file: page, message: `${code} does not exist` })),
    ...headings
      .filter((code, at) => headings.indexOf(code) !== at)
      .map((code) => ({ law, file: page, message: `${code} stands twice` })),
    ...others.flatMap((source) =>
      thrownCodes(source)
        .filter((code) => !codes.includes(code))
        .map((code) => ({ law, file: source.path, message: `${code} is not in the table of codes` })),
    ),
  ];
}

/** The keys of `export const ERROR_CODES = { ... }`. */
function codesOf(source: Source | undefined): string[] {
  const table = nodesOf(source?.body, 'VariableDeclarator').find(({ id }) => (id as Node).value === 'ERROR_CODES');
  const [object] = nodesOf(table?.init, 'ObjectExpression');
  const properties = (object?.properties ?? []) as readonly { key: Node }[];
  return properties.map(({ key }) => key.value as string);
}

const literalsOf = perSource(({ body }) => nodesOf(body, 'StringLiteral').map(({ value }) => value as string));

/** Codes given to `new SomeError(code, ...)`. Others, such as Node's own, may be compared with. */
const thrownCodes = perSource(({ body }) =>
  nodesOf(body, 'NewExpression')
    .filter(({ callee }) => /Error$/.test(String((callee as Node).value)))
    .flatMap(({ arguments: given }) => nodesOf((given as readonly unknown[] | undefined)?.[0], 'StringLiteral'))
    .map(({ value }) => value as string)
    .filter((value) => value.startsWith('ERR_')),
);

const roomsOf = (tree: Tree): string[] => foldersIn(tree, /^src\/stores\/([^/]+)\//);

const foldersIn = (tree: Tree, pattern: RegExp): string[] => [
  ...new Set([...tree.keys()].flatMap((path) => pattern.exec(path)?.[1] ?? [])),
];

/** Laws 6 and 9: a store is a folder, a line in stores/index.ts, a page in native-notes/, and a test that conforms. */
function lawOfStores(tree: Tree): Finding[] {
  const registration = tree.get('src/stores/index.ts') ?? '';
  const notes = tree.get('native-notes/README.md') ?? '';
  return roomsOf(tree).flatMap((room) => {
    const file = `src/stores/${room}/index.ts`;
    const found: Finding[] = [];
    if (!tree.has(file)) found.push({ law: '9', file, message: 'a store has a front door' });
    if (!registration.includes(`import('./${room}/index.ts')`)) {
      found.push({ law: '9', file: 'src/stores/index.ts', message: `the store ${room} has no line` });
    }
    if (!tree.has(`native-notes/${room}.md`) && !new RegExp(`\\b${room}\\b`).test(notes)) {
      found.push({ law: '9', file: 'native-notes/README.md', message: `the store ${room} has no page and no word` });
    }
    const conforms = [...tree].some(
      ([path, text]) =>
        path.startsWith('test/') && path.endsWith('.test.ts') && path.includes(room) && text.includes('conformance.ts'),
    );
    if (!conforms) {
      found.push({ law: '6', file, message: `no test of the store ${room} runs test/stores/conformance.ts` });
    }
    return found;
  });
}

/** Each wing (but the CLI) and each store is a subpath of the package. */
function lawOfSubpaths(tree: Tree): Finding[] {
  const manifest = JSON.parse(tree.get('package.json') ?? '{}') as { exports?: Record<string, unknown> };
  const wings = foldersIn(tree, /^src\/([^/]+)\//).filter((folder) => folder !== 'stores' && folder !== 'cli');
  const wanted = [...wings, ...roomsOf(tree).map((room) => `stores/${room}`)].map((folder) => `./${folder}`);
  return wanted
    .filter((subpath) => !(subpath in (manifest.exports ?? {})))
    .map((subpath) => ({ law: '9', file: 'package.json', message: `exports has no "${subpath}"` }));
}
