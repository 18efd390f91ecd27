import { describe, expect, test } from '@jest/globals';
import { checkSession } from '../../src/check-session.ts';
import { type EndpointOptions, endpointUrl, PARTITION_NAMES } from '../../src/endpoint.ts';
import { everythingOf, thrownBy } from '../helpers/thrown.ts';

const custom = (endpoint: string): string => endpointUrl({ partition: 'aws', region: 'eu-central-1', endpoint }).href;

describe('the service itself', () => {
  const partitions = [
    ['aws', 'eu-central-1', 'amazonaws.com', 'api.aws'],
    ['aws-cn', 'cn-north-1', 'amazonaws.com.cn', 'api.amazonwebservices.com.cn'],
    ['aws-us-gov', 'us-gov-east-1', 'amazonaws.com', 'api.aws'],
    ['aws-eusc', 'eusc-de-east-1', 'amazonaws.eu', 'api.amazonwebservices.eu'],
    ['aws-iso', 'us-iso-east-1', 'c2s.ic.gov', 'api.aws.ic.gov'],
    ['aws-iso-b', 'us-isob-east-1', 'sc2s.sgov.gov', 'api.aws.scloud'],
    ['aws-iso-e', 'eu-isoe-west-1', 'cloud.adc-e.uk', 'api.cloud-aws.adc-e.uk'],
    ['aws-iso-f', 'us-isof-east-1', 'csp.hci.ic.gov', 'api.aws.hci.ic.gov'],
  ] as const;

  test('has a row for every partition', () => {
    expect(partitions.map(([partition]) => partition)).toEqual(PARTITION_NAMES);
  });

  describe.each(partitions)('%s', (partition, region, suffix, dualStackSuffix) => {
    test.each<[name: string, variant: Partial<EndpointOptions>, host: string]>([
      ['plain', {}, `rolesanywhere.${region}.${suffix}`],
      ['FIPS', { useFipsEndpoint: true }, `rolesanywhere-fips.${region}.${suffix}`],
      ['dual stack', { useDualstackEndpoint: true }, `rolesanywhere.${region}.${dualStackSuffix}`],
      [
        'FIPS and dual stack',
        { useFipsEndpoint: true, useDualstackEndpoint: true },
        `rolesanywhere-fips.${region}.${dualStackSuffix}`,
      ],
      ['neither', { useFipsEndpoint: false, useDualstackEndpoint: false }, `rolesanywhere.${region}.${suffix}`],
    ])('%s', (_, variant, host) => {
      expect(endpointUrl({ partition, region, ...variant }).href).toBe(`https://${host}/sessions`);
    });

    test('has no region of another partition', () => {
      for (const [home, elsewhere] of partitions.filter(([name]) => name !== partition)) {
        const error = thrownBy(() => endpointUrl({ partition, region: elsewhere }));
        expect(error).toMatchObject({ code: 'ERR_ARN_MISMATCH', hint: expect.any(String) });
        expect(error.message).toBe(`the region ${elsewhere} is of the partition ${home}, not of ${partition}`);
      }
    });
  });

  // As the reference lists them, and one that is yet to come: the SDKs count what they do not know to aws.
  test.each(['af-south-1', 'ap-southeast-7', 'ca-west-1', 'il-central-1', 'me-south-1', 'mx-central-1', 'xx-north-12'])(
    'aws has the region %s',
    (region) => {
      const { hostname } = endpointUrl({ partition: 'aws', region, useFipsEndpoint: true });
      expect(hostname).toBe(`rolesanywhere-fips.${region}.amazonaws.com`);
    },
  );

  test.each([
    '',
    'eu-central',
    'EU-CENTRAL-1',
    'eu_central_1',
    'evil.example/',
    'eu-central-1.evil.example',
    'x@y-z-1',
  ])('there is no region "%s"', (region) => {
    const error = thrownBy(() => endpointUrl({ partition: 'aws', region }));
    expect(error).toMatchObject({ code: 'ERR_ARN_INVALID', message: `there is no region "${region}"` });
  });

  test.each(['aws-mars', '', 'constructor', 'toString', '__proto__'])('there is no partition "%s"', (partition) => {
    const error = thrownBy(() => endpointUrl({ partition, region: 'eu-central-1' }));
    expect(error).toMatchObject({ code: 'ERR_ARN_INVALID', hint: expect.stringContaining('aws-us-gov') });
  });
});

