import { HoldfastError } from '../errors.ts';
import { nearest } from '../nearest.ts';
import type { Context } from './context.ts';
import { readConfig, readProfile } from './find-config.ts';
import { type CommandName, FLAGS, type FlagName, type FlagNameOf, flagOf, flagsOf, SETTINGS } from './flags.ts';
import { type CommandLine, type Flags, type Found, flagsFrom } from './parse.ts';
import { type FlagValue, readBooleanAnyCase, readInteger, type Written } from './values.ts';

interface AwsPlaces {
  /** The strongest first. */
  readonly variables: readonly string[];
  /** Of a profile in `~/.aws/config`, the strongest first; `rolesanywhere.` stands in the profile's `services` section. */
  readonly keys: readonly string[];
}

/** Where the AWS SDKs keep a setting. */
export const AWS_PLACES: Readonly<Partial<Record<FlagName, AwsPlaces>>> = {
  endpoint: {
    variables: ['AWS_ENDPOINT_URL_ROLESANYWHERE', 'AWS_ENDPOINT_URL'],
    keys: ['rolesanywhere.endpoint_url', 'endpoint_url'],
  },
  'use-fips-endpoint': { variables: ['AWS_USE_FIPS_ENDPOINT'], keys: ['use_fips_endpoint'] },
  'use-dualstack-endpoint': { variables: ['AWS_USE_DUALSTACK_ENDPOINT'], keys: ['use_dualstack_endpoint'] },
  'ca-bundle': { variables: ['AWS_CA_BUNDLE'], keys: ['ca_bundle'] },
  'max-attempts': { variables: ['AWS_MAX_ATTEMPTS'], keys: ['max_attempts'] },
};

/** `trust-anchor-arn` is `HOLDFAST_TRUST_ANCHOR_ARN`. */
export const variableOf = (name: FlagName): string => `HOLDFAST_${name.toUpperCase().replaceAll('-', '_')}`;

/**
 * The flags of a command line; and for settings that it lacks what stands in `HOLDFAST_*`, in the SDKs' variables, in the
 * config file or in the profile of `~/.aws/config`: the first of these that says something.
 *
 * @throws {HoldfastError} `ERR_OPTION_INVALID`, `ERR_CONFIG_INVALID`, `ERR_FILE_*`
 */
export async function readSettings(
  command: CommandName,
  { values, flags: given }: CommandLine,
  { env, output, signal }: Pick<Context, 'env' | 'output' | 'signal'>,
): Promise<Flags> {
  for (const [message, hint] of strangers(env)) output.tell('warning', message, hint);
  const settings = flagsOf(command).filter((name) => SETTINGS.includes(name));
  const isGiven = (name: FlagName): boolean => given.given.includes(name) && !given.empty.includes(name);
  const [config, profile] = await Promise.all([
    readConfig(given.text('config') ?? env[variableOf('config')], env, signal),
    readProfile(env, signal),
  ]);
  const ignoring = variable(env, 'AWS_IGNORE_CONFIGURED_ENDPOINT_URLS') ?? profile.get(IGNORE_KEY);
  const ignores = ignoring !== undefined && readBooleanAnyCase(ignoring.origin, ignoring.text);

  const found = new Map<FlagName, Found>();
  for (const name of settings.filter((one) => !isGiven(one))) {
    const { variables = [], keys = [] } = (name === 'endpoint' && ignores ? undefined : AWS_PLACES[name]) ?? {};
    const [ours, listed] = [variable(env, variableOf(name)), config.get(name)];
    const place =
      ours ?? first(variables, (one) => variable(env, one)) ?? listed ?? first(keys, (one) => profile.get(one));
    if (place === undefined) continue;
    const value = read(name, place);
    const isForAll = place !== ours && place !== listed;
    found.set(name, { value: isForAll ? capped(name, value) : value, origin: place.origin });
  }
  const flags = flagsFrom(values, found);
  if (flags.on('debug')) {
    for (const name of settings) {
      const origin = flags.origins.get(name) ?? (isGiven(name) ? `--${name}` : defaultOf(name));
      if (origin !== undefined) output.tell('debug', `setting ${name}: from ${origin}`); // its value may hold a secret
    }
  }
  checkRanges(flagsOf(command), flags);
  return flags;
}

const defaultOf = (name: FlagName): string | undefined =>
  flagOf(name)?.default === undefined ? undefined : 'its default';

const IGNORE_KEY = 'ignore_configured_endpoint_urls';

/** An empty variable counts as not set. */
function variable(env: NodeJS.ProcessEnv, name: string): Written | undefined {
  const text = env[name];
  return text ? { text, origin: name } : undefined;
}

function first(names: readonly string[], look: (name: string) => Written | undefined): Written | undefined {
  return names.map(look).find((one) => one !== undefined);
}

function read(name: FlagName, { text, origin }: Written): FlagValue {
  const { type } = FLAGS[name];
  if (type === 'boolean') return readBooleanAnyCase(origin, text);
  return type === 'integer' ? readInteger(origin, text) : text;
}

/** What was written for all SDKs may be more than ours takes, and must not stop it. */
function capped(name: FlagName, value: FlagValue): FlagValue {
  const most = flagOf(name)?.range?.[1];
  return most !== undefined && typeof value === 'number' ? Math.min(value, most) : value;
}

function checkRanges(names: readonly FlagName[], flags: Flags): void {
  for (const name of names) {
    const range = flagOf(name)?.range;
    const value = range && flags.integer(name as FlagNameOf<'integer'>);
    if (!range || value === undefined || (value >= range[0] && value <= range[1])) continue;
    throw new HoldfastError('ERR_OPTION_INVALID', `${flags.origins.get(name) ?? `--${name}`} is ${value}`, {
      hint: `give ${range[0]} to ${range[1]}`,
    });
  }
}

const FILE_OF_SECRET = 'name its file in the key URI: pin-source=file:/path';

/** Variables that look like ours and are not read: a mistyped one would do nothing, in silence. */
function strangers(env: NodeJS.ProcessEnv): [message: string, hint: string][] {
  const ours = Object.keys(env).filter((name) => name.startsWith('HOLDFAST_'));
  if (ours.length === 0) return [];
  const names: readonly FlagName[] = [...SETTINGS, 'config'];
  const known = new Set(names.map(variableOf));
  return ours
    .filter((name) => !known.has(name))
    .map((name) => {
      const flag = name.slice('HOLDFAST_'.length).toLowerCase().replaceAll('_', '-');
      if (flagOf(flag)?.secret) return [`${name} is not read: no secret is`, FILE_OF_SECRET];
      const near = nearest(flag, names);
      const hint =
        near === undefined ? 'docs/cli.md lists the variables' : `did you mean ${variableOf(near as FlagName)}?`;
      return [`${name} is no setting and is not read`, hint];
    });
}
