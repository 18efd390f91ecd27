// Compiles src/ to dist/ from scratch, so that nothing deleted in src/ lives on in the package.
import { spawnSync } from 'node:child_process';
import { chmodSync, rmSync } from 'node:fs';

rmSync('dist', { recursive: true, force: true });
const { status } = spawnSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json'], {
  stdio: 'inherit',
});
if (status === 0) chmodSync('dist/cli/main.js', 0o755);
process.exit(status ?? 1);
