// What `npm run demo` runs after the build: SoftHSM where it may be installed, then the demo, with or without it.
import { spawnSync } from 'node:child_process';
import { ensureDoubles } from './install-doubles.mjs';

const args = process.argv.slice(2);
if (!args.join(' ').includes('--store')) await ensureDoubles(['softhsm']);
process.exit(spawnSync(process.execPath, ['dist/cli/main.js', 'demo', ...args], { stdio: 'inherit' }).status ?? 1);
