import { describe, expect, test } from '@jest/globals';
import { type FlagName, SETTINGS } from '../../src/cli/flags.ts';
import { AWS_PLACES, variableOf } from '../../src/cli/settings.ts';
import { settingsIn, type World } from '../helpers/settings-world.ts';
import { rejectionOf } from '../helpers/thrown.ts';

test('the table of places has no place that is not a setting', () => {
  expect(Object.keys(AWS_PLACES).filter((name) => !SETTINGS.includes(name as FlagName))).toEqual([]);
});

test('an empty flag counts as not given, for other places too', async () => {
  const { flags } = await settingsIn({ args: ['--region='], env: { HOLDFAST_REGION: 'eu-west-1' } });
  expect(flags.text('region')).toBe('eu-west-1');
  expect(flags.empty).toEqual(['region']);
});

test('another command gets its own of the settings', async () => {
  const { flags } = await settingsIn({
    command: 'local',
    env: { HOLDFAST_STRICT_FILES: '1', HOLDFAST_REUSE_PIN: '1' },
    config: 'region = eu-west-1\npkcs11-lib = /x.so',
  });
  expect([flags.on('strict-files'), flags.text('pkcs11-lib')]).toEqual([true, '/x.so']);
  expect([...flags.origins.keys()].sort()).toEqual(['pkcs11-lib', 'strict-files']);
});

test.each([
  ['on', ['on', 'ON', 'true', '1', 'Yes']],
  ['off', ['off', 'Off', 'FALSE', '0', 'no']],
])('%s is understood in every usual way, from every place', async (meant, ways) => {
  for (const way of ways) {
    const worlds: World[] = [
      { args: [`--cache=${way}`], env: { HOLDFAST_CACHE: meant === 'on' ? 'off' : 'on' } },
      { env: { HOLDFAST_CACHE: way } },
      { config: `cache = ${way}` },
    ];
    for (const world of worlds) expect((await settingsIn(world)).flags.text('cache')).toBe(meant);
  }
});

describe('endpoints that the SDKs are told to ignore', () => {
  const endpoint = 'https://gateway.example';
  const url = { AWS_ENDPOINT_URL_ROLESANYWHERE: endpoint, AWS_ENDPOINT_URL: endpoint };
  const aws = `[default]\nendpoint_url = ${endpoint}\n`;

  test.each<[name: string, world: World]>([
    ['by variable', { env: { ...url, AWS_IGNORE_CONFIGURED_ENDPOINT_URLS: 'true' }, aws }],
    ['by the profile', { env: url, aws: `${aws}ignore_configured_endpoint_urls = true\n` }],
  ])('%s: theirs are, ours are not', async (_, world) => {
    expect((await settingsIn(world)).flags.text('endpoint')).toBeUndefined();
    expect((await settingsIn({ ...world, config: 'endpoint = https://ours' })).flags.text('endpoint')).toBe(
      'https://ours',
    );
    const env = { ...world.env, HOLDFAST_ENDPOINT: 'https://ours' };
    expect((await settingsIn({ ...world, env })).flags.text('endpoint')).toBe('https://ours');
    expect((await settingsIn({ ...world, args: ['--endpoint', 'https://x'] })).flags.text('endpoint')).toBe(
      'https://x',
    );
  });

  test('the variable beats the profile', async () => {
    const env = { AWS_IGNORE_CONFIGURED_ENDPOINT_URLS: 'false' };
    const { flags } = await settingsIn({ env, aws: `${aws}ignore_configured_endpoint_urls = true\n` });
    expect(flags.text('endpoint')).toBe(endpoint);
  });

  test('other settings of the SDKs stay', async () => {
    const env = { AWS_IGNORE_CONFIGURED_ENDPOINT_URLS: 'true', AWS_CA_BUNDLE: '/ca.pem' };
    expect((await settingsIn({ env })).flags.text('ca-bundle')).toBe('/ca.pem');
  });
});

