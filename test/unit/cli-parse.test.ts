import { describe, expect, test } from '@jest/globals';
import { type CommandLine, parseCommandLine } from '../../src/cli/parse.ts';
import { everythingOf, thrownBy } from '../helpers/thrown.ts';

const CP = 'credential-process';
const parse = (...args: string[]): CommandLine => parseCommandLine(args);
const failure = (...args: string[]): [code: string, message: string, hint: string | undefined] => {
  const { code, message, hint } = thrownBy(() => parseCommandLine(args));
  return [code, message, hint];
};

describe('text flags', () => {
  test.each<[name: string, args: string[], value: string | undefined]>([
    ['the next word', ['--region', 'eu-west-1'], 'eu-west-1'],
    ['after "="', ['--region=eu-west-1'], 'eu-west-1'],
    ['only the first "=" divides', ['--region=a=b'], 'a=b'],
    ['a value that begins with a dash', ['--region', '-x'], '-x'],
    ['a value that looks like a flag', ['--region', '--debug'], '--debug'],
    ['a value that looks like a flag, after "="', ['--region=--debug'], '--debug'],
    ['a value that is "--"', ['--region', '--'], '--'],
    ['the last one wins', ['--region', 'a', '--region=b'], 'b'],
    ['an empty last one wins too', ['--region', 'a', '--region='], undefined],
    ['empty by "="', ['--region='], undefined],
    ['empty word', ['--region', ''], undefined],
    ['before the command', ['--region', 'a', CP], 'a'],
    ['not given', [], undefined],
    ['after "--" it is a word', ['--', '--region', 'a'], undefined],
    ['white space stays', ['--region', ' a '], ' a '],
  ])('%s', (_, args, value) => {
    const line = args.includes(CP) ? parse(...args) : parse(CP, ...args);
    expect(line.command).toBe(CP);
    expect(line.flags.text('region')).toBe(value);
  });

  test('empty ones are known by name', () => {
    expect(parse(CP, '--region', '', '--role-arn=', '--endpoint', 'x').flags.empty).toEqual(['region', 'role-arn']);
  });

  test('what was given is listed once, in the order of the line', () => {
    const { flags } = parse(CP, '--region', 'a', '--debug', '--region', 'b', '--with-proxy=false');
    expect(flags.given).toEqual(['region', 'debug', 'with-proxy']);
    expect([flags.has('debug'), flags.has('with-proxy'), flags.has('reuse-pin')]).toEqual([true, false, false]);
    expect(flags.origins.size).toBe(0);
  });
});

describe('booleans', () => {
  test.each([
    ...['1', 't', 'T', 'TRUE', 'true', 'True'].map((text) => [`--debug=${text}`, true] as const),
    ...['0', 'f', 'F', 'FALSE', 'false', 'False'].map((text) => [`--debug=${text}`, false] as const),
    ['--debug', true] as const,
  ])('%s', (arg, value) => {
    expect(parse(CP, arg).flags.on('debug')).toBe(value);
  });

  test('take no word: it stays a word, and the flag stays on', () => {
    const { flags, words, places } = parse(CP, '--debug', 'false');
    expect(flags.on('debug')).toBe(true);
    expect(words).toEqual(['false']);
    expect(places).toEqual(['after --debug']);
  });

  test.each(['', 'yes', 'no', 'on', 'tRUE', '2', '-1', ' true'])('--debug=%s is refused, unrepeated', (text) => {
    const error = thrownBy(() => parseCommandLine([CP, `--reuse-pin=${text || '""'}`]));
    expect(error.code).toBe('ERR_OPTION_INVALID');
    expect(error.message).toBe('the value of --reuse-pin is neither true nor false');
  });
});

