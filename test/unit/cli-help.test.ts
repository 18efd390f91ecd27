import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { COMMANDS, type CommandName, WORDS } from '../../src/cli/commands.ts';
import { FLAGS, type Flag } from '../../src/cli/flag-table.ts';
import { commandsOf, type FlagName, flagOf, flagsOf, SETTINGS } from '../../src/cli/flags.ts';
import { helpText } from '../../src/cli/help.ts';
import { EXCLUSIVE, REFUSED } from '../../src/cli/refusals.ts';
import { AWS_PLACES, variableOf } from '../../src/cli/settings.ts';

const commands = Object.keys(COMMANDS) as CommandName[];
const names = Object.keys(FLAGS) as FlagName[];

describe('the table of flags', () => {
  test.each(names)('--%s', (name) => {
    const flag = flagOf(name) as Flag;
    expect(name).toMatch(/^[a-z][a-z0-9-]*$/);
    expect(flag.value === undefined).toBe(flag.type === 'boolean');
    expect(flag.help).toMatch(/^\S.*[^.\s]$/);
    expect(commandsOf(name).length).toBeGreaterThan(0);
    expect(flag.range === undefined || flag.type === 'integer').toBe(true);
    if (flag.default !== undefined) expect(typeof flag.default).toBe(flag.type === 'integer' ? 'number' : flag.type);
  });

  test('every command has help', () => {
    for (const command of commands) expect(flagsOf(command)).toContain('help');
  });

  test('what is refused is in the table', () => {
    for (const name of Object.keys(REFUSED)) expect(names).toContain(name);
  });

  test('the exclusions stand in the order in which they are reported', () => {
    const written = EXCLUSIVE.map((pair) => pair.join(' '));
    expect(written).toEqual([...written].sort());
  });
});

describe('help', () => {
  test('lists every command', () => {
    const lines = helpText().split('\n');
    for (const command of commands) {
      expect(lines.some((line) => line.startsWith(`  ${command} `) && line.endsWith(COMMANDS[command]))).toBe(true);
    }
  });

  test.each(commands)('of %s has its flags, and no others', (command) => {
    const text = helpText(command);
    expect([...text.matchAll(/^ {2}(?:-h, )?--([a-z0-9-]+)/gm)].map(([, name]) => name)).toEqual([...flagsOf(command)]);
    expect(text.startsWith(`holdfast ${command}: ${COMMANDS[command]}\n`)).toBe(true);
    expect(text.endsWith('\n')).toBe(true);
    for (const line of text.split('\n')) {
      expect(line.length).toBeLessThanOrEqual(100);
      expect(line).toBe(line.trimEnd());
    }
  });

  test('a flag with its value, its text and its default', () => {
    expect(helpText('credential-process')).toMatch(
      /^ {2}--session-duration SECONDS +life of the session, 900 to 43200 \(default 3600\)$/m,
    );
  });
});

describe('docs/cli.md', () => {
  const page = readFileSync(new URL('../../docs/cli.md', import.meta.url), 'utf8');
  const sections = new Map(page.split(/^## /m).map((text) => [text.slice(0, text.indexOf('\n')), text]));

  /** Those of nearly every command stand in one place. */
  const OF_ALL: readonly FlagName[] = ['config', 'config-profile', 'debug', 'log-level', 'log-format', 'help'];
  const rowsOf = (section: string) =>
    [...(sections.get(section) ?? '').matchAll(/^\| `(?:-h, )?(--[^`]+)` \|/gm)]
      .map(([, row = '']) => row)
      .sort((a, b) => a.localeCompare(b));
  const rowsFor = (flags: readonly FlagName[]) =>
    flags
      .map((name) => {
        const { value } = flagOf(name) as Flag;
        return value === undefined ? `--${name}` : `--${name} ${value.replace('|', '\\|')}`;
      })
      .sort((a, b) => a.localeCompare(b));

  test.each(commands)('has the flags of %s, each with its value, and no others', (command) => {
    const own = rowsOf(command).filter((row) => !rowsFor(OF_ALL).includes(row));
    expect(own).toEqual(rowsFor(flagsOf(command).filter((name) => !OF_ALL.includes(name))));
  });

  test('has the flags of all commands, each with its value, and no others', () => {
    expect(rowsOf('Flags of all commands')).toEqual(rowsFor(OF_ALL));
    for (const name of OF_ALL) expect(commandsOf(name).length).toBeGreaterThan(5);
  });

  test('has every setting with its variables and keys, in the order in which they win', () => {
    const rows = (sections.get('Settings') ?? '').split('\n').filter((line) => line.includes('| `HOLDFAST_'));
    const code = (cell: string | undefined) => [...(cell ?? '').matchAll(/`([^`]+)`/g)].map(([, name]) => name);
    const documented = rows.map((row) => {
      const [, setting, ...cells] = row.split('|').slice(0, 5);
      return [code(setting)[0], ...cells.map(code)];
    });
    const expected = SETTINGS.map((name) => {
      const { variables = [], keys = [] } = AWS_PLACES[name] ?? {};
      return [name, [variableOf(name)], variables, keys];
    });
    expect(documented).toEqual(expected);
  });

  test('names no variable of ours that is not there', () => {
    const known = new Set([...SETTINGS, 'config' as const, 'config-profile' as const].map(variableOf));
    const named = [...page.matchAll(/\bHOLDFAST_[A-Z0-9_]+/g)].map(([name]) => name);
    expect(named.filter((name) => !known.has(name))).toEqual([]);
  });

  test('names no flag that is not there', () => {
    const named = [...page.matchAll(/(?<![\w-])--([a-z][a-z0-9-]*)/g)].map(([, name]) => name as string);
    const others = ['flag'];
    expect([...new Set(named)].filter((name) => !flagOf(name) && !others.includes(name))).toEqual([]);
  });

  test('lists the commands', () => {
    for (const command of commands) expect(page).toContain(`| \`${[command, ...(WORDS[command] ?? [])].join(' ')}\` |`);
  });
});
