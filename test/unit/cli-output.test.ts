import { describe, expect, test } from '@jest/globals';
import { credentialJson } from '../../src/cli/credential-process.ts';
import { shellQuote } from '../../src/cli/local.ts';
import { exitStatusOf, formatError, formatLine, makeOutput, type Sink, wantsColour } from '../../src/cli/output.ts';
import { type ERROR_CODES, HoldfastError, SecretError } from '../../src/errors.ts';
import { formatDate } from '../../src/format-date.ts';
import { rejectionOf } from '../helpers/thrown.ts';

/** A stream that remembers, and fails when told. */
const sink = (isTTY = false, failure?: Error): Sink & { text: string } => ({
  text: '',
  isTTY,
  write(text, done) {
    this.text += text;
    done?.(failure);
    return true;
  },
});

describe('lines for people', () => {
  test('an error with code and hint', () => {
    const error = new SecretError('ERR_SECRET_LOCKED', 'the token "prod" is locked (CKR_PIN_LOCKED)', {
      hint: 'unblock it',
    });
    expect(formatError(error)).toBe(
      'holdfast: error: the token "prod" is locked (CKR_PIN_LOCKED) (ERR_SECRET_LOCKED)\nholdfast: hint: unblock it\n',
    );
  });

  test('an error without a hint', () => {
    expect(formatError(new HoldfastError('ERR_USAGE', 'no'))).toBe('holdfast: error: no (ERR_USAGE)\n');
  });

  test('anything else that is thrown is a bug, and says so', () => {
    for (const thrown of [new TypeError('x is not a function'), 'x is not a function']) {
      expect(formatError(thrown)).toMatch(
        /^holdfast: error: x is not a function \(ERR_INTERNAL\)\nholdfast: hint: .*bug/,
      );
      expect(exitStatusOf(thrown)).toBe(1);
    }
  });

  test('nothing from outside breaks out of its line or paints the terminal', () => {
    expect(formatLine('error', ' a\r\nholdfast: error: b\u001b[2J\u0000\u009bc\u2028d\n')).toBe(
      'holdfast: error: a holdfast: error: b [2J c d\n',
    );
  });

  test('a hint of several lines is several hints', () => {
    const error = new HoldfastError('ERR_KEY_AMBIGUOUS', 'two keys', { hint: 'use one of these:\n  a\n  b' });
    expect(formatError(error).split('\n').slice(1)).toEqual([
      'holdfast: hint: use one of these:',
      'holdfast: hint: a',
      'holdfast: hint: b',
      '',
    ]);
  });

  test('dates are UTC, whole seconds', () => {
    expect(formatDate(new Date('2026-01-01T01:00:00.999+01:00'))).toBe('2026-01-01T00:00:00Z');
  });
});

describe('colour', () => {
  test.each<[isTTY: boolean, env: NodeJS.ProcessEnv, wanted: boolean]>([
    [true, {}, true],
    [true, { TERM: 'xterm' }, true],
    [true, { NO_COLOR: '' }, true],
    [true, { NO_COLOR: '0' }, false],
    [true, { NO_COLOR: '1' }, false],
    [true, { TERM: 'dumb' }, false],
    [false, {}, false],
    [false, { FORCE_COLOR: '1' }, false],
  ])('terminal %s, %j: %s', (isTTY, env, wanted) => {
    expect(wantsColour({ write: () => true, isTTY }, env)).toBe(wanted);
    const stderr = sink(isTTY);
    const output = makeOutput(sink(true), stderr, env);
    output.error(new HoldfastError('ERR_USAGE', 'no'));
    output.tell('warning', 'careful', 'look');
    expect(stderr.text.includes('\u001b')).toBe(wanted);
    expect(stderr.text.replaceAll(/\p{Cc}\[[\d;]*m/gu, '')).toBe(
      'holdfast: error: no (ERR_USAGE)\nholdfast: warning: careful\nholdfast: hint: look\n',
    );
  });
});

describe('the log', () => {
  const labels = ['warning', 'note', 'touch', 'debug'] as const;

  test.each<[level: string, told: string[]]>([
    ['error', ['touch', 'error']],
    ['warn', ['warning', 'touch', 'error']],
    ['info', ['warning', 'note', 'touch', 'error']],
    ['debug', ['warning', 'note', 'touch', 'debug', 'error']],
  ])('level %s', (level, told) => {
    const stderr = sink();
    const output = makeOutput(sink(), stderr, {});
    output.setLog({ level, format: 'text' });
    for (const label of labels) output.tell(label, 'x');
    output.error(new HoldfastError('ERR_USAGE', 'no'));
    expect([...stderr.text.matchAll(/^holdfast: (\w+): /gm)].map(([, label]) => label)).toEqual(told);
  });

  test('is at info until somebody says something else', () => {
    const stderr = sink();
    const output = makeOutput(sink(), stderr, {});
    for (const label of labels) output.tell(label, 'x');
    expect(stderr.text).not.toContain('debug');
    expect(stderr.text).toContain('note');
  });

  describe('as JSON', () => {
    const lines = (say: (output: ReturnType<typeof makeOutput>) => void): Record<string, unknown>[] => {
      const stderr = sink(true);
      const output = makeOutput(sink(), stderr, {});
      output.setLog({ level: 'debug', format: 'json' });
      say(output);
      expect(stderr.text).toMatch(/\n$/);
      return stderr.text
        .slice(0, -1)
        .split('\n')
        .map((line) => JSON.parse(line) as Record<string, unknown>);
    };
    const time = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);

    test('each line is one object with the same fields, in the same order', () => {
      const told = lines((output) => {
        output.tell('warning', 'careful', 'look');
        for (const label of ['note', 'touch', 'debug'] as const) output.tell(label, 'x');
        output.error(new SecretError('ERR_SECRET_LOCKED', 'locked', { hint: 'one:\n  a\n  b' }));
        output.error(new TypeError('x is not a function'));
        output.tell('warning', 'down', undefined, 'ERR_SERVICE_FAILED');
      });
      expect(told).toEqual([
        { time, level: 'warn', message: 'careful', hint: 'look' },
        { time, level: 'info', message: 'x' },
        { time, level: 'info', kind: 'touch', message: 'x' },
        { time, level: 'debug', message: 'x' },
        { time, level: 'error', code: 'ERR_SECRET_LOCKED', message: 'locked', hint: 'one:\na\nb' },
        { time, level: 'error', code: 'ERR_INTERNAL', message: 'x is not a function', hint: expect.any(String) },
        { time, level: 'warn', code: 'ERR_SERVICE_FAILED', message: 'down' },
      ]);
      expect(Object.keys(told[4] as object)).toEqual(['time', 'level', 'code', 'message', 'hint']);
    });

    test('nothing from outside breaks out of its line or paints the terminal', () => {
      const [told] = lines((output) => output.tell('note', 'a"}\r\n{"level":"error"\u001b[2J\u2028'));
      expect(told).toMatchObject({ level: 'info', message: 'a"} {"level":"error" [2J' });
    });
  });
});