describe('whole numbers', () => {
  test.each<[text: string, value: number]>([
    ['3600', 3600],
    ['+900', 900],
    ['-1', -1],
    ['0', 0],
    ['-0', 0],
    ['0x10', 16],
    ['0XfF', 255],
    ['-0x10', -16],
    ['0o17', 15],
    ['0O17', 15],
    ['017', 15],
    ['00', 0],
    ['0b101', 5],
    ['0B1', 1],
    ['1_000', 1000],
    ['0x_ff', 255],
    ['0_7', 7],
    ['9007199254740991', 9007199254740991],
  ])('%s', (text, value) => {
    expect(parse(CP, '--session-duration', text).flags.integer('session-duration')).toBe(value);
    expect(parse(CP, `--session-duration=${text}`).flags.integer('session-duration')).toBe(value);
  });

  test.each(['', ' ', '1h', '1.5', '1e3', '0x', '0o8', '08', '0b2', '1__0', '_1', '1_', '--1', '0x-1', 'ten', '١'])(
    '"%s" is refused',
    (text) => {
      expect(failure(CP, '--session-duration', text).slice(0, 2)).toEqual([
        'ERR_OPTION_INVALID',
        'the value of --session-duration is not a whole number',
      ]);
    },
  );

  test('one that no number of ours holds is refused', () => {
    expect(failure(CP, '--deadline', '9007199254740993')[1]).toBe('the value of --deadline is too large');
  });

  test('have the default of the table, and others none', () => {
    const { flags } = parse(CP);
    expect(flags.integer('session-duration')).toBe(3600);
    expect(flags.integer('deadline')).toBeUndefined();
    expect(flags.given).toEqual([]);
  });
});

describe('commands and words', () => {
  test('no command', () => {
    expect(parse().command).toBeUndefined();
    expect(parse('--help')).toMatchObject({ command: undefined });
    expect(failure('--debug')[1]).toBe('no command was given');
  });

  test('an unknown command, with the nearest', () => {
    expect(failure('credentials-process')).toEqual([
      'ERR_USAGE',
      'unknown command "credentials-process"',
      'did you mean credential-process?',
    ]);
    expect(failure('frobnicate')[2]).toMatch(/^run holdfast help/);
  });

  test.each([
    ['serve', '--port', '9911'],
    ['completion', 'bash'],
    ['--debug', 'serve'],
  ])('%s %s %s', (...args) => {
    const [code, message] = failure(...args);
    expect([code, message]).toEqual(['ERR_USAGE', expect.stringMatching(/^(serve|completion) is not here yet$/)]);
  });

  test('half a passphrase is taken for the command, and is not repeated', () => {
    const error = thrownBy(() => parseCommandLine(['--pkcs8-password', 'my', 'secretpass', CP]));
    expect(error).toMatchObject({ code: 'ERR_USAGE', message: 'the first word is no command' });
    expect(everythingOf(error)).not.toContain('secretpass');
  });

  test.each<[args: string[], words: string[], places: string[]]>([
    [[CP, 'a'], ['a'], ['before every flag']],
    [
      [CP, '--region', 'x', 'a', 'b'],
      ['a', 'b'],
      ['after --region', 'after --region'],
    ],
    [[CP, '-'], ['-'], ['before every flag']],
    [[CP, ''], [''], ['before every flag']],
    [
      [CP, '--', '--debug', '-x'],
      ['--debug', '-x'],
      ['after --', 'after --'],
    ],
    [
      [CP, '--debug', '--', '--', 'a'],
      ['--', 'a'],
      ['after --', 'after --'],
    ],
  ])('%j', (args, words, places) => {
    expect(parse(...args)).toMatchObject({ words, places });
  });
});

describe('flags that are not', () => {
  test.each<[args: string[], message: string, hint: string]>([
    [['--certificat', 'x'], 'unknown flag: --certificat', 'did you mean --certificate?'],
    [['--Role-Arn', 'x'], 'unknown flag: --Role-Arn', 'did you mean --role-arn?'],
    [['--role_arn=x'], 'unknown flag', 'run holdfast help for the flags'],
    [['--version'], 'unknown flag: --version', 'run holdfast version'],
    [['--nothing-like-it'], 'unknown flag: --nothing-like-it', 'run holdfast help'],
    [['--toString'], 'unknown flag: --toString', 'run holdfast help'],
    [['--port', '1'], 'unknown flag: --port', 'credential-process has no such flag; it belongs to local'],
    [['-x'], 'unknown shorthand flag: -x', 'flags have two dashes; only -h is short'],
    [['-hx'], 'unknown shorthand flag: -h', 'flags have two dashes; only -h is short'],
    [['-private-key', 'x'], 'unknown shorthand flag: -p', 'write --private-key with two dashes'],
    [['---debug'], 'bad flag syntax', 'write --flag=value or --flag value'],
    [['--=x'], 'bad flag syntax', 'write --flag=value or --flag value'],
    [['--region'], 'flag needs an argument: --region', 'write --region VALUE'],
  ])('%j', (args, message, hint) => {
    expect(failure(CP, ...args)).toEqual(['ERR_USAGE', message, hint]);
  });

  test('no message and no hint repeats a value', () => {
    const secret = 'hunter2-hunter2';
    for (const args of [
      [`--pkcs8-pasword=${secret}`],
      [`-${secret}`],
      [`--${secret} and more`],
      [`--reuse-pin=${secret}`],
      ['--session-duration', secret],
      ['--pkcs8-password', secret, '--certificate', 'c', '--system-store-name', 's'],
      ['--pkcs8-password', secret, '\\'],
    ]) {
      expect(everythingOf(thrownBy(() => parseCommandLine([CP, ...args])))).not.toContain('hunter2-');
    }
    expect(JSON.stringify(parse(CP, '--pkcs8-password', '--debug', secret).places)).not.toContain('hunter2');
  });
});

