import { type ArnOptions, checkArns } from './arn.ts';
import { endpointUrl } from './endpoint.ts';
import { HoldfastError } from './errors.ts';
import type { Send } from './http.ts';
import { checkOptions } from './option-types.ts';
import { chooseProxy, type HttpProxy, type NamedProxy } from './proxy-choice.ts';
import { looksLikeContent, printable } from './read-file.ts';

export interface SessionOptions extends ArnOptions {
  /** Seconds, 900 to 43200; the profile and the role may allow less. Default: 3600. */
  durationSeconds?: number | undefined;
  /** 2 to 64 characters of `[\w+=,.@-]`; the profile must accept names. Default: the certificate's serial number. */
  roleSessionName?: string | undefined;
  /** Must be that of the trust anchor. Default: just that. */
  region?: string | undefined;
  /** Base URL: https, or http to this machine. Default: the service's endpoint for partition and region. */
  endpoint?: string | undefined;
  /** Ask the FIPS 140 endpoint; not every region has one, and not with `endpoint`. Default: false. */
  useFipsEndpoint?: boolean | undefined;
  /** Ask the endpoint that has IPv6 addresses too; not with `endpoint`. Default: false. */
  useDualstackEndpoint?: boolean | undefined;
  /** Path of PEM certificates that are trusted besides the system's. Default: none. */
  caBundle?: string | undefined;
  /**
   * URL of an http or https proxy that connects to the endpoint, with user name and password if it wants them, by itself
   * or with the name of the place it is from, for errors; false for none. Never used for an endpoint on this machine. Default: HTTPS_PROXY (https_proxy) of the environment, unless
   * NO_PROXY (no_proxy) names the endpoint.
   */
  proxy?: string | NamedProxy | false | undefined;
  /** Requests sent at most while the service is down or throttles. Default: 3. */
  attempts?: number | undefined;
  /** Ends whatever is under way. */
  signal?: AbortSignal | undefined;
  /** Sends a request. Default: `node:https`. */
  send?: Send | undefined;
  /** Default: the system's clock. */
  now?: (() => Date) | undefined;
  /** Waits between attempts, milliseconds. Default: a timer. */
  wait?: ((milliseconds: number, signal: AbortSignal | undefined) => Promise<void>) | undefined;
}

/** Where and for whom, found right without touching a key. */
export interface CheckedSession {
  readonly url: URL;
  readonly region: string;
  readonly account: string;
  /** Undefined where none applies. */
  readonly proxy: HttpProxy | undefined;
}

/**
 * Everything that can be wrong with the options, before any key is touched.
 *
 * @throws {HoldfastError} `ERR_ARN_INVALID`, `ERR_ARN_MISMATCH`, `ERR_OPTION_INVALID`, `ERR_ENDPOINT_INVALID`
 */
export function checkSession(given: SessionOptions): CheckedSession {
  const options = checkOptions(given);
  const { durationSeconds, roleSessionName, attempts } = options;
  const anchor = checkArns(options);
  const refuse = (message: string, hint: string): never => {
    throw new HoldfastError('ERR_OPTION_INVALID', message, { hint });
  };
  if (options.region !== undefined && options.region !== anchor.region) {
    throw new HoldfastError(
      'ERR_ARN_MISMATCH',
      `the region is ${printable(options.region)}, the trust anchor is in ${anchor.region}`,
      {
        hint: 'leave the region out, or name a trust anchor and a profile of that region',
      },
    );
  }
  if (durationSeconds !== undefined && !isInteger(durationSeconds, 900, 43_200)) {
    refuse(`the session duration is ${durationSeconds}`, 'give whole seconds from 900 to 43200');
  }
  if (roleSessionName !== undefined && !/^[\w+=,.@-]{2,64}$/.test(roleSessionName)) {
    refuse(
      'the role session name is not one that STS takes',
      'use 2 to 64 of the characters A-Z a-z 0-9 _ + = , . @ -',
    );
  }
  if (attempts !== undefined && !isInteger(attempts, 1, 20)) refuse(`attempts is ${attempts}`, 'give 1 to 20');
  if (options.caBundle !== undefined && looksLikeContent(options.caBundle)) {
    refuse('the CA bundle is named by something that is no path', 'give the path of the file, not its content');
  }
  const url = endpointUrl({ ...options, partition: anchor.partition, region: anchor.region });
  return { url, region: anchor.region, account: anchor.account, proxy: chooseProxy(url, options.proxy) };
}

const isInteger = (value: number, least: number, most: number): boolean =>
  Number.isInteger(value) && value >= least && value <= most;
