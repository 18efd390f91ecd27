import { HoldfastError } from '../errors.ts';
import type { Context } from './context.ts';
import { type FlagName, isCommand, REFUSED } from './flags.ts';
import { helpText } from './help.ts';
import { type CommandLine, parseCommandLine } from './parse.ts';

/**
 * Understand a command line and do what it says. Only the command's own file is loaded, when its turn comes.
 *
 * @throws {HoldfastError} what the command line or the command is guilty of
 */
export async function run(
  args: readonly string[],
  surroundings: Pick<Context, 'env' | 'output' | 'signal'>,
): Promise<void> {
  const line = parseCommandLine(args);
  const { command, flags } = line;
  const { output } = surroundings;
  if (command === undefined || flags.on('help')) return output.result(helpText(command));
  if (command === 'help') return output.result(helpOf(line));
  refuse(line);
  for (const [message, hint] of doubts(line)) output.tell('warning', message, hint);
  const context: Context = { ...surroundings, flags, received: received(line) };
  switch (command) {
    case 'version':
      return (await import('./version.ts')).printVersion(context);
    case 'credential-process':
      return (await import('./credential-process.ts')).credentialProcess(context);
    case 'local':
      return (await import('./local.ts')).local(context);
    case 'demo':
      return (await import('./demo.ts')).demo(context);
  }
}

function helpOf({ words }: CommandLine): string {
  const [topic] = words;
  if (topic === undefined || isCommand(topic)) return helpText(topic);
  throw new HoldfastError('ERR_USAGE', `unknown command "${topic}"`, { hint: 'run holdfast help for all of them' });
}

/** Flags that are known and not honoured. An empty text or `=false` asks for nothing. */
function refuse({ flags }: CommandLine): void {
  const asksForSomething = (name: FlagName): boolean => !flags.empty.includes(name) && !flags.off.includes(name);
  for (const name of flags.given.filter(asksForSomething)) {
    const refused = REFUSED[name];
    if (refused) throw new HoldfastError(refused.code, `--${name}: ${refused.why}`, { hint: refused.hint });
  }
}

/** What runs, but is probably not meant: the reference client swallows both in silence. */
function doubts({ flags, places }: CommandLine): [message: string, hint: string][] {
  const stray = places.map((place): [string, string] => [
    `an argument ${place} belongs to no flag and is ignored`,
    'true and false need a "=": --debug=false. A value with spaces needs quotes',
  ]);
  const empty = flags.empty.map((name): [string, string] => [
    `--${name} is empty and counts as not given`,
    'is a variable unset?',
  ]);
  return [...stray, ...empty];
}

function received({ flags, words }: CommandLine): string {
  const names = flags.given.map((name) => `--${name}`).join(' ') || 'no flag';
  return words.length === 0 ? names : `${names} and ${words.length} that belong to no flag`;
}
