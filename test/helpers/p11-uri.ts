import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const SOURCE = fileURLToPath(new URL('../native/p11-uri.c', import.meta.url));

/** What a parser made of a URI: hex values by name, or that it will have none of it. */
export type Reading = ReadonlyMap<string, string> | 'refused';

/** Builds p11-kit's parser into a folder of the caller's. Needs gcc, pkg-config and libp11-kit-dev. */
export function buildP11Kit(folder: string): (uris: readonly string[]) => Reading[] {
  const program = join(folder, 'p11-uri');
  const flags = execFileSync('pkg-config', ['--cflags', '--libs', 'p11-kit-1'], { encoding: 'utf8' });
  execFileSync('gcc', ['-Wall', '-Wextra', '-Werror', '-o', program, SOURCE, ...flags.trim().split(/\s+/)], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  return (uris) => {
    const input = uris.map((uri) => `${uri}\n`).join('');
    const output = execFileSync(program, { input, encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 });
    return output.trimEnd().split('\n').map(readingOf);
  };
}

/** An attribute that p11-kit does not recognise makes a URI fit nothing (p11_kit_uri_any_unrecognized): it is refused. */
function readingOf(line: string): Reading {
  const [verdict, ...pairs] = line.split('\t');
  if (verdict !== 'ok' || pairs.includes('unrecognized=')) return 'refused';
  return new Map(pairs.map((pair) => pair.split('=') as [string, string]));
}