describe('booleans in any case of letters, as the SDKs take them', () => {
  test.each<[place: string, world: (text: string) => World]>([
    ['a variable of the SDKs', (text) => ({ env: { AWS_USE_DUALSTACK_ENDPOINT: text } })],
    ['the profile', (text) => ({ aws: `[default]\nuse_dualstack_endpoint = ${text}` })],
    ['a variable of ours', (text) => ({ env: { HOLDFAST_USE_DUALSTACK_ENDPOINT: text } })],
    ['the config file', (text) => ({ config: `use-dualstack-endpoint = ${text}` })],
  ])('%s', async (_, world) => {
    expect((await settingsIn(world('TrUe'))).flags.on('use-dualstack-endpoint')).toBe(true);
    const { flags } = await settingsIn(world('FaLSe'));
    expect([flags.on('use-dualstack-endpoint'), flags.origins.has('use-dualstack-endpoint')]).toEqual([false, true]);
  });

  test('the endpoints to ignore', async () => {
    const env = { AWS_IGNORE_CONFIGURED_ENDPOINT_URLS: 'tRUE', AWS_ENDPOINT_URL: 'https://gateway.example' };
    expect((await settingsIn({ env })).flags.text('endpoint')).toBeUndefined();
  });
});

describe('a bad value is named by its place, and not repeated', () => {
  test.each<[place: string, world: World, code: string, message: RegExp]>([
    [
      'a variable',
      { env: { HOLDFAST_SESSION_DURATION: '1h' } },
      'ERR_OPTION_INVALID',
      /^the value of HOLDFAST_SESSION_DURATION is not a whole number$/,
    ],
    [
      'a variable of the SDKs',
      { env: { AWS_MAX_ATTEMPTS: 'x1h' } },
      'ERR_OPTION_INVALID',
      /AWS_MAX_ATTEMPTS is not a whole/,
    ],
    [
      'a boolean',
      { env: { AWS_USE_FIPS_ENDPOINT: '1h' } },
      'ERR_OPTION_INVALID',
      /AWS_USE_FIPS_ENDPOINT is neither true nor false/,
    ],
    [
      'another boolean',
      { env: { AWS_IGNORE_CONFIGURED_ENDPOINT_URLS: '1h' } },
      'ERR_OPTION_INVALID',
      /_URLS is neither/,
    ],
    [
      'the config file',
      { config: '\n\ndeadline = 1h' },
      'ERR_OPTION_INVALID',
      /deadline in line 3 of \/.+\/config is not a whole/,
    ],
    [
      'one of few',
      { env: { HOLDFAST_LOG_LEVEL: '1h' } },
      'ERR_OPTION_INVALID',
      /^the value of HOLDFAST_LOG_LEVEL is none that there is$/,
    ],
    [
      'on or off',
      { env: { HOLDFAST_CACHE: 'perhaps' } },
      'ERR_OPTION_INVALID',
      /^the value of HOLDFAST_CACHE is none that there is$/,
    ],
    [
      'one of few, in the file',
      { config: 'cache = 1h' },
      'ERR_OPTION_INVALID',
      /^the value of cache in line 1 of \/.+ is none that there is$/,
    ],
    [
      'the profile',
      { aws: '[default]\nmax_attempts = 1h' },
      'ERR_OPTION_INVALID',
      /max_attempts of \[default\] in \/.+\/aws is not/,
    ],
  ])('%s', async (_, world, code, message) => {
    const error = await rejectionOf(settingsIn(world));
    expect(error).toMatchObject({ code, hint: expect.any(String) });
    expect(error.message).toMatch(message);
    expect(error.message + error.hint).not.toContain('1h');
  });

  test.each<[name: string, world: World, message: RegExp, hint: string]>([
    [
      'session-duration',
      { env: { HOLDFAST_SESSION_DURATION: '899' } },
      /^HOLDFAST_SESSION_DURATION is 899$/,
      'give 900 to 43200',
    ],
    ['session-duration', { args: ['--session-duration=43201'] }, /^--session-duration is 43201$/, 'give 900 to 43200'],
    ['deadline', { config: 'deadline = 0' }, /^deadline in line 1 of \/.+ is 0$/, 'give 1 to 86400'],
    ['max-attempts', { env: { HOLDFAST_MAX_ATTEMPTS: '21' } }, /^HOLDFAST_MAX_ATTEMPTS is 21$/, 'give 1 to 20'],
    ['max-attempts', { config: 'max-attempts = 21' }, /^max-attempts in line 1 of \/.+ is 21$/, 'give 1 to 20'],
    ['max-attempts', { env: { AWS_MAX_ATTEMPTS: '0' } }, /^AWS_MAX_ATTEMPTS is 0$/, 'give 1 to 20'],
    ['port', { command: 'local', args: ['--port=65536'] }, /^--port is 65536$/, 'give 0 to 65535'],
    ['life', { command: 'local', args: ['--life=0'] }, /^--life is 0$/, 'give 1 to 43200'],
  ])('%s out of its range', async (_, world, message, hint) => {
    const error = await rejectionOf(settingsIn(world));
    expect(error).toMatchObject({ code: 'ERR_OPTION_INVALID', hint });
    expect(error.message).toMatch(message);
  });

  test('one that is overruled harms nobody', async () => {
    const { flags } = await settingsIn({
      args: ['--deadline=5'],
      env: { HOLDFAST_DEADLINE: 'x' },
      config: 'deadline = y',
    });
    expect(flags.integer('deadline')).toBe(5);
  });

  test('what is meant for all SDKs may be more than ours takes', async () => {
    const attempts = async (world: World) => (await settingsIn(world)).flags.integer('max-attempts');
    expect(await attempts({ env: { AWS_MAX_ATTEMPTS: '100' } })).toBe(20);
    expect(await attempts({ aws: '[default]\nmax_attempts = 100' })).toBe(20);
    expect(await attempts({ env: { AWS_MAX_ATTEMPTS: '7' } })).toBe(7);
  });
});

