import { COMMANDS, type CommandName, WORDS } from './commands.ts';
import type { Flag } from './flag-table.ts';
import { flagOf, flagsOf } from './flags.ts';

const WIDTH = 100;

const ELSEWHERE = 'Variables (HOLDFAST_ROLE_ARN for --role-arn) and a config file do as well: see docs/cli.md.';

/** The help of holdfast, or of one command, from the tables in flags.ts. */
export function helpText(command?: CommandName): string {
  if (command === undefined) {
    return [
      'holdfast: AWS credentials from a private key that never leaves its hardware',
      '',
      'Usage:',
      '  holdfast COMMAND [flags]',
      '',
      'Commands:',
      ...columns(Object.entries(COMMANDS)),
      '',
      'holdfast help COMMAND lists the flags of a command.',
      '',
    ].join('\n');
  }
  return [
    `holdfast ${command}: ${COMMANDS[command]}`,
    '',
    'Usage:',
    `  ${['holdfast', command, ...(WORDS[command] ?? [])].join(' ')}${command === 'help' ? '' : ' [flags]'}`,
    '',
    'Flags:',
    ...columns(flagsOf(command).map((name) => describe(name, flagOf(name) as Flag))),
    ...(flagsOf(command).includes('config') ? ['', ELSEWHERE] : []),
    '',
  ].join('\n');
}

function describe(name: string, flag: Flag): [string, string] {
  const left = `${name === 'help' ? '-h, ' : ''}--${name}${flag.value === undefined ? '' : ` ${flag.value}`}`;
  return [left, flag.default === undefined ? flag.help : `${flag.help} (default ${flag.default})`];
}

/** Two columns, the right one wrapped. */
function columns(rows: readonly (readonly [string, string])[]): string[] {
  const left = Math.max(...rows.map(([text]) => text.length)) + 2;
  return rows.flatMap(([name, help]) =>
    wrap(help, WIDTH - left - 2).map((line, i) => `  ${(i === 0 ? name : '').padEnd(left)}${line}`),
  );
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const line = lines.at(-1);
    if (line !== undefined && line.length + 1 + word.length <= width) lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(word);
  }
  return lines;
}
