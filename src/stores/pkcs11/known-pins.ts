import type { Remembered } from '../../pin-record.ts';
import { registry, type TokenMemory } from './modules.ts';

/** Which PINs were refused, as hashes, in a process that has had the module before. It outlives the child that learnt it. */
export interface KnownPins {
  /** Goes into every hash. */
  readonly salt: Uint8Array;
  readonly refused: readonly KnownPin[];
}

/** A token among those of the process. */
export interface TokenPlace {
  /** The module's real path. */
  readonly module: string;
  /** As `modules.ts` names tokens. */
  readonly token: string;
}

export interface KnownPin extends TokenPlace {
  readonly pin: Remembered;
}

/** What changed in a child. */
export interface LearntPins {
  readonly refused: readonly KnownPin[];
  /** A PIN that was right after all, or that somebody ended the record of. */
  readonly forgotten: readonly KnownPin[];
}

export function knownPins(): KnownPins {
  const { salt, tokens } = registry();
  const refused = [...tokens].flatMap(([module, ofModule]) =>
    [...ofModule].flatMap(([token, { refused }]) => refused.map((pin) => ({ module, token, pin }))),
  );
  return { salt, refused };
}

/** In a child, before anything of PKCS#11 happens. */
export function beginWith({ salt, refused }: KnownPins): void {
  registry().salt = salt;
  learn({ refused, forgotten: [] });
}

/** What differs now from what was known at the beginning; undefined when nothing does. */
export function learntSince(begin: readonly KnownPin[]): LearntPins | undefined {
  const now = knownPins().refused;
  const missingIn = (others: readonly KnownPin[]) => (one: KnownPin) => !others.some((other) => isSame(one, other));
  const refused = now.filter(missingIn(begin));
  const forgotten = begin.filter(missingIn(now));
  return refused.length + forgotten.length > 0 ? { refused, forgotten } : undefined;
}

export function learn({ refused, forgotten }: LearntPins): void {
  for (const one of [...forgotten, ...refused]) {
    const memory = memoryOf(one);
    memory.refused = memory.refused.filter((pin) => pin.hash !== one.pin.hash);
  }
  for (const one of refused) {
    const memory = memoryOf(one);
    memory.refused = [...memory.refused, one.pin];
  }
}

const isSame = (one: KnownPin, other: KnownPin): boolean =>
  one.module === other.module &&
  one.token === other.token &&
  one.pin.hash === other.pin.hash &&
  one.pin.time === other.pin.time;

/** Where `memoryOf` finds this. */
export function placeOf(memory: TokenMemory): TokenPlace | undefined {
  for (const [module, ofModule] of registry().tokens) {
    for (const [token, one] of ofModule) if (one === memory) return { module, token };
  }
  return undefined;
}

export function memoryOf({ module, token }: TokenPlace): TokenMemory {
  const { tokens } = registry();
  const ofModule = tokens.get(module) ?? new Map<string, TokenMemory>();
  tokens.set(module, ofModule);
  const memory = ofModule.get(token) ?? { connections: 0, accepted: undefined, refused: [], busy: false };
  ofModule.set(token, memory);
  return memory;
}
