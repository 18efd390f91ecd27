import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';
import { readHouse } from '../helpers/architecture.ts';
import { sourcesOf } from '../helpers/source-tree.ts';
import { holds, readEntries } from '../not-exercised.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (path: string): string => readFileSync(join(root, path), 'utf8');
const manifest = JSON.parse(read('package.json')) as {
  name: string;
  exports: Record<string, unknown>;
  scripts: Record<string, string>;
  files: readonly string[];
};

/** Pages for people: those at the top, and those in docs/ and native-notes/. */
const pages = ['.', 'docs', 'native-notes'].flatMap((folder) =>
  readdirSync(join(root, folder))
    .filter((name) => name.endsWith('.md'))
    .map((name) => join(folder, name)),
);

describe('the README', () => {
  const readme = read('README.md');

  test('names both commands, and both exist', () => {
    for (const command of ['npm ci && npm run demo', 'npm ci && npm test']) expect(readme).toContain(command);
    expect(Object.keys(manifest.scripts)).toEqual(expect.arrayContaining(['demo', 'test', 'test:unit', 'test:long']));
  });

  test('every script that a page tells people to run exists', () => {
    for (const page of pages) {
      for (const [, script] of read(page).matchAll(/npm run (?:--silent )?([\w:-]+)/g)) {
        expect([page, Object.keys(manifest.scripts)]).toEqual([page, expect.arrayContaining([script])]);
      }
    }
  });
});

describe('exports', () => {
  test('every target is made from a source file', () => {
    const targets = JSON.stringify(manifest.exports).match(/dist\/[^"]+\.js/g) ?? [];
    expect(targets.length).toBeGreaterThan(1);
    const sources = targets.map((path) => path.replace('dist/', 'src/').replace(/js$/, 'ts'));
    expect(sources.filter((path) => !existsSync(join(root, path)))).toEqual([]);
  });

  test('every subpath that a page imports exists', () => {
    const known = Object.keys(manifest.exports).map((subpath) => subpath.replace('.', manifest.name));
    for (const page of pages) {
      const imported = [...read(page).matchAll(/(?:from|import|require)[ (]+'(holdfast[^']*)'/g)].map(
        ([, name]) => name,
      );
      expect([page, imported.filter((name) => !known.includes(name as string))]).toEqual([page, []]);
    }
  });
});

test.each(pages)('%s: every link to a file of the repository leads somewhere', (page) => {
  const links = [...read(page).matchAll(/\]\((?!https?:|mailto:|#)([^)#\s]+)/g)].map(([, path]) => path as string);
  expect(links.filter((path) => !existsSync(join(root, dirname(page), path)))).toEqual([]);
});

test('every page that the sources name exists, and is in the package', () => {
  const house = readHouse(root);
  const named = sourcesOf(house).flatMap(({ path, text }) =>
    [...text.matchAll(/\b((?:docs|native-notes)\/[\w-]+\.md)|\b([A-Z]{4,}\.md)/g)].map(([page]) => ({ path, page })),
  );
  expect(named.length).toBeGreaterThan(0);
  expect(named.filter(({ page }) => !existsSync(join(root, page)))).toEqual([]);
  const always = /^(README|LICENSE)/;
  const isPacked = (page: string): boolean =>
    always.test(page) || manifest.files.some((file) => page === file || page.startsWith(`${file}/`));
  expect(named.filter(({ page }) => !isPacked(page))).toEqual([]);
});

test('what is not exercised is named, with a condition that somebody can check', async () => {
  const entries = readEntries();
  for (const { id, what, why, condition } of entries) {
    expect([id, what, why].every((text) => text.length > 0)).toBe(true);
    expect(typeof (await holds(condition))).toBe('boolean');
  }
  expect(new Set(entries.map(({ id }) => id)).size).toBe(entries.length);
  await expect(holds('the-moon-is-full')).rejects.toThrow('no condition');
  const page = read('docs/platforms.md');
  expect(entries.map(({ what }) => what).filter((what) => !page.includes(`| ${what} |`))).toEqual([]);
});