describe('help', () => {
  test.each([['-h'], ['--help'], ['-h=true'], ['--help=1']])('%s', (arg) => {
    expect(parse(CP, arg).flags.on('help')).toBe(true);
    expect(parse(arg, CP)).toMatchObject({ command: CP });
  });

  test('can be turned off, and comes before exclusions', () => {
    expect(parse(CP, '-h=false').flags.on('help')).toBe(false);
    expect(parse(CP, '-h', '--certificate', 'a', '--system-store-name', 'b').flags.on('help')).toBe(true);
  });
});

describe('a line that was broken', () => {
  test.each<[name: string, args: string[], at: number, stray?: string]>([
    ['a lone backslash', [CP, '\\'], 2],
    ['as the value of a flag', [CP, '--certificate', '\\', '--private-key', 'k'], 3],
    ['with white space', [CP, ' \\ '], 2],
    ['two of them', [CP, '\\\\'], 2],
    ['before a flag', [CP, '\\--certificate', 'x'], 2],
    ['before a flag, with spaces', [CP, '\\  --certificate', 'x'], 2],
    ['as Python splits backslash and line end', [CP, '\n--certificate', 'x'], 2],
    ['with a carriage return', [CP, '\r\n  --certificate', 'x'], 2],
    ['in place of the command', ['\\'], 1],
    ['after "--"', [CP, '--', '\\'], 3],
    ['before a value, as Python splits it', [CP, '--certificate', '\n/a.pem'], 3],
    ['a line end alone', [CP, '\n', '--region', 'x'], 2],
    ['as cmd writes it', [CP, '^', '--certificate', 'x'], 2, '^'],
    ['as PowerShell writes it', [CP, '--certificate', '`'], 3, '`'],
  ])('%s', (_, args, at, stray = '\\') => {
    const [code, message, hint] = failure(...args);
    expect(code).toBe('ERR_LINE_CONTINUATION');
    expect(message).toBe(`argument ${at} is a stray "${stray}": the line was broken`);
    expect(hint).toContain('one line');
  });

  // What Python's shlex makes of "--certificate /a.pem\" and the next line, and of a backslash inside of quotes.
  test.each([['/a.pem\n--private-key'], ['/a.pem\r\n   --debug'], ['pkcs11:token=a;\\\nobject=b'], ['a\\\r\nb']])(
    'inside of an argument: %j',
    (text) => {
      const message = 'argument 3 goes on after a line end: the line was broken';
      expect(failure(CP, '--certificate', text).slice(0, 2)).toEqual(['ERR_LINE_CONTINUATION', message]);
      expect(failure(CP, '--debug', `--certificate=${text}`)[1]).toBe(message);
    },
  );

  test('the text of a key in place of its path is no broken line', () => {
    const pem = '-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n';
    expect(parse(CP, '--private-key', pem).flags.text('private-key')).toBe(pem);
  });

  test.each([['\\\\server\\share\\key.pem'], ['C:\\keys\\key.pem'], ['a\\'], ['.\\key.pem'], ['^a'], ['`a`']])(
    '%s is a path',
    (path) => {
      expect(parse(CP, '--certificate', path).flags.text('certificate')).toBe(path);
    },
  );

  test('with "=" it is a value', () => {
    expect(parse(CP, '--pkcs8-password=\\').flags.text('pkcs8-password')).toBe('\\');
  });
});
