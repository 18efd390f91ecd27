export interface Entry {
  readonly id: string;
  readonly what: string;
  readonly why: string;
  readonly condition: string;
}

export const CAPTURES: string;
export function holds(condition: string): Promise<boolean>;
export function readEntries(): readonly Entry[];
export function tagOf(id: string): string;
