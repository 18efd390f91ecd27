/** The socket of a container engine that answers; undefined when there is none. */
export function findEngine(): Promise<string | undefined>;
