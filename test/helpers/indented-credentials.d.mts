import type { setProfile } from '../../src/serve/credentials-file.ts';

export interface BotocoreRead {
  readonly error?: string;
  readonly keys?: readonly string[];
  readonly others?: Readonly<Record<string, object>>;
}

export function readWithBotocore(paths: readonly string[]): BotocoreRead[];
export function checkIndented(set: typeof setProfile, seed: number, count: number): number;