test('a session hands on what it is told of its endpoint', () => {
  const uuid = '00000000-0000-4000-8000-000000000000';
  const arns = {
    trustAnchorArn: `arn:aws-us-gov:rolesanywhere:us-gov-west-1:111122223333:trust-anchor/${uuid}`,
    profileArn: `arn:aws-us-gov:rolesanywhere:us-gov-west-1:111122223333:profile/${uuid}`,
    roleArn: 'arn:aws-us-gov:iam::111122223333:role/web',
  };
  const host = (variant: Partial<EndpointOptions>): string => checkSession({ ...arns, ...variant }).url.host;
  expect(host({})).toBe('rolesanywhere.us-gov-west-1.amazonaws.com');
  expect(host({ useFipsEndpoint: true })).toBe('rolesanywhere-fips.us-gov-west-1.amazonaws.com');
  expect(host({ useDualstackEndpoint: true })).toBe('rolesanywhere.us-gov-west-1.api.aws');
  expect(host({ endpoint: 'https://gateway.example' })).toBe('gateway.example');
});

describe('another endpoint', () => {
  test.each([
    [
      'https://vpce-1.rolesanywhere.eu-central-1.vpce.amazonaws.com',
      'https://vpce-1.rolesanywhere.eu-central-1.vpce.amazonaws.com/sessions',
    ],
    ['https://gateway.example:8443/', 'https://gateway.example:8443/sessions'],
    ['https://gateway.example:443', 'https://gateway.example/sessions'],
    ['https://gateway.example/roles/v1//', 'https://gateway.example/roles/v1/sessions'],
    ['HTTPS://Gateway.Example', 'https://gateway.example/sessions'],
    ['http://127.0.0.1:8080', 'http://127.0.0.1:8080/sessions'],
    ['http://127.200.3.4', 'http://127.200.3.4/sessions'],
    ['http://127.1:8080', 'http://127.0.0.1:8080/sessions'],
    ['http://localhost:8080', 'http://localhost:8080/sessions'],
    ['http://LOCALHOST', 'http://localhost/sessions'],
    ['http://[::1]:8080', 'http://[::1]:8080/sessions'],
    ['http://[0:0:0:0:0:0:0:1]', 'http://[::1]/sessions'],
  ])('%s', (endpoint, href) => {
    expect(custom(endpoint)).toBe(href);
    expect(endpointUrl({ partition: 'aws-mars', region: '', endpoint }).href).toBe(href);
  });

  test.each([
    ['', 'no URL'],
    ['rolesanywhere.eu-central-1.amazonaws.com', 'no URL'],
    ['//127.0.0.1', 'no URL'],
    ['https://', 'no URL'],
    ['https://a b', 'no URL'],
    // A host with a port and no scheme reads as a scheme.
    ['localhost:8080', 'no URL that begins with https://'],
    ['gateway.example:443', 'no URL that begins with https://'],
    ['127.0.0.1:8080', 'no URL'],
    ['file:///etc/passwd', 'no URL that begins with https://'],
    ['ftp://127.0.0.1', 'no URL that begins with https://'],
    ['unix:/run/x.sock', 'no URL that begins with https://'],
    ['https://me@gateway.example', 'user name or password'],
    ['https://:me@gateway.example', 'user name or password'],
    ['https://gateway.example?x=1', 'query or a fragment'],
    ['https://gateway.example#x', 'query or a fragment'],
    ['http://gateway.example', 'http://gateway.example is not https'],
    ['http://10.0.0.1', 'http://10.0.0.1 is not https'],
    ['http://127.0.0.1.evil.example', 'is not https'],
    ['http://localhost.evil.example', 'is not https'],
    ['http://128.0.0.1', 'is not https'],
    ['http://0.0.0.0', 'is not https'],
    ['http://[::]', 'is not https'],
    ['http://[::2]', 'is not https'],
  ])('refuses %s', (endpoint, message) => {
    const error = thrownBy(() => custom(endpoint));
    expect(error).toMatchObject({ code: 'ERR_ENDPOINT_INVALID', hint: expect.any(String) });
    expect(error.message).toContain(message);
  });

  test.each<[what: string, variant: Partial<EndpointOptions>]>([
    ['FIPS', { useFipsEndpoint: true }],
    ['dual stack', { useDualstackEndpoint: true }],
    ['FIPS', { useFipsEndpoint: true, useDualstackEndpoint: true }],
  ])('excludes %s', (what, variant) => {
    const place = { partition: 'aws', region: 'us-east-1', endpoint: 'https://gateway.example' };
    const error = thrownBy(() => endpointUrl({ ...place, ...variant }));
    expect(error).toMatchObject({ code: 'ERR_ENDPOINT_INVALID', hint: expect.stringContaining(`turn ${what} off`) });
    const off = { useFipsEndpoint: false, useDualstackEndpoint: false };
    expect(endpointUrl({ ...place, ...off }).href).toBe('https://gateway.example/sessions');
  });

  test('a password in it is not repeated', () => {
    for (const endpoint of [
      'https://me:S3cr3t@gateway.example',
      'http://me:S3cr3t@gateway.example',
      'https://me:S3cr3t@',
    ]) {
      expect(everythingOf(thrownBy(() => custom(endpoint)))).not.toContain('S3cr3t');
    }
  });
});
