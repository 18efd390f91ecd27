import type { SecretSource } from '../secret.ts';
import type { Signer } from '../signer.ts';
import type { KeyUri } from '../uri.ts';

/** The shape of every door in this folder: a store is a module that exports these functions. */
export interface KeyStore {
  /** Find exactly one key, unlock it, hand back something that signs. */
  open(uri: KeyUri, options: OpenOptions): Promise<OpenKey>;
  /** DER certificates that the URI selects, without logging in where the store allows it; the leaf first. */
  readCertificates?(uri: KeyUri, options: OpenOptions): Promise<readonly Uint8Array[]>;
  /** What could be opened here? Left out by a store that cannot look around. Logs in only when told to. */
  list?(uri: KeyUri, options: ListOptions): Promise<readonly KeyInfo[]>;
  /** Make a key pair where it will live. Refuses to overwrite (`ERR_KEY_EXISTS`). */
  create?(uri: KeyUri, options: CreateOptions): Promise<KeyUri>;
  /** Put certificates beside a key, leaf first. */
  putCertificate?(uri: KeyUri, chain: readonly Uint8Array[], options: OpenOptions): Promise<void>;
  /** Forget which PINs a token refused, so that they are sent once more. Sends none. */
  retryPin?(uri: KeyUri, options: OpenOptions): Promise<RetriedPins>;
  /** Remove the one certificate that the URI selects; never a key. */
  removeCertificate?(uri: KeyUri, options: OpenOptions): Promise<void>;
}

export interface OpenOptions {
  /**
   * PIN or passphrase, or a function that is called only when one is needed and counts as stored unless it is made with
   * `askPerson`. Default: what the URI says, else none.
   */
  secret?: SecretSource | undefined;
  /** Aborts open, every signature and the wait for a turn. A call already inside a driver ends there by itself. */
  signal?: AbortSignal | undefined;
  /** Milliseconds for open, and again for each signature. Default: none. */
  deadline?: number | undefined;
  /** Told what a person should know while it happens. Default: nobody. */
  notify?: ((notice: Notice) => void) | undefined;
  /** One line for the person who must touch or type, such as `sign in as role deploy`. */
  purpose?: string | undefined;
  /** Which of a key's certificates is valid. Default: the system's clock. */
  now?: (() => Date) | undefined;
  /** Refuse a key file that other users can read (`ERR_KEY_EXPOSED`) instead of warning. Default: false. */
  strictFiles?: boolean | undefined;
  /** Let a key URI name a command that prints the PIN or passphrase (`pin-source=|/path/to/program`). Default: false. */
  allowCommands?: boolean | undefined;
  /**
   * Where a vendor's library runs, in the stores that need one. `child`: in a process of its own, which `open` starts and
   * `close` ends; if it hangs or crashes this one goes on. `in-place`: in this process. Default: `child`.
   */
  isolation?: 'child' | 'in-place' | undefined;
  /**
   * Path of `holdfast-child.js`, the program of that process, where it is not in its place: in bundles. Default: beside the
   * code of the store.
   */
  childPath?: string | undefined;
}

/** What `retryPin` did. */
export interface RetriedPins {
  /** `token "prod"`. */
  readonly token: string;
  /** One line for each PIN that was remembered: where it came from, and when it was refused. Never the PIN. */
  readonly forgotten: readonly string[];
  /** Why nothing can be remembered among processes here; undefined where it can. */
  readonly nowhere?: string | undefined;
}

/** Something a person should know that is no error. */
export interface Notice {
  /** `touch`: the device waits for a person. `warning`: it works, but should be mended. */
  readonly kind: 'touch' | 'warning';
  /** One line, lower case, without secrets. */
  readonly message: string;
  readonly hint?: string | undefined;
}

export interface CreateOptions extends OpenOptions {
  keyType: KeySpec;
}

export interface ListOptions extends OpenOptions {
  /** Log in once, to one device, and show what is hidden without. Default: false. */
  login?: boolean | undefined;
}

/** Something that a store sees: a device, a key in it, a certificate in it. */
export type KeyInfo = ListedToken | ListedKey | ListedCertificate;

interface Listed {
  /** The key URI that selects it, without a PIN. */
  readonly uri: string;
  readonly label: string;
}

/** A device that holds keys. Its keys and certificates follow it. */
export interface ListedToken extends Listed {
  readonly kind: 'token';
  readonly serial: string;
  readonly model: string;
  readonly manufacturer: string;
  /** Where it is plugged in, as the store counts. Moves. */
  readonly slot: string;
  /** What the device says of its PIN. Many never say more than `ok`. */
  readonly pin: 'ok' | 'count low' | 'last try' | 'locked' | 'not initialised';
  readonly loginRequired: boolean;
  /** The PIN is typed on the device. */
  readonly keypad: boolean;
  /** Ways to sign, by the store's own names. */
  readonly mechanisms: readonly string[];
}

export interface ListedKey extends Listed {
  readonly kind: 'key';
  /** Hex; empty when it has none. */
  readonly id: string;
  /** As `KeySpec` has it where it can; else the store's own words. */
  readonly type: string;
  /** False when only the public half shows, as without a login. */
  readonly privateSeen: boolean;
  /** Each signature wants its PIN. Undefined when that does not show. */
  readonly alwaysAuthenticate: boolean | undefined;
  /** Whether a certificate of this key is beside it. */
  readonly certificate: boolean;
}

export interface ListedCertificate extends Listed {
  readonly kind: 'certificate';
  /** Hex; empty when it has none. */
  readonly id: string;
  readonly der: Uint8Array;
  /** One line; undefined when the certificate cannot be read. */
  readonly subject: string | undefined;
  readonly notAfter: Date | undefined;
}

/** The key pairs a store may be asked to make: RSA by modulus bits, EC by its NIST name. */
export type KeySpec = 'RSA-2048' | 'RSA-3072' | 'RSA-4096' | 'P-256' | 'P-384' | 'P-521';

/** A key held open: sign with it (also in parallel), then close it. */
export interface OpenKey extends Signer {
  /** DER SubjectPublicKeyInfo; undefined when the token keeps no public half. CSRs need it, signing does not. */
  readonly publicKey: Uint8Array | undefined;
  /** DER certificates kept beside the key, the key's own first; empty when the store keeps none. */
  readonly certificates: readonly Uint8Array[];
  /** True when each signature costs a person something (touch, PIN every time). Nothing signs with it unasked. */
  readonly attended: boolean;
  /** One line that names the key to a person, such as `key "web" (id 01) on token "prod"`. */
  readonly description: string;
  /**
   * Waits for signatures in flight; those of a PKCS#11 key in a process of its own have two seconds, then they are
   * `ERR_KEY_CLOSED`. Closing twice is fine; signing afterwards is `ERR_KEY_CLOSED`.
   */
  close(): Promise<void>;
}
