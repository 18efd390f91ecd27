import type { Finding } from './laws-imports.ts';
import { dottedName, type Node, nodesOf, perSource, rootName, type Source, walk } from './source-tree.ts';

const isCli = (path: string): boolean => path.startsWith('src/cli/');

/** Front doors: the only files that hand on what stands elsewhere. */
const isFrontDoor = (path: string): boolean => /^src\/([^/]+\/|stores\/[^/]+\/)?index\.ts$/.test(path);

/** Laws 4, 7, 8 and the manners of the source, for one file of `src/`. */
export const lawsOfCode = perSource((source: Source): Finding[] => {
  const { path: file } = source;
  const as = (law: string, messages: readonly string[]): Finding[] =>
    messages.map((message) => ({ law, file, message }));
  return [
    ...as('4', barrels(source)),
    ...as('7', isCli(file) ? [] : ambient(source)),
    ...as('7', file === 'src/cli/main.ts' ? [] : onLoad(source)),
    ...as('8', secrets(source)),
    ...as('style', manners(source)),
  ];
});

/** Law 7: `globalThis` is the registry of PKCS#11 modules, in one file. */
export function lawOfGlobals(sources: readonly Source[]): Finding[] {
  const users = sources.filter(usesGlobals);
  return users
    .filter(({ path }, at) => !path.startsWith('src/stores/pkcs11/') || at !== users.findIndex(inPkcs11))
    .map(({ path }) => ({
      law: '7',
      file: path,
      message: 'globalThis is for the registry of PKCS#11 modules, in one file',
    }));
}

const usesGlobals = perSource(({ body }) =>
  nodesOf(body, 'Identifier').some(({ value }) => value === 'globalThis' || value === 'global'),
);

const inPkcs11 = ({ path }: Source): boolean => path.startsWith('src/stores/pkcs11/');

function barrels({ path, body, imports }: Source): string[] {
  const found: string[] = [];
  const imported = new Set(imports.flatMap(({ names }) => names));
  for (const node of body) {
    const specifiers = (node.specifiers ?? []) as readonly Node[];
    if (node.type === 'ExportAllDeclaration' || specifiers.some(({ type }) => type === 'ExportNamespaceSpecifier')) {
      found.push('export * hides what is exported');
    } else if (node.type === 'ExportNamedDeclaration' && !isFrontDoor(path)) {
      const handsOn = node.source || specifiers.some(({ orig }) => imported.has((orig as Node).value as string));
      if (handsOn) found.push('hands on what stands in another file: only a front door does');
    }
    if (path === 'src/index.ts' && (node.type !== 'ExportNamedDeclaration' || !node.source)) {
      found.push('the front door holds named re-exports only');
    }
  }
  return found;
}

const OUTPUT = /^process\.(exit|exitCode|abort|stdout|stderr|emitWarning)$/;

function ambient({ body, imports }: Source): string[] {
  const found: string[] = [];
  for (const { specifier, names } of imports) {
    if (specifier === 'node:console') found.push('logs (node:console)');
    if (specifier === 'node:process' && names.some((name) => name !== 'process')) {
      found.push('takes node:process apart: import it whole, so that what it uses can be checked');
    }
  }
  walk(body, (node) => {
    if (node.type === 'MemberExpression') {
      const name = dottedName(node);
      if (name.startsWith('console.')) found.push(`logs (${name})`);
      if (OUTPUT.test(name)) found.push(`uses ${name}, which belongs to cli/`);
    }
    if (node.type === 'CallExpression' && /(^|\.)register$/.test(dottedName(node.callee as Node))) {
      found.push('calls register()');
    }
    const declares = node.type === 'FunctionDeclaration' || node.type === 'VariableDeclarator';
    const name = (node.identifier ?? node.id) as Node | undefined;
    if (declares && name?.value === 'register') found.push('offers register()');
    return undefined;
  });
  return found;
}

const IO_MODULES =
  /^node:(fs|fs\/promises|child_process|net|tls|http|https|http2|dgram|dns|dns\/promises|readline|readline\/promises|worker_threads)$/;

const FUNCTIONS =
  /^(FunctionDeclaration|FunctionExpression|ArrowFunctionExpression|ClassMethod|PrivateMethod|Constructor|MethodProperty|GetterProperty|SetterProperty)$/;

/**
 * The one state besides the registry of modules: secrets that could be taken only once (a variable that was removed, a
 * pipe) are kept for the next refresh. It is the process's, as environment and descriptors are.
 */
