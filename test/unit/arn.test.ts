import { describe, expect, test } from '@jest/globals';
import { type ArnOptions, checkArns } from '../../src/arn.ts';
import { thrownBy } from '../helpers/thrown.ts';

const UUID = '0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d';

/** Three good ARNs, of which parts may be others. */
const arns = (
  parts: { partition?: string; region?: string; account?: string } & Partial<ArnOptions> = {},
): ArnOptions => {
  const { partition = 'aws', region = 'eu-central-1', account = '111122223333', ...given } = parts;
  return {
    trustAnchorArn: `arn:${partition}:rolesanywhere:${region}:${account}:trust-anchor/${UUID}`,
    profileArn: `arn:${partition}:rolesanywhere:${region}:${account}:profile/${UUID}`,
    roleArn: `arn:${partition}:iam::${account}:role/deploy`,
    ...given,
  };
};

const refusal = (parts: Parameters<typeof arns>[0]): { code: string; message: string } => {
  const error = thrownBy(() => checkArns(arns(parts)));
  expect(error.hint).toEqual(expect.any(String));
  return error;
};

describe('takes', () => {
  test.each([
    ['aws', 'eu-central-1'],
    ['aws', 'ap-southeast-7'],
    ['aws', 'mx-central-1'],
    ['aws-cn', 'cn-northwest-1'],
    ['aws-us-gov', 'us-gov-west-1'],
    ['aws-eusc', 'eusc-de-east-1'],
    ['aws-iso', 'us-iso-east-1'],
    ['aws-iso-b', 'us-isob-east-1'],
    ['aws-iso-e', 'eu-isoe-west-1'],
    ['aws-iso-f', 'us-isof-south-1'],
  ])('%s, %s', (partition, region) => {
    expect(checkArns(arns({ partition, region }))).toEqual({
      partition,
      region,
      account: '111122223333',
      resource: `trust-anchor/${UUID}`,
    });
  });

  test.each([
    'role/a',
    'role/service-role/Name+=,.@-_9',
    'role/a/b/c/d',
    `role/${'x'.repeat(64)}`,
    `role/${'p'.repeat(500)}/x`,
    'role/!"#$%&()*;<>[]^`{|}~/x',
  ])('%s', (resource) => {
    expect(checkArns(arns({ roleArn: `arn:aws:iam::111122223333:${resource}` })).account).toBe('111122223333');
  });

  test('UUIDs in either case', () => {
    const anchor = arns().trustAnchorArn.replace(UUID, UUID.toUpperCase());
    expect(checkArns(arns({ trustAnchorArn: anchor })).resource).toBe(`trust-anchor/${UUID.toUpperCase()}`);
  });
});

