import { describe, expect, test } from '@jest/globals';
import { readAddress } from '../../src/stores/pkcs11/address.ts';
import type { ModuleUse } from '../../src/stores/pkcs11/modules.ts';
import { selectToken, type Token } from '../../src/stores/pkcs11/token.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { fakeToken } from '../helpers/fake-pkcs11.ts';
import { thrownBy } from '../helpers/thrown.ts';

/** A module with a token in each slot, by label and serial number. */
function moduleWith(...tokens: readonly (readonly [label: string, serial: string])[]): ModuleUse {
  const slots = tokens.map((_, slot) => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(BigInt(slot + 7));
    return bytes;
  });
  const { module } = fakeToken().connection;
  const pkcs11 = {
    C_GetSlotList: () => slots,
    C_GetTokenInfo: (slot: Buffer) => {
      const [label = '', serialNumber = ''] = tokens[Number(slot.readBigUInt64LE()) - 7] ?? [];
      return {
        label: label.padEnd(32),
        serialNumber: serialNumber.padEnd(16),
        model: '',
        manufacturerID: '',
        flags: 0x40d,
      };
    },
  };
  return { ...module, pkcs11: pkcs11 as unknown as ModuleUse['pkcs11'] };
}

const select = (module: ModuleUse, path: string): Token =>
  selectToken(module, readAddress(parseKeyUri(`pkcs11:${path}?module-path=/x.so`), {}));

describe('tokens that are alike', () => {
  test.each<[what: string, ...tokens: (readonly [label: string, serial: string])[]]>([
    ['the label', ['prod', '1'], ['prod', '2'], ['prod', '3']],
    ['the serial number', ['prod', '1'], ['spare', '1']],
    ['the label, which one lacks', ['', '1'], ['prod', '1']],
    ['the serial number, which one lacks', ['prod', ''], ['prod', '1']],
    ['label and serial number', ['prod', '1'], ['prod', '1'], ['spare', '1']],
    ['the lack of both', ['', ''], ['', '']],
  ])('%s: each URI in the error selects one, and no two the same', (_, ...tokens) => {
    const module = moduleWith(...tokens);
    const { code, hint } = thrownBy(() => select(module, 'type=private'));
    expect(code).toBe('ERR_TOKEN_AMBIGUOUS');
    const paths = (hint?.match(/pkcs11:[^?\s]+/g) ?? []).map((uri) => uri.slice('pkcs11:'.length));
    const slots = paths.map((path) => select(module, path).slot.readBigUInt64LE());
    expect(slots).toEqual(tokens.map((__, at) => BigInt(at + 7)));
  });

  test('the slot is said only where it matters', () => {
    const module = moduleWith(['prod', '1'], ['prod', '1'], ['spare', '1']);
    expect(thrownBy(() => select(module, 'serial=1')).hint?.match(/slot-id=\d+/g)).toEqual(['slot-id=7', 'slot-id=8']);
  });
});
