// Compiles src/ to dist/ from scratch, so that nothing deleted in src/ lives on in the package. The library stays one
// module a file. The CLI is bundled, as CommonJS: loading some fifty small ES modules would cost a cold start 25 ms more.
import { spawnSync } from 'node:child_process';
import { chmodSync, renameSync, rmSync, writeFileSync } from 'node:fs';
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
  buy: ['index', 'stores/file/index'],
  write: ['serve/credentials-file', 'serve/file-target', 'serve/replace-file'],
};

renameSync('dist/cli', 'dist/cli-modules');
const bundle = await rollup({
  input: { main: 'dist/cli-modules/main.js' },
  external: (id) => !/^[./]/.test(id),
  // No file of ours does anything when it is loaded (the seventh law), so none is loaded for the sake of that.
  treeshake: { moduleSideEffects: (_, external) => external },
  onwarn: ({ message }) => {
    throw new Error(message);
  },
});
await bundle.write({
  dir: 'dist/cli',
  format: 'cjs',
  chunkFileNames: '[name]-[hash].js',
  manualChunks: Object.fromEntries(
    Object.entries(TOGETHER).map(([chunk, names]) => [chunk, names.map((name) => `dist/${name}.js`)]),
  ),
  generatedCode: 'es2015',
  interop: 'default', // as Node does it
  dynamicImportInCjs: false,
  plugins: [{ name: 'minify', renderChunk: smaller }],
});
rmSync('dist/cli-modules', { recursive: true });
writeFileSync('dist/cli/package.json', '{ "type": "commonjs" }\n');
chmodSync('dist/cli/main.js', 0o755);

/** Half the text is parsed in half the time. Names of functions stay, for stack traces. */
function smaller(code) {
  const names = { keep_classnames: true, keep_fnames: true };
  return minify(code, { compress: names, mangle: names, format: { comments: false } });
}
