import { HoldfastError } from './errors.ts';

/** The parts of an ARN that must agree. */
export interface Arn {
  readonly partition: string;
  readonly region: string;
  readonly account: string;
  readonly resource: string;
}

interface ArnRule {
  /** What the ARN is, for errors: `trust anchor`. */
  readonly what: string;
  readonly service: string;
  /** IAM is global: its ARNs have no region. */
  readonly regional: boolean;
  readonly resource: RegExp;
  readonly example: string;
}

const UUID = '[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}';

const RULES = {
  trustAnchorArn: {
    what: 'trust anchor',
    service: 'rolesanywhere',
    regional: true,
    resource: new RegExp(`^trust-anchor/${UUID}$`),
    example: 'arn:aws:rolesanywhere:REGION:ACCOUNT:trust-anchor/UUID',
  },
  profileArn: {
    what: 'profile',
    service: 'rolesanywhere',
    regional: true,
    resource: new RegExp(`^profile/${UUID}$`),
    example: 'arn:aws:rolesanywhere:REGION:ACCOUNT:profile/UUID',
  },
  roleArn: {
    what: 'role',
    service: 'iam',
    regional: false,
    resource: /^role\/([\x21-\x7e]*\/)?[\w+=,.@-]{1,64}$/,
    example: 'arn:aws:iam::ACCOUNT:role/NAME',
  },
} as const satisfies Record<string, ArnRule>;

export interface ArnOptions {
  /** `arn:PARTITION:rolesanywhere:REGION:ACCOUNT:trust-anchor/UUID` */
  trustAnchorArn: string;
  /** `arn:PARTITION:rolesanywhere:REGION:ACCOUNT:profile/UUID` */
  profileArn: string;
  /** `arn:PARTITION:iam::ACCOUNT:role/NAME` */
  roleArn: string;
}

/**
 * The three ARNs of a CreateSession, each right in itself and all of one partition, account and region (the role is
 * global).
 *
 * @returns the parts of the trust anchor's ARN
 * @throws {HoldfastError} `ERR_ARN_INVALID` naming the ARN and its wrong part, `ERR_ARN_MISMATCH`
 */
export function checkArns(options: ArnOptions): Arn {
  const anchor = parse(options.trustAnchorArn, RULES.trustAnchorArn);
  const profile = parse(options.profileArn, RULES.profileArn);
  const role = parse(options.roleArn, RULES.roleArn);
  const agree = (part: 'partition' | 'account' | 'region', what: string, other: Arn): void => {
    if (other[part] === anchor[part]) return;
    const message = `the ${what} is in ${part} ${other[part]}, the trust anchor in ${part} ${anchor[part]}`;
    throw new HoldfastError('ERR_ARN_MISMATCH', message, {
      hint: `use a trust anchor, a profile and a role of one ${part}`,
    });
  };
  for (const part of ['partition', 'account', 'region'] as const) agree(part, 'profile', profile);
  for (const part of ['partition', 'account'] as const) agree(part, 'role', role);
  return anchor;
}

function parse(arn: unknown, rule: ArnRule): Arn {
  const refuse = (problem: string): never => {
    throw new HoldfastError('ERR_ARN_INVALID', `the ${rule.what} ARN ${problem}`, {
      hint: `it looks like ${rule.example}`,
    });
  };
  if (typeof arn !== 'string' || arn === '') return refuse('is missing');
  if (/\s/.test(arn)) return refuse('contains white space');
  const [prefix = '', partition = '', service = '', region = '', account = '', ...rest] = arn.split(':');
  const resource = rest.join(':');
  if (prefix !== 'arn') return refuse(`begins with "${prefix}", not with "arn:"`);
  if (!/^aws(-[a-z]+)*$/.test(partition)) return refuse(`has the partition "${partition}"`);
  if (service !== rule.service) return refuse(`has the service "${service}" where "${rule.service}" belongs`);
  if (rule.regional && !/^[a-z]{2,}(-[a-z]+)+-\d+$/.test(region)) return refuse(`has the region "${region}"`);
  if (!rule.regional && region !== '') return refuse(`has a region "${region}" where none belongs`);
  if (!/^\d{12}$/.test(account)) return refuse(`has the account "${account}", which is not 12 digits`);
  if (!rule.resource.test(resource)) return refuse(`ends in "${resource}"`);
  return { partition, region, account, resource };
}
