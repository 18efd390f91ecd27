import { HoldfastError } from '../errors.ts';
import { nearest } from '../nearest.ts';
import type { CommandName } from './commands.ts';
import type { Context } from './context.ts';
import { readConfig, readProfile, type Said } from './find-config.ts';
import { FLAGS } from './flag-table.ts';
import { type FlagName, type FlagNameOf, flagOf, flagsOf, SETTINGS } from './flags.ts';
import type { ProgramOutput } from './output.ts';
import { type CommandLine, type Flags, type Found, flagsFrom } from './parse.ts';
import { choiceOf, type FlagValue, readBooleanAnyCase, readInteger, type Written } from './values.ts';

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
 * config file or in the profile of `~/.aws/config`: the first of these that says something. A command without `--config`
 * works whatever stands in files. From here on the log is as it was asked for.
 *
 * @throws {HoldfastError} `ERR_OPTION_INVALID`, `ERR_CONFIG_INVALID`, `ERR_FILE_*`
 */
export async function readSettings(
  command: CommandName,
  line: CommandLine,
  surroundings: Pick<Context, 'env' | 'signal'> & { readonly output: ProgramOutput },
): Promise<Flags> {
  const { env, output } = surroundings;
  const names = flagsOf(command);
  const readsFiles = names.includes('config');
  let flags: Flags;
  try {
    flags = withLevel(await lookUp(names, line, surroundings));
    output.setLog({ level: flags.text('log-level') as string, format: flags.text('log-format') as string });
  } finally {
    if (readsFiles) for (const [message, hint] of strangers(env)) output.tell('warning', message, hint);
  }
  if (flags.on('debug')) {
    for (const name of names.filter((one) => SETTINGS.includes(one))) {
      const origin = flags.origins.get(name) ?? (isGiven(flags, name) ? `--${name}` : defaultOf(name));
      if (origin !== undefined) output.tell('debug', `setting ${name}: from ${origin}`); // its value may hold a secret
    }
  }
  checkRanges(names, flags);
  return flags;
}

const isGiven = ({ given, empty }: Flags, name: FlagName): boolean => given.includes(name) && !empty.includes(name);

async function lookUp(
  names: readonly FlagName[],
  { values, flags: given }: CommandLine,
  { env, signal }: Pick<Context, 'env' | 'signal'>,
): Promise<Flags> {
  const missing = names.filter((name) => SETTINGS.includes(name) && !isGiven(given, name));
  const asked = given.text('config-profile');
  const nothing: Said = new Map();
  const named = asked === undefined ? variable(env, variableOf('config-profile')) : { text: asked, origin: PROFILE };
  const [config, profile] = await Promise.all([
    names.includes('config')
      ? readConfig(given.text('config') ?? env[variableOf('config')], env, signal, named)
      : nothing,
    names.some((name) => AWS_PLACES[name]) ? readProfile(env, signal) : nothing,
  ]);
  const ignoring = variable(env, 'AWS_IGNORE_CONFIGURED_ENDPOINT_URLS') ?? profile.get(IGNORE_KEY);
  const ignores = ignoring !== undefined && readBooleanAnyCase(ignoring.origin, ignoring.text);

  const found = new Map<FlagName, Found>();
  for (const name of missing) {
    const { variables = [], keys = [] } = (name === 'endpoint' && ignores ? undefined : AWS_PLACES[name]) ?? {};
    const [ours, listed] = [variable(env, variableOf(name)), config.get(name)];
    const place =
      ours ?? first(variables, (one) => variable(env, one)) ?? listed ?? first(keys, (one) => profile.get(one));
    if (place === undefined) continue;
    const value = read(name, place);
    const isForAll = place !== ours && place !== listed;
    found.set(name, { value: isForAll ? capped(name, value) : value, origin: place.origin });
  }
  return flagsFrom(values, found);
}

const PROFILE = '--config-profile';

/** `debug` is the level debug, and the other way round; only a `--log-level` beats a `debug` from elsewhere. */
function withLevel(flags: Flags): Flags {
  const isOverruled = isGiven(flags, 'log-level') && !flags.given.includes('debug');
  const isDebug = flags.text('log-level') === 'debug' || (flags.on('debug') && !isOverruled);
  return {
    ...flags,
    on: (name) => (name === 'debug' ? isDebug : flags.on(name)),
    text: (name) => (name === 'log-level' && isDebug ? 'debug' : flags.text(name)),
  };
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
  if (type === 'integer') return readInteger(origin, text);
  const choices = flagOf(name)?.choices;
  if (choices === undefined) return text;
  const value = choiceOf(choices, text);
  if (value !== undefined) return value;
  throw new HoldfastError('ERR_OPTION_INVALID', `the value of ${origin} is none that there is`, {
    hint: `write one of ${choices.join(', ')}`,
  });
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

/** What is meant by variables named after flags that are no settings. */
const MEANT: Readonly<Record<string, FlagName>> = { profile: 'config-profile', 'no-cache': 'cache', json: 'output' };

const FILE_OF_SECRET = 'name its file in the key URI: pin-source=file:/path';

/** Variables that look like ours and are not read: a mistyped one would do nothing, in silence. */
function strangers(env: NodeJS.ProcessEnv): [message: string, hint: string][] {
  const ours = Object.keys(env).filter((name) => name.startsWith('HOLDFAST_'));
  if (ours.length === 0) return [];
  const names: readonly FlagName[] = [...SETTINGS, 'config', 'config-profile'];
  const known = new Set(names.map(variableOf));
  return ours
    .filter((name) => !known.has(name))
    .map((name) => {
      const flag = name.slice('HOLDFAST_'.length).toLowerCase().replaceAll('_', '-');
      if (flagOf(flag)?.secret) return [`${name} is not read: no secret is`, FILE_OF_SECRET];
      const near = MEANT[flag] ?? nearest(flag, names);
      const hint =
        near === undefined ? 'docs/cli.md lists the variables' : `did you mean ${variableOf(near as FlagName)}?`;
      return [`${name} is no setting and is not read`, hint];
    });
}
