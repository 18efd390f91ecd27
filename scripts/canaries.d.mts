export interface Canaries {
  readonly pin: string;
  readonly passphrase: string;
  readonly secretKey: string;
  readonly sessionToken: string;
}

export interface Spelling {
  readonly canary: string;
  readonly spelling: string;
  readonly bytes: Buffer;
}

export function makeCanaries(): Canaries;
export function readCanaries(file: string): Canaries;
export function spellingsOf(canaries: Canaries): readonly Spelling[];
export function canariesIn(
  bytes: Uint8Array,
  known: readonly Spelling[],
): { canary: string; spelling: string; at?: number }[];
export function searchFolder(
  folder: string,
  known: readonly Spelling[],
  options?: { since?: number; except?: string },
): { files: number; hits: string[] };
