// Compiles src/ to dist/ from scratch, so that nothing deleted in src/ lives on in the package. The library stays one
// module a file. The CLI is bundled, as CommonJS: loading some fifty small ES modules would cost a cold start 25 ms more. So
// is the program of the child process, which is one file: that is all that somebody has to copy beside a bundle of theirs.
import { spawnSync } from 'node:child_process';
import { chmodSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { relative } from 'node:path';
import { minify } from '@swc/core';
import { rollup } from 'rollup';

rmSync('dist', { recursive: true, force: true });
const { status } = spawnSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json'], {
  stdio: 'inherit',
});
if (status !== 0) process.exit(status ?? 1);

/**
 * Files that are always needed together, each list one file, with what they load at once. A session out of the shared cache
 * takes `main` alone; one that is bought with a key file takes `buy` as well. All else is loaded when it is used. Who uses
 * `credential_process` has a `~/.aws/config`.
 */
const TOGETHER = {
  main: ['main', 'settings', 'aws-config', 'credential-process']
    .map((name) => `cli-modules/${name}`)
    .concat('turn', 'format-date'),
  buy: ['provider', 'stores/file/index'],
  token: ['stores/pkcs11/index', 'stores/pkcs11/in-place'],
  write: ['serve/credentials-file', 'serve/file-target', 'serve/replace-file'],
};

const CHILD = 'dist/stores/pkcs11/holdfast-child.js';
const common = {
  external: (id) => !/^[./]/.test(id),
  // No file of ours does anything when it is loaded (the seventh law), so none is loaded for the sake of that.
  treeshake: { moduleSideEffects: (_, external) => external },
  onwarn: ({ message }) => {
    throw new Error(message);
  },
};
const child = await rollup({ ...common, input: CHILD });
await child.write({
  file: CHILD,
  format: 'es',
  inlineDynamicImports: true,
  plugins: [{ name: 'minify', renderChunk: smaller }],
});

renameSync('dist/cli', 'dist/cli-modules');
const bundle = await rollup({ ...common, input: { main: 'dist/cli-modules/main.js' } });
await bundle.write({
  dir: 'dist/cli',
  format: 'cjs',
  chunkFileNames: '[name]-[hash].js',
  manualChunks: Object.fromEntries(
    Object.entries(TOGETHER).map(([chunk, names]) => [chunk, names.map((name) => `dist/${name}.js`)]),
  ),
  generatedCode: 'es2015',
  // As Node does it; but of the driver's thousand names only the default one is used, which costs a copy less.
  interop: (id) => (id === 'pkcs11js' ? 'defaultOnly' : 'default'),
  dynamicImportInCjs: false,
  plugins: [
    { name: 'places', resolveImportMeta: placeOf },
    { name: 'minify', renderChunk: smaller },
  ],
});
rmSync('dist/cli-modules', { recursive: true });
writeFileSync('dist/cli/package.json', '{ "type": "commonjs" }\n');
chmodSync('dist/cli/main.js', 0o755);

/** Where a module was before it was bundled: that is what it looks for its neighbours from. */
function placeOf(property, { moduleId }) {
  if (property !== 'url') return null;
  const place = JSON.stringify(relative('dist/cli', moduleId.replace('/dist/cli-modules/', '/dist/cli/')));
  return `require("node:url").pathToFileURL(require("node:path").join(__dirname, ${place})).href`;
}

/** Half the text is parsed in half the time. Names of functions stay, for stack traces. */
function smaller(code, _chunk, { format }) {
  const names = { keep_classnames: true, keep_fnames: true, toplevel: true };
  return minify(code, {
    module: format === 'es',
    compress: names,
    mangle: names,
    format: { comments: false, ascii_only: true },
  });
}
