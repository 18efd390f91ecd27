import { HoldfastError } from '../errors.ts';
import { type CommandName, isCommand, WORDS } from './commands.ts';
import type { Context } from './context.ts';
import type { FlagName } from './flags.ts';
import type { ProgramOutput } from './output.ts';
import { type CommandLine, type Flags, parseCommandLine, unknownCommand } from './parse.ts';
import { REFUSED, type Refusal } from './refusals.ts';

/**
 * Understand a command line and do what it says. Only the command's own file is loaded, when its turn comes.
 *
 * @throws {HoldfastError} what the command line or the command is guilty of
 */
export async function run(
  args: readonly string[],
  surroundings: Pick<Context, 'env' | 'signal'> & { readonly output: ProgramOutput },
): Promise<void> {
  const { output } = surroundings;
  output.setLog({ level: 'info', format: formatAsked(args, surroundings.env) });
  const line = parseCommandLine(args);
  const { command } = line;
  if (command === undefined || line.flags.on('help')) return output.result(await helpText(command));
  if (command === 'help') return output.result(await helpOf(line));
  const { readSettings } = await import('./settings.ts');
  const flags = await readSettings(command, line, surroundings).finally(() => {
    for (const [message, hint] of doubts(line, WORDS[command]?.length)) output.tell('warning', message, hint);
  });
  try {
    refuse(flags);
    await start(command, { ...surroundings, flags, words: line.words, received: received(line) });
  } catch (thrown) {
    const isInterrupted = thrown instanceof HoldfastError && thrown.code === 'ERR_INTERRUPTED';
    const elsewhere = [...flags.origins].filter(([name]) => !OF_THE_OUTPUT.includes(name)).map(([, origin]) => origin);
    if (elsewhere.length > 0 && !isInterrupted) {
      output.tell('note', `not from the command line: ${elsewhere.join(', ')}`);
    }
    throw thrown;
  }
}

/** They explain no error. */
const OF_THE_OUTPUT: readonly FlagName[] = ['debug', 'log-level', 'log-format', 'output'];

/** What a command line that nobody understands says of the form of its own error, as near as can be told. */
function formatAsked(args: readonly string[], env: NodeJS.ProcessEnv): string {
  const flag = '--log-format';
  const at = args.findLastIndex((arg) => arg === flag || arg.startsWith(`${flag}=`));
  const given = args[at] === flag ? args[at + 1] : args[at]?.slice(flag.length + 1);
  return (given || env.HOLDFAST_LOG_FORMAT) === 'json' ? 'json' : 'text';
}

async function start(command: Exclude<CommandName, 'help'>, context: Context): Promise<void> {
  switch (command) {
    case 'version':
      return (await import('./version.ts')).printVersion(context);
    case 'credential-process':
      return (await import('./credential-process.ts')).credentialProcess(context);
    case 'update':
      return (await import('./update.ts')).update(context);
    case 'sign-string':
      return (await import('./sign-string.ts')).signString(context);
    case 'read-certificate-data':
      return (await import('./read-certificate-data.ts')).readCertificateData(context);
    case 'list':
      return (await import('./list.ts')).list(context);
    case 'local':
      return (await import('./local.ts')).local(context);
    case 'demo':
      return (await import('./demo.ts')).demo(context);
    case 'pin':
      return (await import('./pin.ts')).pin(context);
  }
}

const helpText = async (topic: CommandName | undefined): Promise<string> => (await import('./help.ts')).helpText(topic);

function helpOf({ words }: CommandLine): Promise<string> {
  const [topic] = words;
  if (topic === undefined || isCommand(topic)) return helpText(topic);
  throw unknownCommand(topic);
}

/** Flags that are known and not honoured. An empty text or a false asks for nothing. */
function refuse(flags: Flags): void {
  for (const [name, refused] of Object.entries(REFUSED) as [FlagName, Refusal][]) {
    if (!flags.has(name) || refused.unless?.some((one) => flags.has(one))) continue;
    throw new HoldfastError(refused.code, `${flags.origins.get(name) ?? `--${name}`}: ${refused.why}`, {
      hint: refused.hint,
    });
  }
}

/** What runs, but is probably not meant: the reference client swallows both in silence. */
function doubts({ flags, places }: CommandLine, wanted = 0): [message: string, hint: string][] {
  const stray = places
    .slice(wanted)
    .map((place): [string, string] => [
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
