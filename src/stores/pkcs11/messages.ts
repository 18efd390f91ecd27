import type { SecretOrigin, SecretRequest } from '../../secret.ts';
import type { HashName } from '../../signer.ts';
import type { CreateOptions, KeyInfo, Notice, RetriedPins } from '../store.ts';
import type { KnownPin, KnownPins, LearntPins, TokenPlace } from './known-pins.ts';

/** What a parent and the child that has the module say to each other: one call, or one open key, for each child. */

/**
 * The child's descriptor that secrets come through, as bare bytes: what goes through the channel is serialised into memory
 * that nobody can wipe.
 */
export const SECRETS = 4;

/** Of what stands in this file: a bundle may have the program of another release beside it. To be raised with each change. */
export const VERSION = 1;

/** The functions of the store's door. */
export type CallName =
  | 'open'
  | 'readCertificates'
  | 'list'
  | 'create'
  | 'putCertificate'
  | 'removeCertificate'
  | 'retryPin';

/** The first message, and what the child lives for. */
export interface Call {
  readonly do: 'call';
  readonly id: number;
  readonly name: CallName;
  /** The key URI with whatever secret it holds: never in argv or the environment, which others can read. */
  readonly uri: string;
  readonly options: CallOptions;
  readonly chain: readonly Uint8Array[];
  readonly pins: KnownPins;
}

/** What can cross of `OpenOptions`. Signal and deadline are the parent's. */
export interface CallOptions {
  readonly purpose: string | undefined;
  readonly allowCommands: boolean | undefined;
  readonly login: boolean | undefined;
  readonly keyType: CreateOptions['keyType'] | undefined;
  /** Milliseconds since 1970; undefined for the system's clock. */
  readonly now: number | undefined;
  /** Whether the parent is to be asked for the secret; otherwise the child reads what the URI names. */
  readonly secret: AskedSecret | undefined;
}

export interface AskedSecret {
  readonly interactive: boolean;
  readonly origin: SecretOrigin | undefined;
}

export type ToChild =
  | Call
  | {
      readonly do: 'sign';
      readonly id: number;
      readonly message: Uint8Array;
      readonly hash: HashName | undefined;
      /** Whether its caller may go before it is done. To be ready for that costs more than to pass the message. */
      readonly limited: boolean;
    }
  | { readonly do: 'abort'; readonly id: number }
  | { readonly do: 'close' }
  /** So many bytes of `SECRETS` are the secret. One that a person typed may be a stored one from then on. */
  | { readonly do: 'answer'; readonly question: number; readonly length: number; readonly interactive: boolean }
  /** The child has the turn that it asked for; what was refused meanwhile. */
  | { readonly do: 'turn'; readonly refused: readonly KnownPin[] }
  /** The parent keeps the error itself. */
  | { readonly do: 'refuse'; readonly question: number; readonly error: SentError };

export type ToParent =
  /** The first of all: the program runs. */
  | { readonly is: 'ready'; readonly version: number }
  | { readonly is: 'done'; readonly id: number; readonly value: Answer; readonly learnt: LearntPins | undefined }
  | { readonly is: 'failed'; readonly id: number; readonly error: SentError; readonly learnt: LearntPins | undefined }
  | { readonly is: 'asking'; readonly question: number; readonly request: SecretRequest }
  /** The child wants to be alone at a token among the children of its parent; and is so no more. */
  | { readonly is: 'turn'; readonly place: TokenPlace; readonly learnt: LearntPins | undefined }
  | { readonly is: 'left'; readonly learnt: LearntPins | undefined }
  /** A PIN is on its way to the token: what becomes of it must not be lost. */
  | { readonly is: 'login'; readonly underWay: boolean }
  | { readonly is: 'notice'; readonly notice: Notice };

/** What an open key shows. */
export interface SentKey {
  readonly publicKey: Uint8Array | undefined;
  readonly certificates: readonly Uint8Array[];
  readonly attended: boolean;
  readonly description: string;
}

/** Of `create`, the URI as text. */
export type Answer =
  | SentKey
  | Uint8Array
  | readonly Uint8Array[]
  | readonly KeyInfo[]
  | RetriedPins
  | string
  | undefined;

/** An error on its way. Its causes come along as what a person or a caller would look at. */
export interface SentError {
  readonly name: string;
  readonly message: string;
  readonly code: string | number | undefined;
  readonly hint: string | undefined;
  readonly triesLeft: number | undefined;
  /** The question that the parent answered with this error: it has the original. */
  readonly question: number | undefined;
  readonly cause: SentError | undefined;
}

/** Says many things at once: to write, and to be woken by that, costs both processes more than what is said. */
export interface Gathering<T> {
  /** At the end of this turn of the event loop, together with what else is said in it. */
  readonly send: (message: T) => void;
  /** Now: what follows may block. */
  readonly flush: () => void;
}

export function gathering<T>(write: (messages: readonly T[]) => void): Gathering<T> {
  let gathered: T[] = [];
  const flush = (): void => {
    if (gathered.length === 0) return;
    const messages = gathered;
    gathered = [];
    write(messages);
  };
  return {
    send(message) {
      if (gathered.push(message) === 1) setImmediate(flush);
    },
    flush,
  };
}
