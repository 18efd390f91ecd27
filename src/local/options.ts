import type { Answer, WireRequest } from './wire.ts';

export interface LocalOptions {
  /** Port on 127.0.0.1. Default: 0, a free one. */
  port?: number | undefined;
  /** Serve https, with a throw-away CA. Default: false. */
  tls?: boolean | undefined;
  /** Default: `us-east-1`. */
  region?: string | undefined;
  /** Default: `111122223333`. */
  accountId?: string | undefined;
  /** Defaults: made up, and the same each time. Region and account must fit `region` and `accountId`. */
  trustAnchorArn?: string | undefined;
  profileArn?: string | undefined;
  roleArn?: string | undefined;
  /** Trust anchors besides the throw-away one, each with the PEM of its certificate or two. Default: none. */
  anchors?: readonly { arn: string; pem: string }[] | undefined;
  /** Whether the trust anchors are enabled. Default: true. */
  anchorEnabled?: boolean | undefined;
  /** Whether the profile is. Default: true. */
  profileEnabled?: boolean | undefined;
  /** The roles that the profile lists. Default: `roleArn`, which is the only role that exists. */
  profileRoleArns?: readonly string[] | undefined;
  /** Longest session of the profile, seconds. Default: 3600. */
  profileDurationSeconds?: number | undefined;
  /** MaxSessionDuration of the role, seconds. Default: 3600. */
  maxSessionDuration?: number | undefined;
  /** Whether the profile accepts a role session name. Default: false, as on AWS. */
  acceptRoleSessionName?: boolean | undefined;
  /**
   * What to do when the signature does not cover a required header, or names another algorithm than the key's:
   * refuse, or accept and note it in `requests`. Default: `strict`.
   */
  signedHeaders?: 'strict' | 'warn' | undefined;
  /** How far X-Amz-Date may be off, seconds. Default: 300. */
  clockWindowSeconds?: number | undefined;
  /** Vend credentials that live this many seconds, whatever was asked. Default: what was asked. */
  lifeSeconds?: number | undefined;
  /** Secrets to vend, by value. Default: random ones. */
  vend?: { secretAccessKey?: string | undefined; sessionToken?: string | undefined } | undefined;
  /** The clock. Default: the machine's. */
  now?: (() => Date) | undefined;
  /**
   * Stands between the service and the wire: gets each request with the answer that is ready, and returns what to send
   * instead; undefined closes the connection without an answer. Default: nothing stands there.
   */
  trouble?: ((request: WireRequest, answer: Answer) => Answer | undefined | Promise<Answer | undefined>) | undefined;
}
