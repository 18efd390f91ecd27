import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { devNull, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { LocalRolesAnywhere } from '../../src/local/index.ts';
import { expectNoCanary } from './canaries.ts';
import { makeKeyPair } from './certificates.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** The built program. `HOLDFAST_TEST_DIST` names another build. */
export const MAIN = resolve(root, process.env.HOLDFAST_TEST_DIST ?? 'dist', 'cli/main.js');

export interface Finished {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  /** Added to an environment without anything of AWS, proxies or colours. */
  env?: NodeJS.ProcessEnv;
  cwd?: string;
  /** Leave stdin open, for the test to write to. Default: it is closed at once. */
  keepInput?: boolean;
  /** Run another program instead of node. */
  program?: string;
}

/** The environment of this process without what would change the outcome, and without any config file. */
export const plainEnvironment = (): NodeJS.ProcessEnv => ({
  ...Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) => !/^AWS_|^HOLDFAST_|_PROXY$|^NO_COLOR$|^FORCE_COLOR$|^NODE_/i.test(name),
    ),
  ),
  XDG_CONFIG_HOME: devNull,
  AWS_CONFIG_FILE: devNull,
});

export interface Running {
  readonly child: ChildProcess;
  /** What came until now. */
  readonly seen: { readonly stdout: string; readonly stderr: string };
  readonly finished: Promise<Finished>;
  /** Settles when stdout or stderr has this text; rejects when the process ends without it. */
  saw(text: string): Promise<void>;
}

/** Start a program in a session of its own: it has no terminal, whoever runs the tests. */
export function start(args: readonly string[], { env, cwd, keepInput, program }: RunOptions = {}): Running {
  const child = spawn(program ?? process.execPath, args, {
    env: { ...plainEnvironment(), ...env },
    cwd,
    detached: true,
    stdio: 'pipe',
  });
  const seen = { stdout: '', stderr: '' };
  const waiting = new Set<() => void>();
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      seen[name] += text;
      for (const look of waiting) look();
    });
  }
  child.stdin.on('error', () => undefined);
  if (!keepInput) child.stdin.end();
  const finished = new Promise<Finished>((done, fail) => {
    child.on('error', fail);
    child.on('close', (status, signal) => done({ status, signal, ...seen }));
  }).then(withoutCanary);
  const saw = (text: string): Promise<void> =>
    new Promise((done, fail) => {
      const look = (): void => {
        if (!`${seen.stdout}\n${seen.stderr}`.includes(text)) return;
        waiting.delete(look);
        done();
      };
      waiting.add(look);
      look();
      finished.then(({ stderr }) => fail(new Error(`it ended without "${text}": ${stderr}`)), fail);
    });
  return { child, seen, finished, saw };
}

/** Secrets go to stdout, if anywhere. */
function withoutCanary(finished: Finished): Finished {
  expectNoCanary(finished.stderr, 'stderr');
  return finished;
}

export const startCli = (args: readonly string[], options?: RunOptions): Running => start([MAIN, ...args], options);

export const runCli = (args: readonly string[], options?: RunOptions): Promise<Finished> =>
  startCli(args, options).finished;

/** A private directory with a key file, and the flags that make `credential-process` succeed with it. */
export interface CliIdentity {
  readonly dir: string;
  readonly keyPath: string;
  readonly certificatePath: string;
  readonly flags: Readonly<Record<string, string>>;
  remove(): Promise<void>;
}

export async function makeCliIdentity(service: LocalRolesAnywhere, intermediates = 1): Promise<CliIdentity> {
  const dir = await mkdtemp(join(tmpdir(), 'holdfast-cli-'));
  const pair = makeKeyPair();
  const issued = await service.issue({ publicKey: pair.publicKey, commonName: 'cli', intermediates });
  const write = async (name: string, text: string): Promise<string> => {
    await writeFile(join(dir, name), text, { mode: 0o600 });
    return join(dir, name);
  };
  const keyPath = await write('key.pem', pair.pem);
  const certificatePath = await write('certificate.pem', issued.certificate);
  return {
    dir,
    keyPath,
    certificatePath,
    flags: {
      'private-key': keyPath,
      certificate: certificatePath,
      intermediates: await write('chain.pem', issued.chain),
      'trust-anchor-arn': service.trustAnchorArn,
      'profile-arn': service.profileArn,
      'role-arn': service.roleArn,
      endpoint: service.endpoint,
    },
    remove: () => rm(dir, { recursive: true, force: true }),
  };
}

/** `credential-process` with flags; one that is undefined is left out. */
export const processArgs = (flags: Readonly<Record<string, string | undefined>>): string[] => [
  'credential-process',
  ...Object.entries(flags).flatMap(([name, value]) => (value === undefined ? [] : [`--${name}`, value])),
];

/** The code of the one error on stderr; undefined unless there is exactly one, in the form that is promised. */
export function codeOf(stderr: string): string | undefined {
  const errors = stderr.split('\n').filter((line) => line.startsWith('holdfast: error: '));
  return errors.length === 1 ? /^holdfast: error: .+ \((ERR_[A-Z_]+)\)$/.exec(errors[0] as string)?.[1] : undefined;
}
