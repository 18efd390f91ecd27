export interface OddFile {
  readonly data: Buffer;
  /** Without the lines that are ours to change. */
  readonly others: Buffer;
  /** A section has just the name of the profile. */
  readonly hasHome: boolean;
  /** And another one too: some readers refuse the file. */
  readonly isTwice: boolean;
  readonly isUtf8: boolean;
  readonly hasBom: boolean;
  /** For some readers a key of ours is part of another value, which changes. */
  readonly hasKeysInValues: boolean;
}

export interface NewCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken: string;
  readonly expiration: Date;
}

export const PROFILE: string;
export function oddFile(seed: number): OddFile;
export function newCredentials(seed: number): NewCredentials;
export function checkOthers(file: OddFile, data: Buffer, credentials: NewCredentials): void;
