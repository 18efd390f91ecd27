import { formatKeyUri, type KeyUri } from '../../uri.ts';
import { REACH } from './device.ts';

/** For a shell, without any secret and without where one lies. */
export function retryCommand({ scheme, location, path, query }: KeyUri): string {
  const reach = [...query].filter(([name]) => (REACH as readonly string[]).includes(name));
  const named = scheme === 'handle' ? [['handle', location] as const] : [...path];
  return `holdfast pin retry '${formatKeyUri({ scheme: 'tpm', path: named, query: reach }).replaceAll("'", '%27')}'`;
}
