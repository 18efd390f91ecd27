// Transcripts: shell lines and what must come of them, in files that anyone can read. test/transcripts/README.md says how.
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from '@jest/globals';
import { type Finished, plainEnvironment, start } from './cli.ts';

/** A shell line and what is expected of it, as it stands in the file. */
export interface Step {
  /** For sh: several lines where it ends with a backslash. */
  readonly line: string;
  readonly stdout: string;
  readonly stderr: string;
  /** Exit status, or the name of the signal that ended it. */
  readonly status: string;
}

/** Steps that run one after the other in a directory of their own. */
export interface Transcript {
  readonly title: string;
  readonly steps: readonly Step[];
}

/** What a set-up gives: values by their names, without brackets, and variables. */
export interface Stage {
  readonly values: Readonly<Record<string, string>>;
  readonly env: NodeJS.ProcessEnv;
}

/** What cannot be known before. */
const PATTERNS: Readonly<Record<string, string>> = {
  'ACCESS-KEY-ID': 'ASIA[A-Z0-9]{16}',
  BASE64: '[A-Za-z0-9+/]+={0,2}',
  DATE: '\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ',
  HEX: '[0-9a-f]+',
  NUMBER: '\\d+',
};

const PLACEHOLDER = /\[([A-Z][A-Z0-9-]+)\]/g;
const FOLDER = fileURLToPath(new URL('../transcripts', import.meta.url));

/** Every transcript of the files in one folder, by the name of the file. */
export function readTranscripts(folder = '.'): [file: string, transcripts: Transcript[]][] {
  const names = readdirSync(join(FOLDER, folder)).filter((name) => name.endsWith('.txt'));
  return names.sort().map((name) => [name, parseTranscripts(readFileSync(join(FOLDER, folder, name), 'utf8'), name)]);
}

/** @throws Error that names the line, for what is no transcript */
export function parseTranscripts(text: string, file: string): Transcript[] {
  const found: Transcript[] = [];
  for (const paragraph of text.split(/\n{2,}/)) {
    const where = `${file}, paragraph that begins "${paragraph.split('\n')[0]}"`;
    const lines = paragraph.split('\n').filter((line) => line !== '');
    const [first] = lines;
    const steps = stepsOf(lines, where);
    if (steps.length === 0) continue;
    if (!first?.startsWith('# ')) throw new Error(`${where}: begins without a "# title"`);
    found.push({ title: first.slice(2), steps });
  }
  if (found.length === 0) throw new Error(`${file}: holds no transcript`);
  return found;
}

function stepsOf(lines: readonly string[], where: string): Step[] {
  const steps: { line: string; stdout: string; stderr: string; status: string }[] = [];
  for (const text of lines) {
    const step = steps.at(-1);
    const rest = text.slice(2);
    if (step?.line.endsWith('\\')) step.line += `\n${text}`;
    else if (text.startsWith('#')) continue;
    else if (text.startsWith('$ ')) steps.push({ line: rest, stdout: '', stderr: '', status: '' });
    else if (step === undefined) throw new Error(`${where}: "${text}" comes before any "$ "`);
    else if (step.status !== '') throw new Error(`${where}: "${text}" comes after the "? " of its command`);
    else if (text.startsWith('>- ')) step.stdout += text.slice(3);
    else if (/^>( |$)/.test(text)) step.stdout += `${rest}\n`;
    else if (/^!( |$)/.test(text)) step.stderr += `${rest}\n`;
    else if (text.startsWith('? ')) step.status = rest;
    else throw new Error(`${where}: "${text}" begins like nothing known`);
  }
  const open = steps.find(({ status }) => status === '');
  if (open) throw new Error(`${where}: "${open.line}" has no "? " with its exit status`);
  return steps;
}

/** What came of each step of a transcript. */
export type Outcome = { readonly finished: readonly Finished[]; readonly values: Readonly<Record<string, string>> };

/** A step that takes longer hangs. Milliseconds. */
const LIMIT = 40_000;

/** Run transcripts, some at a time; the result has the order of the transcripts. */
export async function runTranscripts(transcripts: readonly Transcript[], stage: Stage): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  const queue = [...transcripts.entries()];
  const work = async (): Promise<void> => {
    for (let next = queue.shift(); next; next = queue.shift()) outcomes[next[0]] = await run(next[1], stage);
  };
  await Promise.all([work(), work(), work(), work()]);
  return outcomes;
}

