/** The seam at bytes: who uses a transport cannot close it. One command at a time, as a TPM has it. */
export interface Transport {
  /** @returns the whole response, whatever its code is */
  send(command: Uint8Array): Promise<Buffer>;
}

export interface Connection extends Transport {
  /** Ends it at once; what waits for an answer fails. Twice is fine. */
  close(): void;
}

/** A TPM, and the way to it. */
export interface Device {
  /** `TPM at /dev/tpmrm0`, without an article. */
  readonly name: string;
  /**
   * A resource manager keeps programs apart: they may all be connected, and what one has loaded goes when it hangs up.
   * Without one there is one program at a time, three places for keys and three for sessions.
   */
  readonly managed: boolean;
  connect(signal: AbortSignal): Promise<Connection>;
}

/** Tag, size, code (TPM 2.0 Part 1 §18). */
export const HEADER = 10;

/** Octets: more than any TPM answers (`TPM_PT_MAX_RESPONSE_SIZE` is 4096 nearly everywhere). */
export const LONGEST_RESPONSE: number = 16 * 1024;
