import { describe, expect, test } from '@jest/globals';
import type { CommandName } from '../../src/cli/commands.ts';
import { FLAGS, type Flag } from '../../src/cli/flag-table.ts';
import { commandsOf, type FlagName, flagOf, SETTINGS } from '../../src/cli/flags.ts';
import type { Flags } from '../../src/cli/parse.ts';
import { AWS_PLACES, variableOf } from '../../src/cli/settings.ts';
import { settingsIn, type World } from '../helpers/settings-world.ts';

const valueIn = (flags: Flags, name: FlagName): unknown => {
  const { type } = FLAGS[name];
  if (type === 'boolean') return flags.on(name as 'debug');
  return type === 'integer' ? flags.integer(name as 'deadline') : flags.text(name as 'region');
};

/** A way to say something of a setting: what the world gets, and how the place is called. */
interface Source {
  readonly source: string;
  readonly origin: string | undefined;
  readonly say: (text: string) => World;
}

/** Every place of a setting, the strongest first. */
function sourcesOf(name: FlagName): Source[] {
  const variable = (source: string): Source => ({
    source,
    origin: source,
    say: (text) => ({ env: { [source]: text } }),
  });
  const { variables = [], keys = [] } = AWS_PLACES[name] ?? {};
  return [
    { source: 'the flag', origin: undefined, say: (text) => ({ args: [`--${name}=${text}`] }) },
    variable(variableOf(name)),
    ...variables.map(variable),
    {
      source: 'the config file',
      origin: `${name} in line 2 of `,
      say: (text) => ({ config: `# mine\n${name} = ${text}\n` }),
    },
    ...keys.map((key): Source => {
      const [service, nested] = key.split('.');
      const [section, lines] = nested
        ? ['services ours', (text: string) => `services = ours\n[services ours]\n${service} =\n  ${nested} = ${text}\n`]
        : ['default', (text: string) => `${key} = ${text}\n`];
      return {
        source: key,
        origin: `${key} of [${section}] in `,
        say: (text) => ({ aws: `[default]\n${lines(text)}` }),
      };
    }),
  ];
}

/** Both at once. Only the two keys of the profile share a file, and only the weaker one begins with the profile. */
const together = (one: World, other: World): World => ({
  ...one,
  ...other,
  env: { ...one.env, ...other.env },
  ...(one.aws && other.aws && { aws: other.aws + one.aws }),
});

/** Two values of the type, as text; what becomes of the first; and what there is without either. */
function valuesFor(name: FlagName): { mine: string; other: string; value: unknown; fallback: unknown } {
  const { type } = FLAGS[name];
  if (type === 'boolean') return { mine: 'true', other: 'false', value: true, fallback: false };
  if (type === 'string') {
    const { choices, default: fallback } = flagOf(name) as Flag;
    const [mine = 'mine', other = 'other'] = choices ?? [];
    return { mine, other, value: mine, fallback };
  }
  const [least, most] = flagOf(name)?.range ?? [0, 0];
  return { mine: String(least + 1), other: String(most - 1), value: least + 1, fallback: flagOf(name)?.default };
}

describe.each(SETTINGS)('%s', (name) => {
  // Of a command that has it.
  const command = commandsOf(name)[0] as CommandName;
  const worldOf = (world: World) => settingsIn({ command, ...world });
  const sources = sourcesOf(name);
  const { mine, other, value, fallback } = valuesFor(name);

  test('without any place', async () => {
    const { flags } = await worldOf({});
    expect(valueIn(flags, name)).toBe(fallback);
    expect(flags.origins.has(name)).toBe(false);
  });

  test.each(sources)('$source beats the default', async ({ say, origin }) => {
    const { flags } = await worldOf(say(mine));
    expect(valueIn(flags, name)).toBe(value);
    if (origin === undefined) expect(flags.origins.has(name)).toBe(false);
    else expect(flags.origins.get(name)?.startsWith(origin)).toBe(true);
  });

  const pairs = sources.flatMap((strong, at) => sources.slice(at + 1).map((weak) => ({ strong, weak })));
  test.each(pairs)('$strong.source beats $weak.source', async ({ strong, weak }) => {
    const { flags } = await worldOf(together(strong.say(mine), weak.say(other)));
    expect(valueIn(flags, name)).toBe(value);
    // Also the other way round: neither value is special.
    const { flags: turned } = await worldOf(together(strong.say(other), weak.say(mine)));
    expect(String(valueIn(turned, name))).toBe(other);
  });

  test.each(sources.slice(1).filter(({ source }) => source !== 'the config file'))(
    'an empty $source counts as not set',
    async ({ say }) => {
      const { flags } = await worldOf(say(''));
      expect(valueIn(flags, name)).toBe(fallback);
    },
  );
});
