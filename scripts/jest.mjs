// jest with ES modules, under the Node that runs this script.
import { spawnSync } from 'node:child_process';

const args = ['--experimental-vm-modules', '--no-warnings', 'node_modules/jest/bin/jest.js', ...process.argv.slice(2)];
process.exit(spawnSync(process.execPath, args, { stdio: 'inherit' }).status ?? 1);
