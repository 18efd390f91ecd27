import type { ChildProcess } from 'node:child_process';

export function startWriter(file: string, profile: string, milliseconds: number): ChildProcess;
export function killWriters(times: number, seed: number): Promise<{ written: number; left: number }>;
