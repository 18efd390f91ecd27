import { HoldfastError } from './errors.ts';

/** Host suffixes of each partition: plain, and dual stack (the SDKs' partition table). */
const PARTITIONS: ReadonlyMap<string, readonly [plain: string, dualStack: string]> = new Map([
  ['aws', ['amazonaws.com', 'api.aws']],
  ['aws-cn', ['amazonaws.com.cn', 'api.amazonwebservices.com.cn']],
  ['aws-us-gov', ['amazonaws.com', 'api.aws']],
  ['aws-eusc', ['amazonaws.eu', 'api.amazonwebservices.eu']],
  ['aws-iso', ['c2s.ic.gov', 'api.aws.ic.gov']],
  ['aws-iso-b', ['sc2s.sgov.gov', 'api.aws.scloud']],
  ['aws-iso-e', ['cloud.adc-e.uk', 'api.cloud-aws.adc-e.uk']],
  ['aws-iso-f', ['csp.hci.ic.gov', 'api.aws.hci.ic.gov']],
]);

export const PARTITION_NAMES: readonly string[] = [...PARTITIONS.keys()];

export interface EndpointOptions {
  /** The partition of the ARNs, such as `aws-cn`. */
  partition: string;
  region: string;
  /** A base URL instead: https, or http to this machine. */
  endpoint?: string | undefined;
}

/**
 * Where to send CreateSession.
 *
 * @throws {HoldfastError} `ERR_ENDPOINT_INVALID`, `ERR_ARN_INVALID` (unknown partition)
 */
export function endpointUrl({ partition, region, endpoint }: EndpointOptions): URL {
  if (endpoint !== undefined) return customEndpoint(endpoint);
  const [suffix] = PARTITIONS.get(partition) ?? [];
  if (suffix) return new URL(`https://rolesanywhere.${region}.${suffix}/sessions`);
  throw new HoldfastError('ERR_ARN_INVALID', `there is no partition "${partition}"`, {
    hint: `use one of ${PARTITION_NAMES.join(', ')}, or give the endpoint yourself`,
  });
}

const EXAMPLE = 'write it like https://rolesanywhere.eu-central-1.amazonaws.com';

function customEndpoint(endpoint: string): URL {
  const refuse = (message: string, hint: string): never => {
    throw new HoldfastError('ERR_ENDPOINT_INVALID', message, { hint });
  };
  let url: URL;
  try {
    url = new URL(endpoint);
  } catch {
    return refuse('the endpoint is no URL', EXAMPLE);
  }
  if (!/^https?:$/.test(url.protocol)) return refuse('the endpoint is no URL that begins with https://', EXAMPLE);
  if (url.username || url.password) return refuse('the endpoint holds a user name or password', 'leave them out');
  if (url.search || url.hash) return refuse('the endpoint has a query or a fragment', 'give the base URL alone');
  if (url.protocol === 'http:' && !isLoopback(url.hostname)) {
    return refuse(`the endpoint ${url.origin} is not https`, 'use https (http is for 127.0.0.1, ::1 and localhost)');
  }
  url.pathname = `${url.pathname.replace(/\/+$/, '')}/sessions`;
  return url;
}

const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '[::1]' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host);