async function run({ steps }: Transcript, stage: Stage): Promise<Outcome> {
  const dir = mkdtempSync(join(tmpdir(), 'holdfast-transcript-'));
  const runtime = mkdtempSync(join(process.env.XDG_RUNTIME_DIR ?? dir, 'run-'));
  const values = { ...stage.values, DIR: dir };
  mkdirSync(join(dir, 'home'));
  const env = { ...stage.env, HOME: join(dir, 'home'), LC_ALL: 'C', XDG_RUNTIME_DIR: runtime };
  const path = `${stage.values.BIN ?? ''}:${plainEnvironment().PATH ?? ''}`;
  const finished: Finished[] = [];
  try {
    for (const { line } of steps) {
      const running = start(['-c', filled(line, values)], { program: 'sh', cwd: dir, env: { ...env, PATH: path } });
      const timer = setTimeout(() => running.child.pid && process.kill(-running.child.pid, 'SIGKILL'), LIMIT);
      finished.push(await running.finished.finally(() => clearTimeout(timer)));
    }
  } finally {
    rmSync(dir, { recursive: true, force: true });
    rmSync(runtime, { recursive: true, force: true });
  }
  return { finished, values };
}

const filled = (line: string, values: Readonly<Record<string, string>>): string =>
  line.replace(PLACEHOLDER, (_, name: string) => valueNamed(name, values));

function valueNamed(name: string, values: Readonly<Record<string, string>>): string {
  const value = values[name];
  if (value === undefined) throw new Error(`there is no placeholder [${name}] for commands here`);
  return value;
}

/** What came of a transcript, as it should stand in the file; a step that came as it stands there is left as it is. */
export const corrected = ({ steps }: Transcript, { finished, values }: Outcome): string =>
  steps
    .map((step, index) => {
      const { stdout, stderr, status, signal } = finished[index] as Finished;
      const ended = `${signal ?? status}`;
      const fits =
        matches(step.stdout, stdout, values) && matches(step.stderr, stderr, values) && step.status === ended;
      const named = (text: string): string => withNames(text, values);
      return written(fits ? step : { ...step, stdout: named(stdout), stderr: named(stderr), status: ended });
    })
    .join('');

/** Where something else came, jest shows it as it should stand in the file. */
export function expectOutcome(transcript: Transcript, outcome: Outcome): void {
  expect(corrected(transcript, outcome)).toBe(transcript.steps.map(written).join(''));
}

/** A step as it stands in a file. */
function written({ line, stdout, stderr, status }: Step): string {
  const marked = (text: string, mark: string, last = mark): string =>
    (text.match(/[^\n]*\n|[^\n]+$/g) ?? [])
      .map((one) => (one.endsWith('\n') ? `${mark} ${one.slice(0, -1)}`.trimEnd() : `${last} ${one}`))
      .map((one) => `${one}\n`)
      .join('');
  return `$ ${line}\n${marked(stdout, '>', '>-')}${marked(stderr, '!')}? ${status}\n`;
}

export function matches(expected: string, came: string, values: Readonly<Record<string, string>>): boolean {
  const source = expected
    .split(/(^\.\.\.\n|\.\.\.|\[[A-Z][A-Z0-9-]+\])/m)
    .map((part) => {
      if (part === '...\n') return '(?:[^\\n]*\\n)*';
      if (part === '...') return '[^\\n]*';
      const name = /^\[([A-Z][A-Z0-9-]+)\]$/.exec(part)?.[1];
      if (name === undefined) return literal(part);
      return PATTERNS[name] ?? literal(valueNamed(name, values));
    })
    .join('');
  return new RegExp(`^${source}$`).test(came);
}

const literal = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');

function withNames(text: string, values: Readonly<Record<string, string>>): string {
  const known = Object.entries(values).filter(([, value]) => value.length > 3);
  known.sort(([, a], [, b]) => b.length - a.length);
  return known.reduce((left, [name, value]) => left.replaceAll(value, `[${name}]`), text);
}