describe('variables that are none of ours', () => {
  const warnings = async (env: NodeJS.ProcessEnv) => (await settingsIn({ env })).told;

  test.each([
    ['HOLDFAST_ROLL_ARN', 'did you mean HOLDFAST_ROLE_ARN?'],
    ['HOLDFAST_CONFIGS', 'did you mean HOLDFAST_CONFIG?'],
    ['HOLDFAST_SESION_DURATION', 'did you mean HOLDFAST_SESSION_DURATION?'],
    ['HOLDFAST_FROBNICATE', 'docs/cli.md lists the variables'],
    ['HOLDFAST_', 'docs/cli.md lists the variables'],
    ['HOLDFAST_HELP', 'docs/cli.md lists the variables'],
    ['HOLDFAST_PORT', 'docs/cli.md lists the variables'],
    ['HOLDFAST_PROFILE', 'did you mean HOLDFAST_CONFIG_PROFILE?'],
    ['HOLDFAST_NO_CACHE', 'did you mean HOLDFAST_CACHE?'],
    ['HOLDFAST_JSON', 'did you mean HOLDFAST_OUTPUT?'],
  ])('%s is warned of', async (name, hint) => {
    expect(await warnings({ [name]: 'hunter2' })).toEqual([`warning|${name} is no setting and is not read|${hint}`]);
  });

  test.each(['HOLDFAST_PKCS8_PASSWORD', 'HOLDFAST_TPM_KEY_PASSWORD'])('%s: no secret is read', async (name) => {
    const { flags, told } = await settingsIn({ env: { [name]: 'hunter2' } });
    expect(told).toEqual([expect.stringMatching(/^warning\|HOLDFAST_\w+ is not read: no secret is\|.*pin-source/)]);
    expect([flags.text('pkcs8-password'), flags.text('tpm-key-password')]).toEqual([undefined, undefined]);
  });

  test('what is ours, and what is not meant to be, is not', async () => {
    const env = Object.fromEntries(SETTINGS.map((name) => [variableOf(name), '']));
    const ours = {
      HOLDFAST_REGION: 'x',
      HOLDFAST_CONFIG: '',
      HOLDFAST_CONFIG_PROFILE: '',
      HOLDFASTENED: 'x',
      HOLD: 'y',
    };
    expect((await settingsIn({ env: { ...env, ...ours } })).told).toEqual([]);
  });
});

test('debug says of every setting where it is from, and no value', async () => {
  const { told, place } = await settingsIn({
    args: ['--debug', '--region', 'hunter2'],
    env: { HOLDFAST_PRIVATE_KEY: 'pkcs11:token=a?pin-value=hunter2', AWS_CA_BUNDLE: 'hunter2' },
    config: 'certificate = hunter2',
    aws: '[default]\nuse_fips_endpoint = true',
  });
  expect(told).toEqual(
    [
      `certificate: from certificate in line 1 of ${place}/config`,
      'private-key: from HOLDFAST_PRIVATE_KEY',
      'session-duration: from its default',
      'region: from --region',
      `use-fips-endpoint: from use_fips_endpoint of [default] in ${place}/aws`,
      'max-attempts: from its default',
      'ca-bundle: from AWS_CA_BUNDLE',
      'debug: from --debug',
      'log-level: from its default',
      'log-format: from its default',
      'cache: from its default',
    ].map((text) => `debug|setting ${text}|`),
  );
});
