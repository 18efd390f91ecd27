import { describe, expect, test } from '@jest/globals';
import type { CommandName } from '../../src/cli/commands.ts';
import { type FlagName, flagOf, flagsOf } from '../../src/cli/flags.ts';
import { parseCommandLine } from '../../src/cli/parse.ts';
import { EXCLUSIVE } from '../../src/cli/refusals.ts';
import { thrownBy } from '../helpers/thrown.ts';

/** The contract's table: the pair, and the columns in which it has an x. */
const PAIRS: readonly [pair: [FlagName, FlagName], columns: string][] = [
  [['certificate', 'system-store-name'], 'CP UP SS RD'],
  [['private-key', 'system-store-name'], 'CP UP SS'],
  [['private-key', 'use-latest-expiring-certificate'], 'CP UP SS'],
  [['use-latest-expiring-certificate', 'intermediates'], 'CP UP'],
  [['use-latest-expiring-certificate', 'reuse-pin'], 'CP UP SS'],
  [['cert-selector', 'intermediates'], 'CP UP'],
  [['cert-selector', 'reuse-pin'], 'CP UP SS'],
  [['system-store-name', 'reuse-pin'], 'CP UP SS'],
  [['tpm-key-password', 'cert-selector'], 'CP UP SS'],
  [['tpm-key-password', 'reuse-pin'], 'CP UP SS'],
  [['no-tpm-key-password', 'cert-selector'], 'CP UP SS'],
  [['no-tpm-key-password', 'reuse-pin'], 'SS'],
  [['no-tpm-key-password', 'tpm-key-password'], 'CP UP SS'],
  [['pkcs8-password', 'tpm-key-password'], 'CP UP SS'],
];

const COMMANDS: readonly [CommandName, string][] = [
  ['credential-process', 'CP'],
  ['update', 'UP'],
  ['sign-string', 'SS'],
  ['read-certificate-data', 'RD'],
];

/** With a value that is a default, or false: a flag counts as set as soon as it appears. */
const written = (name: FlagName): string => (flagOf(name)?.type === 'boolean' ? `--${name}=false` : `--${name}=`);

describe.each(COMMANDS)('%s', (command, column) => {
  const known = PAIRS.filter(([pair]) => pair.every((name) => flagsOf(command).includes(name)));

  test.each(known)('%j', (pair, columns) => {
    const args = [command, ...pair.map(written)];
    if (!columns.split(' ').includes(column)) {
      expect(parseCommandLine(args).command).toBe(command);
      return;
    }
    const sorted = [...pair].sort().join(' ');
    const message = `if any flags in the group [${pair.join(' ')}] are set none of the others can be; [${sorted}] were all set`;
    const { code, message: said, hint } = thrownBy(() => parseCommandLine(args));
    expect([code, said, hint]).toEqual(['ERR_FLAG_CONFLICT', message, 'drop one of the two']);
    expect(thrownBy(() => parseCommandLine(args.toReversed())).message).toBe(message);
  });

  test('no other pair', () => {
    const names = flagsOf(command).filter((name) => name !== 'help');
    const isPair = (a: FlagName, b: FlagName): boolean =>
      PAIRS.some(([pair, columns]) => columns.includes(column) && pair.includes(a) && pair.includes(b));
    for (const [index, one] of names.entries()) {
      for (const other of names.slice(index + 1).filter((name) => !isPair(one, name))) {
        const value = (name: FlagName): string => (flagOf(name)?.type === 'integer' ? `--${name}=1` : written(name));
        expect(parseCommandLine([command, value(one), value(other)]).command).toBe(command);
      }
    }
  });
});

test('the table has nothing else', () => {
  const sorted = (pairs: readonly (readonly string[])[]): string[] =>
    pairs.map((one) => one.slice(0, 2).join(' ')).sort();
  expect(sorted(EXCLUSIVE as readonly (readonly string[])[])).toEqual(sorted(PAIRS.map(([pair]) => pair)));
});

test('the first by the alphabet is reported', () => {
  const all = ['--tpm-key-password=x', '--reuse-pin', '--cert-selector=x', '--intermediates=x'];
  const { message } = thrownBy(() => parseCommandLine(['credential-process', ...all]));
  expect(message).toContain('[cert-selector intermediates]');
});

test('a selector beside a certificate and a key chooses among certificates, and so does the other flag then', () => {
  const args = ['--certificate=c', '--private-key=k', '--cert-selector=s', '--use-latest-expiring-certificate'];
  expect(parseCommandLine(['sign-string', ...args]).flags.given).toHaveLength(4);
});
