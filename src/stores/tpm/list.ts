import { within } from '../../limits.ts';
import { formatKeyUri } from '../../uri.ts';
import type { KeyInfo, ListedToken, ListOptions } from '../store.ts';
import type { Address } from './address.ts';
import { u32 } from './bytes.ts';
import { curves, handles, properties, readPublic } from './commands.ts';
import { CURVES, HT, hex, PT } from './constants.ts';
import { REACH } from './device.ts';
import type { Tpm } from './execute.ts';
import { visit } from './hold.ts';
import { readLockout } from './lockout.ts';
import { has, isStorage, type PublicArea } from './public-area.ts';
import { isResponse, RC } from './response-codes.ts';

/** The TPM, and the keys at its persistent handles. Nobody is asked for anything. */
export async function listAt(address: Address, options: ListOptions): Promise<readonly KeyInfo[]> {
  const look = async (tpm: Tpm): Promise<KeyInfo[]> => [
    await describeTpm(tpm, address),
    ...(await keysIn(tpm, address)),
  ];
  return within(options, `listing the ${address.device.name}`, (signal) => visit(address.device, look, signal));
}

const uriOf = ({ uri }: Address, path: readonly (readonly [string, string])[]): string => {
  const query = [...uri.query].filter(([name]) => (REACH as readonly string[]).includes(name));
  return formatKeyUri({ scheme: 'tpm', path, query });
};

/** Four characters in a number (TPM 2.0 Part 2 §6.13). */
const textIn = (...numbers: readonly (number | undefined)[]): string => {
  return Buffer.concat(numbers.map((number) => u32(number ?? 0)))
    .toString('latin1')
    .replaceAll('\0', '')
    .replace(/\s+/g, ' ')
    .trim();
};

async function describeTpm(tpm: Tpm, address: Address): Promise<ListedToken> {
  const found = await properties(tpm, PT.MANUFACTURER, PT.FIRMWARE_VERSION_1 - PT.MANUFACTURER + 1);
  const vendor = [0, 1, 2, 3].map((at) => found.get(PT.VENDOR_STRING_1 + at));
  const firmware = found.get(PT.FIRMWARE_VERSION_1) ?? 0;
  const { locked, tried, triesLeft } = await readLockout(tpm);
  const known = await curves(tpm);
  return {
    kind: 'token',
    uri: uriOf(address, []),
    label: address.device.name,
    serial: '',
    model: `${textIn(...vendor)} ${firmware >>> 16}.${firmware & 0xffff}`.trim(),
    manufacturer: textIn(found.get(PT.MANUFACTURER)),
    slot: address.device.name.replace(/^TPM at /, ''),
    pin: locked ? 'locked' : triesLeft === 1 ? 'last try' : tried ? 'count low' : 'ok',
    loginRequired: false,
    keypad: false,
    mechanisms: ['RSASSA', ...CURVES.filter(({ id }) => known.includes(id)).map(({ name }) => `ECDSA ${name}`)],
  };
}

async function keysIn(tpm: Tpm, address: Address): Promise<KeyInfo[]> {
  const named = address.handle;
  const found = (await handles(tpm, HT.PERSISTENT * 2 ** 24)).filter(
    (handle) => named === undefined || handle === named,
  );
  const keys: KeyInfo[] = [];
  for (const handle of found) {
    keys.push({
      kind: 'key',
      uri: uriOf(address, [['handle', hex(handle)]]),
      label: hex(handle),
      id: '',
      type: await typeAt(tpm, handle),
      privateSeen: true,
      alwaysAuthenticate: false,
      certificate: false,
    });
  }
  return keys;
}

async function typeAt(tpm: Tpm, handle: number): Promise<string> {
  try {
    const { area } = await readPublic(tpm, handle);
    return `${area.type === 'RSA' ? `RSA-${area.bits}` : area.curve.name}${useOf(area)}`;
  } catch (error) {
    // Somebody removed it meanwhile, or it is no key of a kind that signs.
    if (isResponse(error, RC.HANDLE)) return 'gone';
    if ((error as { code?: unknown }).code === 'ERR_KEY_UNSUPPORTED') return 'no signing key';
    throw error;
  }
}

function useOf(area: PublicArea): string {
  if (isStorage(area)) return ', a storage key';
  if (!has(area, 'sign')) return ', only decrypts';
  return has(area, 'restricted') ? ', an attestation key' : '';
}
