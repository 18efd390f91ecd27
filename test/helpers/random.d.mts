export interface Random {
  below(limit: number): number;
  of<T>(list: readonly T[]): T;
  bytes(length: number): Uint8Array;
}

export function randomFrom(seed: number): Random;
