// One jest process: its own process group, a time limit, and its results as plain data.
import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('..', import.meta.url));

/** Process groups that run now, each with the signal that ends it. */
const groups = new Map();

/** End everything that was started here. */
export function killAll() {
  for (const [group, signal] of groups) kill(group, signal);
}

function kill(group, signal = 'SIGKILL') {
  try {
    process.kill(-group, signal);
  } catch {
    // It has ended.
  }
}

/**
 * Run a program to its end, in a process group of its own that does not outlive it.
 *
 * @param killSignal ends it when it is late; SIGTERM for one that must end groups of its own first
 * @returns `{ status, signal, isLate, seconds }`
 */
export function run(command, args, { timeout, killSignal = 'SIGKILL', ...options }) {
  const started = performance.now();
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, ...options, detached: true });
    child.on('error', reject);
    if (child.pid === undefined) return;
    groups.set(child.pid, killSignal);
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      kill(child.pid, killSignal);
    }, timeout);
    child.on('exit', (status, signal) => {
      clearTimeout(timer);
      // What it left running goes with it.
      kill(child.pid);
      groups.delete(child.pid);
      resolve({ status, signal, isLate, seconds: (performance.now() - started) / 1000 });
    });
  });
}

/**
 * Run test files in one jest process.
 *
 * @returns `{ tests: [{ file, title, status, messages }], broken: [{ file, message }], seconds }`; `broken` says why a
 *   file, or all of them, could not run
 */
export async function runJest({ project, files, name, into, timeout }) {
  const results = join(into, `${name}.json`);
  const log = join(into, `${name}.log`);
  const out = openSync(log, 'w');
  const args = ['--experimental-vm-modules', '--no-warnings', join(root, 'node_modules/jest/bin/jest.js')];
  args.push('--ci', '--selectProjects', project, '--json', '--outputFile', results);
  if (files.length === 1) args.push('--runInBand');
  const ended = await run(process.execPath, [...args, '--runTestsByPath', ...files], {
    stdio: ['ignore', out, out],
    timeout,
  });
  closeSync(out);
  const label = files.length === 1 ? files[0] : `test/${project}`;
  const broken = (message) => ({ file: label, message: `${message}\n${tail(log)}` });
  if (ended.isLate) return { tests: [], broken: [broken(`ended after ${timeout / 60_000} minutes`)], ...ended };
  if (!existsSync(results)) {
    return { tests: [], broken: [broken(`no result (exit ${ended.status ?? ended.signal})`)], ...ended };
  }
  const parsed = read(JSON.parse(readFileSync(results, 'utf8')));
  const isSound = parsed.tests.length > 0 || parsed.broken.length > 0;
  if (!isSound) parsed.broken.push(broken('holds no tests'));
  const isExplained = parsed.broken.length > 0 || parsed.tests.some(({ status }) => status === 'failed');
  if (ended.status !== 0 && !isExplained) parsed.broken.push(broken(`exit ${ended.status ?? ended.signal}`));
  return { ...parsed, ...ended };
}

const STATUSES = { passed: 'passed', failed: 'failed' };

function read({ testResults }) {
  const tests = [];
  const broken = [];
  for (const { name, assertionResults, status, message } of testResults) {
    const file = relative(root, name);
    for (const one of assertionResults) {
      const messages = one.failureMessages ?? [];
      tests.push({ file, title: one.fullName, status: STATUSES[one.status] ?? 'skipped', messages });
    }
    // A file that could not be loaded, or a hook after all tests that failed.
    const isExplained = assertionResults.some((one) => one.status === 'failed');
    if (status === 'failed' && !isExplained) broken.push({ file, message });
  }
  return { tests, broken };
}

const tail = (log) => readFileSync(log, 'utf8').split('\n').slice(-60).join('\n');
