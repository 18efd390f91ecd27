import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CommandName } from '../../src/cli/commands.ts';
import type { Log } from '../../src/cli/output.ts';
import { type Flags, parseCommandLine } from '../../src/cli/parse.ts';
import { readSettings } from '../../src/cli/settings.ts';

export interface World {
  args?: readonly string[];
  env?: NodeJS.ProcessEnv;
  /** Content of the config file. */
  config?: string;
  /** Content of the AWS config file. */
  aws?: string;
  command?: CommandName;
}

export interface Seen {
  readonly flags: Flags;
  /** What was told on the way: `label|message|hint`. */
  readonly told: readonly string[];
  /** The log from then on. */
  readonly log: Log | undefined;
  /** The directory of the files. */
  readonly place: string;
}

/** What a command gets to see in a world that holds this and nothing else. */
export async function settingsIn(world: World): Promise<Seen> {
  const { args = [], env = {}, config, aws, command = 'credential-process' } = world;
  const place = mkdtempSync(join(tmpdir(), 'holdfast-settings-'));
  const write = (name: string, text: string | undefined): string => {
    if (text !== undefined) writeFileSync(join(place, name), text, { mode: 0o600 });
    return join(place, name);
  };
  const files = {
    HOME: place,
    AWS_CONFIG_FILE: write('aws', aws),
    ...(config !== undefined && { HOLDFAST_CONFIG: write('config', config) }),
  };
  const told: string[] = [];
  const logs: Log[] = [];
  const output = {
    result: () => Promise.resolve(),
    error: () => undefined,
    setLog: (log: Log) => void logs.push(log),
    tell: (label: string, message: string, hint?: string) => void told.push([label, message, hint ?? ''].join('|')),
  };
  const { signal } = new AbortController();
  try {
    const line = parseCommandLine([command, ...args]);
    const flags = await readSettings(command, line, { env: { ...files, ...env }, output, signal });
    return { flags, told, log: logs.at(-1), place };
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}