describe('the result', () => {
  test('goes to stdout as it is, and nothing else does', async () => {
    const [stdout, stderr] = [sink(true), sink(true)];
    const output = makeOutput(stdout, stderr, {});
    output.tell('note', 'hello');
    await output.result('{"Version":1}');
    expect(stdout.text).toBe('{"Version":1}');
    expect(stderr.text).toBe('holdfast: note: hello\n');
  });

  test('a reader that went away is no error', async () => {
    const gone = Object.assign(new Error('write EPIPE'), { code: 'EPIPE' });
    await makeOutput(sink(false, gone), sink(), {}).result('x');
  });

  test('a full disk is', async () => {
    const full = Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
    const error = await rejectionOf(makeOutput(sink(false, full), sink(), {}).result('x'));
    expect(error.code).toBe('ERR_FILE_UNWRITABLE');
    expect(error.message).toContain('ENOSPC');
    expect(error.cause).toBe(full);
  });
});

describe('exit statuses', () => {
  test.each<[code: keyof typeof ERROR_CODES, status: number]>([
    ['ERR_INTERNAL', 1],
    ['ERR_LINE_CONTINUATION', 2],
    ['ERR_MODULE_NOT_FOUND', 3],
    ['ERR_SECRET_WRONG', 4],
    ['ERR_CERTIFICATE_EXPIRED', 5],
    ['ERR_SIGNING_FAILED', 6],
    ['ERR_SERVICE_REFUSED', 7],
    ['ERR_SERVICE_UNREACHABLE', 8],
    ['ERR_INTERRUPTED', 130],
  ])('%s: %d', (code, status) => {
    expect(exitStatusOf(new HoldfastError(code, 'x'))).toBe(status);
  });
});

describe('the credential JSON', () => {
  const credentials = {
    accessKeyId: 'ASIAEXAMPLE',
    secretAccessKey: 'sEcReT/EXAMPLE+key=',
    sessionToken: 'IQoJEXAMPLEtoken==',
    expiration: new Date('2026-01-01T00:00:00.000Z'),
  };

  test('is that of the reference client, byte for byte', () => {
    expect(credentialJson(credentials)).toBe(
      '{"Version":1,"AccessKeyId":"ASIAEXAMPLE","SecretAccessKey":"sEcReT/EXAMPLE+key=","SessionToken":"IQoJEXAMPLEtoken==","Expiration":"2026-01-01T00:00:00Z"}',
    );
  });

  test("escapes what Go's encoding/json escapes", () => {
    const json = credentialJson({ ...credentials, sessionToken: '<&>\u2028\u2029"\\' });
    expect(json).toContain('"\\u003c\\u0026\\u003e\\u2028\\u2029\\"\\\\"');
    expect(JSON.parse(json)).toMatchObject({ SessionToken: '<&>\u2028\u2029"\\' });
  });
});

test.each([
  ['/tmp/key.pem', '/tmp/key.pem'],
  ['my key.pem', "'my key.pem'"],
  ["it's", "'it'\\''s'"],
  ['pkcs11:token=a;id=%01?x', "'pkcs11:token=a;id=%01?x'"],
  ['$(rm)', "'$(rm)'"],
])('quoted for a shell: %s', (text, quoted) => {
  expect(shellQuote(text)).toBe(quoted);
});
