import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from '@jest/globals';

const MARK = 'HOLDFAST_TEST_ELSEWHERE';

/** Does this test file run inside of what `testElsewhere` started? */
export const isElsewhere = (): boolean => process.env[MARK] === '1';

interface Results {
  readonly testResults: readonly {
    readonly message: string;
    readonly assertionResults: readonly {
      readonly fullName: string;
      readonly status: string;
      readonly failureMessages: readonly string[] | null;
    }[];
  }[];
}

/** Runs a test file once more, behind a command such as unshare(1), and declares its tests here with what became of them. */
export async function testElsewhere(file: string, [program, ...before]: readonly string[]): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'holdfast-elsewhere-'));
  try {
    const results = join(dir, 'results.json');
    const jest = join(createRequire(import.meta.url).resolve('jest/package.json'), '../bin/jest.js');
    const options = ['--ci', '--selectProjects', 'real', '--runInBand', '--json', '--outputFile', results];
    const node = [process.execPath, '--experimental-vm-modules', '--no-warnings', jest, ...options];
    const log = join(dir, 'log');
    await ending(program as string, [...before, ...node, '--runTestsByPath', fileURLToPath(file)], log);
    for (const { message, assertionResults } of read(results, log).testResults) {
      if (assertionResults.length === 0) throw new Error(message);
      for (const { fullName, status, failureMessages } of assertionResults) {
        const declare = status === 'passed' || status === 'failed' ? test : test.skip;
        declare(fullName, () => {
          if (status !== 'passed') throw new Error(failureMessages?.join('\n'));
        });
      }
    }
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** In our process group, so that whoever ends us ends it too. */
function ending(program: string, args: readonly string[], log: string): Promise<void> {
  const out = openSync(log, 'w');
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd: fileURLToPath(new URL('../..', import.meta.url)),
      env: { ...process.env, [MARK]: '1' },
      stdio: ['ignore', out, out],
    });
    child.on('error', reject);
    child.on('exit', () => {
      closeSync(out);
      resolve();
    });
  });
}

function read(results: string, log: string): Results {
  try {
    return JSON.parse(readFileSync(results, 'utf8')) as Results;
  } catch (cause) {
    throw new Error(`no results; it said: ${readFileSync(log, 'utf8').slice(-4000)}`, { cause });
  }
}