describe('an ARN with a typo: which, and where', () => {
  const { trustAnchorArn: anchor, profileArn: profile, roleArn: role } = arns();
  test.each([
    ['trustAnchorArn', '', 'the trust anchor ARN is missing'],
    ['profileArn', '', 'the profile ARN is missing'],
    ['roleArn', '', 'the role ARN is missing'],
    ['trustAnchorArn', ` ${anchor}`, 'the trust anchor ARN contains white space'],
    ['profileArn', `${profile}\n`, 'the profile ARN contains white space'],
    ['roleArn', role.replace('arn:', 'Arn:'), 'the role ARN begins with "Arn", not with "arn:"'],
    ['roleArn', 'deploy', 'the role ARN begins with "deploy", not with "arn:"'],
    ['trustAnchorArn', anchor.replace(':aws:', ':asw:'), 'the trust anchor ARN has the partition "asw"'],
    ['trustAnchorArn', anchor.replace(':aws:', '::'), 'the trust anchor ARN has the partition ""'],
    ['profileArn', profile.replace('rolesanywhere', 'roles-anywhere'), /profile ARN has the service "roles-anywhere"/],
    ['roleArn', role.replace(':iam:', ':sts:'), 'the role ARN has the service "sts" where "iam" belongs'],
    [
      'trustAnchorArn',
      anchor.replace('eu-central-1', 'eu-central'),
      'the trust anchor ARN has the region "eu-central"',
    ],
    ['profileArn', profile.replace('eu-central-1', ''), 'the profile ARN has the region ""'],
    ['profileArn', profile.replace('eu-central-1', 'EU-central-1'), 'the profile ARN has the region "EU-central-1"'],
    ['profileArn', profile.replace('eu-central-1', 'evil.example/x-1'), /has the region "evil.example/],
    ['roleArn', role.replace('iam::', 'iam:eu-central-1:'), /has a region "eu-central-1" where none belongs/],
    ['roleArn', role.replace('::1', '::'), 'the role ARN has the account "11122223333", which is not 12 digits'],
    ['trustAnchorArn', anchor.replace('1111', 'x111'), /trust anchor ARN has the account "x11122223333"/],
    ['trustAnchorArn', anchor.slice(0, -1), /trust anchor ARN ends in "trust-anchor\/0a1b/],
    ['trustAnchorArn', profile, /trust anchor ARN ends in "profile\//],
    ['profileArn', anchor, /profile ARN ends in "trust-anchor\//],
    ['profileArn', `${profile}:x`, /profile ARN ends in/],
    ['roleArn', role.replace('role/', 'user/'), 'the role ARN ends in "user/deploy"'],
    ['roleArn', role.replace('role/deploy', 'role/'), 'the role ARN ends in "role/"'],
    ['roleArn', role.replace('deploy', 'path/'), 'the role ARN ends in "role/path/"'],
    ['roleArn', role.replace('deploy', 'de:ploy'), 'the role ARN ends in "role/de:ploy"'],
    ['roleArn', role.replace('deploy', 'x'.repeat(65)), /ends in "role\/x{65}"/],
    ['roleArn', role.replace('deploy', 'déploy'), 'the role ARN ends in "role/déploy"'],
    ['roleArn', 'arn:aws:iam', /has the account ""/],
  ])('%s %j', (which, arn, message) => {
    const error = refusal({ [which]: arn });
    expect(error.code).toBe('ERR_ARN_INVALID');
    if (typeof message === 'string') expect(error.message).toBe(message);
    else expect(error.message).toMatch(message);
  });

  test.each([undefined, null, 7, {}])('no text at all: %p', (value) => {
    expect(refusal({ roleArn: value as never })).toMatchObject({
      code: 'ERR_ARN_INVALID',
      message: 'the role ARN is missing',
    });
  });

  test('a long path with a bad name is refused like a short one', () => {
    const error = refusal({ roleArn: `arn:aws:iam::111122223333:role/${'a/'.repeat(250)}na!me` });
    expect(error.message).toMatch(/na!me"$/);
  });
});

describe('ARNs that do not belong together', () => {
  const other = { account: '444455556666', region: 'eu-west-1', partition: 'aws-us-gov' };
  test.each([
    ['profileArn', 'account', 'the profile is in account 444455556666, the trust anchor in account 111122223333'],
    ['profileArn', 'region', 'the profile is in region eu-west-1, the trust anchor in region eu-central-1'],
    ['profileArn', 'partition', 'the profile is in partition aws-us-gov, the trust anchor in partition aws'],
    ['roleArn', 'account', 'the role is in account 444455556666, the trust anchor in account 111122223333'],
    ['roleArn', 'partition', 'the role is in partition aws-us-gov, the trust anchor in partition aws'],
  ] as const)('%s, %s', (which, part, message) => {
    expect(refusal({ [which]: arns({ [part]: other[part] })[which] })).toMatchObject({
      code: 'ERR_ARN_MISMATCH',
      message,
    });
  });

  test('each is right in itself before they are compared', () => {
    const profileArn = arns({ account: '444455556666' }).profileArn;
    expect(refusal({ profileArn, roleArn: 'nonsense' }).code).toBe('ERR_ARN_INVALID');
  });
});
