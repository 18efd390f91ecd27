// docs/licences.md, written from what is installed. `--check`, a part of `npm run lint`: is it what it should be?
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
const PAGE = join(root, 'docs/licences.md');

/** What may be installed with holdfast, which is Apache-2.0 itself: nothing that asks more than to be named. */
const ACCEPTED = new Set(['MIT', 'ISC', '0BSD', 'BSD-2-Clause', 'BSD-3-Clause', 'Apache-2.0', 'BlueOak-1.0.0']);

/** Where an author leaves the choice: what we choose. */
const CHOSEN = { '(BSD-3-Clause OR GPL-2.0)': 'BSD-3-Clause' };

const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));

/** Packages of the lock file, by name: `{ name, version, licence, isOptional }`. */
const packages = (isWanted) =>
  Object.entries(lock.packages)
    .filter(([path, locked]) => path !== '' && isWanted(locked, path))
    .map(([path, locked]) => ({
      name: path.slice(path.lastIndexOf(FOLDER) + FOLDER.length),
      version: locked.version,
      licence: licenceOf(manifestIn(path) ?? locked),
      isOptional: locked.optional === true,
    }))
    .sort((a, b) => (`${a.name} ${a.version}` < `${b.name} ${b.version}` ? -1 : 1));

const FOLDER = 'node_modules/';

/** Undefined for an optional package that is not installed here. */
function manifestIn(path) {
  try {
    return JSON.parse(readFileSync(join(root, path, 'package.json'), 'utf8'));
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/** npm has known three forms over the years. */
const licenceOf = ({ license, licenses }) => license?.type ?? license ?? licenses?.map(({ type }) => type).join(' OR ');

function page() {
  const shipped = packages(({ dev, devOptional }) => !dev && !devOptional);
  const refused = shipped.filter(({ licence }) => !ACCEPTED.has(CHOSEN[licence] ?? licence));
  if (refused.length > 0) {
    const named = refused.map(({ name, licence }) => `${name} (${licence})`).join(', ');
    throw new Error(`not among the licences we accept: ${named}`);
  }
  const direct = Object.keys(lock.packages[''].devDependencies).map((name) => FOLDER + name);
  return `# Licences

holdfast is under the Apache License 2.0. Written by \`node scripts/licences.mjs\` from what is installed; \`npm run lint\`
checks that it is up to date.

## What is installed with it

All of it, with what these packages need in turn.

${table(
  ['package', 'version', 'licence', 'optional'],
  shipped.map(({ name, version, licence, isOptional }) =>
    row(name, version, licence in CHOSEN ? `${CHOSEN[licence]}, of ${licence}` : licence, isOptional ? 'yes' : ''),
  ),
)}

\`@aws-sdk/client-sts\` is an optional peer, which \`holdfast demo\` uses where it is installed.

## What it is built and tested with

None of these reaches those who install holdfast. \`package-lock.json\` names the licences of what they need in turn.

${table(
  ['package', 'version', 'licence'],
  packages((_, path) => direct.includes(path)).map(({ name, version, licence }) => row(name, version, licence)),
)}
`;
}

const row = (...cells) => `| ${cells.join(' | ')} |`.replaceAll('|  |', '| |');
const table = (head, rows) => [row(...head), `|${head.map(() => '---').join('|')}|`, ...rows].join('\n');

const wanted = page();
if (process.argv.includes('--check')) {
  if (readFileSync(PAGE, 'utf8') !== wanted) {
    console.error('docs/licences.md is not what is installed: run node scripts/licences.mjs');
    process.exitCode = 1;
  }
} else {
  writeFileSync(PAGE, wanted);
}
