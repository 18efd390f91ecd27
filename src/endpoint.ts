import { HoldfastError } from './errors.ts';

interface Partition {
  /** How the names of its regions begin. Those that begin like no other partition's are of `aws`, as the SDKs have it. */
  readonly regions: string;
  readonly suffix: string;
  readonly dualStackSuffix: string;
}

/** The partition table of the SDKs. */
const PARTITIONS: ReadonlyMap<string, Partition> = new Map([
  ['aws', { regions: '', suffix: 'amazonaws.com', dualStackSuffix: 'api.aws' }],
  ['aws-cn', { regions: 'cn-', suffix: 'amazonaws.com.cn', dualStackSuffix: 'api.amazonwebservices.com.cn' }],
  ['aws-us-gov', { regions: 'us-gov-', suffix: 'amazonaws.com', dualStackSuffix: 'api.aws' }],
  ['aws-eusc', { regions: 'eusc-', suffix: 'amazonaws.eu', dualStackSuffix: 'api.amazonwebservices.eu' }],
  ['aws-iso', { regions: 'us-iso-', suffix: 'c2s.ic.gov', dualStackSuffix: 'api.aws.ic.gov' }],
  ['aws-iso-b', { regions: 'us-isob-', suffix: 'sc2s.sgov.gov', dualStackSuffix: 'api.aws.scloud' }],
  ['aws-iso-e', { regions: 'eu-isoe-', suffix: 'cloud.adc-e.uk', dualStackSuffix: 'api.cloud-aws.adc-e.uk' }],
  ['aws-iso-f', { regions: 'us-isof-', suffix: 'csp.hci.ic.gov', dualStackSuffix: 'api.aws.hci.ic.gov' }],
]);

export const PARTITION_NAMES: readonly string[] = [...PARTITIONS.keys()];

export interface EndpointOptions {
  /** The partition of the ARNs, such as `aws-cn`. */
  partition: string;
  /** The region of the ARNs, such as `cn-north-1`. */
  region: string;
  /** A base URL instead: https, or http to this machine. Default: the service's own endpoint. */
  endpoint?: string | undefined;
  /** The endpoint whose cryptography is validated by FIPS 140; not with `endpoint`. Default: false. */
  useFipsEndpoint?: boolean | undefined;
  /** The endpoint that has IPv6 addresses too; not with `endpoint`. Default: false. */
  useDualstackEndpoint?: boolean | undefined;
}

/**
 * Where to send CreateSession.
 *
 * AWS lists FIPS endpoints for six regions; for every other the name is made all the same, as the SDKs' rules have it: a
 * list in here would refuse the seventh. Where there is none the name has no address (`ERR_SERVICE_UNREACHABLE`), and
 * nothing falls back to another endpoint.
 *
 * @throws {HoldfastError} `ERR_ENDPOINT_INVALID`, also for an endpoint together with FIPS or dual stack;
 * `ERR_ARN_INVALID` (unknown partition, no region), `ERR_ARN_MISMATCH` (a region of another partition)
 */
export function endpointUrl(options: EndpointOptions): URL {
  const { partition, region, endpoint, useFipsEndpoint = false, useDualstackEndpoint = false } = options;
  if (endpoint !== undefined) {
    if (useFipsEndpoint) throw notBoth('FIPS');
    if (useDualstackEndpoint) throw notBoth('dual stack');
    return customEndpoint(endpoint);
  }
  const { suffix, dualStackSuffix } = partitionFor(partition, region);
  const service = useFipsEndpoint ? 'rolesanywhere-fips' : 'rolesanywhere';
  return new URL(`https://${service}.${region}.${useDualstackEndpoint ? dualStackSuffix : suffix}/sessions`);
}

const notBoth = (variant: string): HoldfastError =>
  new HoldfastError('ERR_ENDPOINT_INVALID', `an endpoint is given, and ${variant} is asked for too`, {
    hint: `leave the endpoint out, or turn ${variant} off: a given endpoint is used as it is`,
  });

function partitionFor(name: string, region: string): Partition {
  const partition = PARTITIONS.get(name);
  if (!partition) {
    throw new HoldfastError('ERR_ARN_INVALID', `there is no partition "${name}"`, {
      hint: `use one of ${PARTITION_NAMES.join(', ')}, or give the endpoint yourself`,
    });
  }
  // It becomes a part of a host name.
  if (!/^[a-z]{2,}(-[a-z]+)+-\d+$/.test(region)) {
    throw new HoldfastError('ERR_ARN_INVALID', `there is no region "${region}"`, {
      hint: 'it looks like eu-central-1',
    });
  }
  const home = [...PARTITIONS].find(([, { regions }]) => regions !== '' && region.startsWith(regions))?.[0] ?? 'aws';
  if (home !== name) {
    throw new HoldfastError('ERR_ARN_MISMATCH', `the region ${region} is of the partition ${home}, not of ${name}`, {
      hint: 'copy the ARN once more: its partition and its region belong together',
    });
  }
  return partition;
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

/** Is this the host of a URL on this machine? */
export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '[::1]' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host);
