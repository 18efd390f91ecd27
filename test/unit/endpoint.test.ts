import { describe, expect, test } from '@jest/globals';
import { endpointUrl, PARTITION_NAMES } from '../../src/endpoint.ts';
import { everythingOf, thrownBy } from '../helpers/thrown.ts';

const custom = (endpoint: string): string => endpointUrl({ partition: 'aws', region: 'eu-central-1', endpoint }).href;

describe('the service itself', () => {
  test.each([
    ['aws', 'eu-central-1', 'rolesanywhere.eu-central-1.amazonaws.com'],
    ['aws-cn', 'cn-north-1', 'rolesanywhere.cn-north-1.amazonaws.com.cn'],
    ['aws-us-gov', 'us-gov-east-1', 'rolesanywhere.us-gov-east-1.amazonaws.com'],
    ['aws-eusc', 'eusc-de-east-1', 'rolesanywhere.eusc-de-east-1.amazonaws.eu'],
    ['aws-iso', 'us-iso-east-1', 'rolesanywhere.us-iso-east-1.c2s.ic.gov'],
    ['aws-iso-b', 'us-isob-east-1', 'rolesanywhere.us-isob-east-1.sc2s.sgov.gov'],
    ['aws-iso-e', 'eu-isoe-west-1', 'rolesanywhere.eu-isoe-west-1.cloud.adc-e.uk'],
    ['aws-iso-f', 'us-isof-east-1', 'rolesanywhere.us-isof-east-1.csp.hci.ic.gov'],
  ])('%s', (partition, region, host) => {
    expect(endpointUrl({ partition, region }).href).toBe(`https://${host}/sessions`);
    expect(PARTITION_NAMES).toContain(partition);
  });

  test.each(['aws-mars', '', 'constructor', 'toString', '__proto__'])('there is no partition "%s"', (partition) => {
    const error = thrownBy(() => endpointUrl({ partition, region: 'eu-central-1' }));
    expect(error).toMatchObject({ code: 'ERR_ARN_INVALID', hint: expect.stringContaining('aws-us-gov') });
  });
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