const KEPT_STATE: Readonly<Record<string, string>> = { 'src/secret-places.ts': 'taken' };

/** What happens by itself when a file is loaded or an object is made: nothing that touches the world, nothing that stays. */
function onLoad({ path, body, imports }: Source): string[] {
  const found: string[] = [];
  const io = new Set(['fetch', ...imports.flatMap((one) => (IO_MODULES.test(one.specifier ?? '') ? one.names : []))]);
  const touches = (node: unknown, when: string): void =>
    walk(node, (inner) => {
      if (FUNCTIONS.test(inner.type)) return false;
      if (inner.type === 'ClassProperty' && inner.isStatic !== true) return false;
      if (inner.type === 'AwaitExpression') found.push(`awaits ${when}, which breaks require()`);
      const name = /^(Call|New)Expression$/.test(inner.type) ? rootName(inner.callee as Node) : undefined;
      if (name !== undefined && io.has(name)) found.push(`does I/O ${when} (${name})`);
      return undefined;
    });
  touches(body, 'when it is loaded');
  for (const maker of nodesOf(body, 'Constructor')) touches(maker.body, 'in a constructor');
  for (const statement of body) {
    if (statement.type === 'ExpressionStatement') found.push('does something when it is loaded');
    const declaration = (statement.type === 'ExportDeclaration' ? statement.declaration : statement) as Node;
    if (declaration.type !== 'VariableDeclaration' || declaration.declare) continue;
    if (declaration.kind !== 'const') found.push('keeps global state (a top-level let)');
    for (const { init, id } of declaration.declarations as readonly { init?: Node; id: Node }[]) {
      if (isEmptyContainer(init) && dottedName(id) !== KEPT_STATE[path])
        found.push(`keeps global state (${dottedName(id)} is made to be filled)`);
    }
  }
  return found;
}

/** A WeakMap beside a class or an object is no state of its own: it goes when they go. */
const isEmptyContainer = (init: Node | undefined): boolean =>
  init?.type === 'NewExpression'
    ? /^(Map|Set)$/.test(rootName(init.callee as Node) ?? '') &&
      ((init.arguments ?? []) as readonly unknown[]).length === 0
    : (init?.type === 'ArrayExpression' && (init.elements as readonly unknown[]).length === 0) ||
      (init?.type === 'ObjectExpression' && (init.properties as readonly unknown[]).length === 0);

/** Names whose value never stands in a message. */
const SECRET_NAMES = /(^|\.)(reveal|secretAccessKey|sessionToken|passphrase|pin|password|authorization)$/i;

function secrets({ body }: Source): string[] {
  const found: string[] = [];
  for (const node of nodesOf(body, 'CallExpression')) {
    const [first] = node.arguments as readonly { expression: Node }[];
    const whole = dottedName(node.callee as Node) === 'JSON.stringify' && dottedName(first?.expression);
    if (whole === 'process.env') found.push('prints the whole environment');
  }
  for (const error of nodesOf(body, 'NewExpression')) {
    if (!/Error$/.test(rootName(error.callee as Node) ?? '')) continue;
    walk(error.arguments, (inner) => {
      if (FUNCTIONS.test(inner.type)) return false;
      const name = inner.type === 'MemberExpression' || inner.type === 'Identifier' ? dottedName(inner) : '';
      if (SECRET_NAMES.test(name)) found.push(`puts ${name} into an error`);
      if (name === 'formatKeyUri') found.push('puts a key URI with its secrets into an error: String(uri) redacts');
      return inner.type !== 'MemberExpression' && !isKey(inner);
    });
  }
  return found;
}

/** `{ cause: thrown }` hands on an error that was checked where it was made. */
const isKey = (node: Node): boolean =>
  node.type === 'KeyValueProperty' && (node.key as Node | undefined)?.value === 'cause';

function manners({ body, text, imports }: Source): string[] {
  const found: string[] = [];
  for (const { specifier } of imports) {
    if (specifier?.startsWith('.') && !specifier.endsWith('.ts')) found.push(`"${specifier}" does not end in .ts`);
  }
  if (nodesOf(body, 'TsKeywordType').some(({ kind }) => kind === 'any')) found.push('uses any');
  if (/@ts-(ignore|expect-error|nocheck)/.test(text)) found.push('silences the compiler');
  if (/(biome|oxlint|eslint)-(ignore|disable)/.test(text)) found.push('silences the linter');
  if (/\b(TODO|FIXME)\b/.test(text)) found.push('leaves something undone');
  return found;
}
