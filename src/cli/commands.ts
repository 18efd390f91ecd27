/** Every command, once: the parser, the help and docs/cli.md follow this table. */
export const COMMANDS = {
  'credential-process': 'buy one session and print it for an AWS SDK or the AWS CLI',
  update: 'keep a profile of the shared credentials file filled',
  'sign-string': 'sign a fixed text, to try a key',
  'read-certificate-data': 'show a certificate, or the certificates that a selector finds',
  list: 'show tokens, keys and certificates, each with the URI that selects it',
  local: 'run a Roles Anywhere and an STS on this machine, with a CA of its own',
  demo: 'show the main job: a key in a token buys credentials from a local service',
  pin: 'let stored PINs be sent again that a token refused: pin retry URI',
  version: 'print the version',
  help: 'print this, or the help of one command',
} as const;

/** Commands of the reference client that are not here yet, and what to do instead. */
export const ABSENT: ReadonlyMap<string, string> = new Map([
  ['serve', 'let the SDK run holdfast credential-process, or keep a credentials file filled with holdfast update'],
  ['completion', 'run holdfast help for the commands, and holdfast help COMMAND for the flags of one'],
]);

export type CommandName = keyof typeof COMMANDS;

/** What a command takes besides flags, in this order, as its help shows it. */
export const WORDS: Readonly<Partial<Record<CommandName, readonly string[]>>> = {
  list: ['URI'],
  pin: ['retry', 'URI'],
  help: ['[COMMAND]'],
};

/** Is this word one of the commands? */
export const isCommand = (word: string): word is CommandName => Object.hasOwn(COMMANDS, word);
