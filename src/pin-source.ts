import { isAbsolute, join } from 'node:path';
import { HoldfastError } from './errors.ts';
import type { Limits } from './limits.ts';
import { type Secret, type SecretFunction, type SecretOrigin, secretFromFile } from './secret.ts';
import type { KeyUri } from './uri.ts';

export interface PinSourceOptions extends Limits {
  /** Whether a `pin-source` may name a command. Default: false. */
  allowCommands?: boolean | undefined;
}

const NAMES: readonly string[] = ['pin-value', 'pin-source'];

/**
 * What in a URI is the secret, or says where it is. In the `pkcs11:` URIs of before RFC 7512 that stood before the "?".
 */
export const secretAttributesOf = ({ scheme, path, query }: KeyUri): readonly (readonly [string, Uint8Array])[] =>
  [...(scheme === 'pkcs11' ? path : []), ...query].filter(([name]) => NAMES.includes(name));

/**
 * The secret that a key URI carries as `pin-value`, or names as `pin-source` (RFC 7512 §2.4); undefined when it does
 * neither. Nothing is read, removed or run yet.
 *
 * @throws {HoldfastError} `ERR_URI_INVALID` for both at once, for a source that is none of those in docs/cli.md, and for
 *   a command that was not allowed
 */
export function secretOf(uri: KeyUri, options: PinSourceOptions): SecretFunction | undefined {
  const [first, second] = secretAttributesOf(uri);
  if (!first) return undefined;
  if (second) throw invalid(`the key URI has a ${first[0]} and a ${second[0]}`, 'keep one of them');
  const [name, bytes] = first;
  if (name === 'pin-value') return Object.assign(() => bytes, { origin: { kind: 'value', name: '' } as const });
  const source = Buffer.from(bytes).toString('utf8');
  if (isAbsolute(source.replace(/^file:(\/\/)?(?=\/)/i, ''))) return secretFromFile(source, options);
  const place = placeOf(source);
  if (place.kind === 'command' && !options.allowCommands) {
    throw invalid('the pin-source is a command, and commands are not run unasked', ALLOW);
  }
  const fetch = async (): Promise<Secret> =>
    (await import('./secret-places.ts')).readPlace(place.kind, place.name, options);
  return Object.assign(fetch, { origin: originOf(place) });
}

const ALLOW = 'if you trust whoever wrote the key URI: --allow-pin-command, or the option allowCommands';

type Place = Pick<SecretOrigin, 'kind' | 'name'>;

/** A function, because few need them and the categories of Unicode cost a start half a millisecond. */
const places = (): readonly (readonly [kind: SecretOrigin['kind'], pattern: RegExp])[] => [
  ['variable', /^env:([A-Za-z_][A-Za-z0-9_]*)$/i],
  ['descriptor', /^fd:(0|[3-9]|[1-9]\d{1,5})$/i],
  ['credential', /^credential:(?!\.{1,2}$)([^/\\\p{Cc}]{1,255})$/iu],
  ['command', /^\|(.+)$/],
];

/** What is none of these may be the secret itself, so it is not repeated. */
function placeOf(source: string): Place {
  for (const [kind, pattern] of places()) {
    const name = pattern.exec(source)?.[1];
    if (name === undefined) continue;
    if (kind === 'command' && !isAbsolute(name.trim().split(/\s/)[0] as string)) {
      throw invalid(
        'the command of the pin-source does not begin with an absolute path',
        'write pin-source=|/path/to/program; there is no shell that would look for it',
      );
    }
    return { kind, name };
  }
  throw invalid(
    'the pin-source is neither a file: URI nor an absolute path, and no other place that is known',
    'write pin-source=file:/path/to/secret, or env:NAME, fd:N, credential:NAME',
  );
}

/** A command may have a secret in its arguments: its hash tells it apart as well. */
function originOf({ kind, name }: Place): SecretOrigin {
  if (kind === 'command') {
    // An import would cost each start two milliseconds, and most have no command.
    const { createHash } = process.getBuiltinModule('node:crypto');
    return { kind, name: createHash('sha256').update(name).digest('hex') };
  }
  const folder = process.env.CREDENTIALS_DIRECTORY;
  return { kind, name: kind === 'credential' && folder ? join(folder, name) : name };
}

const invalid = (message: string, hint: string): HoldfastError =>
  new HoldfastError('ERR_URI_INVALID', message, { hint });
