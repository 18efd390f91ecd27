// Compiles src/ to dist/ from scratch, so that nothing deleted in src/ lives on in the package. The library stays one
// module a file. The CLI is bundled: each of some fifty small modules would cost a cold start a third of a millisecond.
import { spawnSync } from 'node:child_process';
import { chmodSync, rmSync } from 'node:fs';
import { build } from 'esbuild';

rmSync('dist', { recursive: true, force: true });
const { status } = spawnSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json'], {
  stdio: 'inherit',
});
if (status !== 0) process.exit(status ?? 1);

rmSync('dist/cli', { recursive: true });
await build({
  entryPoints: ['src/cli/main.ts'],
  outdir: 'dist/cli',
  bundle: true,
  splitting: true, // a command, a store or a wing is still loaded when it is used
  packages: 'external',
  format: 'esm',
  platform: 'node',
  target: 'node20',
  chunkNames: '[name]-[hash]',
  logLevel: 'warning',
});
chmodSync('dist/cli/main.js', 0o755);
