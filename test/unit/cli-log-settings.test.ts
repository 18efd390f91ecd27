import { describe, expect, test } from '@jest/globals';
import { settingsIn, type World } from '../helpers/settings-world.ts';
import { rejectionOf } from '../helpers/thrown.ts';

describe('profiles of the config file', () => {
  const config = 'region = all\nlog-level = warn\n[profile web]\nregion = web\nlog-level = error\n';

  test.each<[name: string, world: World, region: string]>([
    ['none', {}, 'all'],
    ['by flag', { args: ['--config-profile', 'web'] }, 'web'],
    ['by variable', { env: { HOLDFAST_CONFIG_PROFILE: 'web' } }, 'web'],
    [
      'by flag, which beats the variable',
      { args: ['--config-profile=web'], env: { HOLDFAST_CONFIG_PROFILE: 'x' } },
      'web',
    ],
    [
      'by variable, the flag being empty',
      { args: ['--config-profile='], env: { HOLDFAST_CONFIG_PROFILE: 'web' } },
      'web',
    ],
    ['and a stronger place', { args: ['--config-profile=web'], env: { HOLDFAST_REGION: 'mine' } }, 'mine'],
  ])('%s', async (_, world, region) => {
    expect((await settingsIn({ config, ...world })).flags.text('region')).toBe(region);
  });

  test.each(['credential-process', 'update', 'sign-string', 'read-certificate-data', 'list', 'local', 'pin'] as const)(
    'of %s, too',
    async (command) => {
      const { log } = await settingsIn({ config, command, args: ['--config-profile=web'] });
      expect(log?.level).toBe('error');
    },
  );

  test('one that is not there', async () => {
    const error = await rejectionOf(settingsIn({ config, env: { HOLDFAST_CONFIG_PROFILE: 'wb' } }));
    expect(error).toMatchObject({ code: 'ERR_OPTION_INVALID', hint: 'did you mean web? the profiles are: web' });
    expect(error.message).toMatch(/^HOLDFAST_CONFIG_PROFILE: there is no \[profile wb\] in /);
  });
});

describe('the log', () => {
  test.each<[name: string, world: World, level: string]>([
    ['by default', {}, 'info'],
    ['by flag', { args: ['--log-level=error'], env: { HOLDFAST_LOG_LEVEL: 'warn' } }, 'error'],
    ['by variable', { env: { HOLDFAST_LOG_LEVEL: 'warn' }, config: 'log-level = error' }, 'warn'],
    ['--debug', { args: ['--debug'], env: { HOLDFAST_LOG_LEVEL: 'warn' }, config: 'log-level = error' }, 'debug'],
    ['--debug beside a level', { args: ['--debug', '--log-level=error'] }, 'debug'],
    ['debug from elsewhere', { env: { HOLDFAST_DEBUG: '1' } }, 'debug'],
    [
      'debug from elsewhere, the flag is stronger',
      { args: ['--log-level=error'], env: { HOLDFAST_DEBUG: '1' } },
      'error',
    ],
    ['debug that is off', { args: ['--debug=false'], env: { HOLDFAST_DEBUG: '1' } }, 'info'],
    ['debug as a level', { config: 'log-level = debug' }, 'debug'],
  ])('%s', async (_, world, level) => {
    const { flags, log } = await settingsIn(world);
    expect(log).toEqual({ level, format: 'text' });
    expect([flags.on('debug'), flags.text('log-level')]).toEqual([level === 'debug', level]);
  });

  test('its form', async () => {
    expect((await settingsIn({ config: 'log-format = json' })).log).toEqual({ level: 'info', format: 'json' });
  });

  test('a command without --config reads no file, and is told of no mistyped variable', async () => {
    const env = { HOLDFAST_OUTPUT: 'json', HOLDFAST_TYPO: 'x', HOLDFAST_CONFIG_PROFILE: 'x' };
    for (const command of ['version', 'demo'] as const) {
      const { flags, told } = await settingsIn({ command, config: 'nonsense', env });
      expect([flags.text('output'), told]).toEqual(['json', []]);
    }
  });
});
