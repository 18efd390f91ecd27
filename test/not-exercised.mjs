// What cannot be exercised everywhere: the list, and the conditions that it names. Read by the tests, which skip by it,
// and by scripts/test.mjs, which under CI=true accepts no other skip.
import { spawnSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findEngine } from './containers/engine.mjs';
import { canUse, onPath } from './modules/libraries.mjs';

const here = fileURLToPath(new URL('.', import.meta.url));

/** Recorded requests that are not part of this repository. */
export const CAPTURES = join(here, '../../shared/vectors/captures.json');

const isWithoutMlDsa = () => {
  try {
    return generateKeyPairSync('ml-dsa-44').publicKey.asymmetricKeyType !== 'ml-dsa-44';
  } catch {
    return true;
  }
};

const OWN_MOUNT = [...['--user', '--map-root-user', '--mount'], ...['mount', '-t', 'tmpfs', 'tmpfs', '/mnt']];

const CONDITIONS = {
  'no-docker-engine': async () => (await findEngine()) === undefined,
  'node-without-ml-dsa': isWithoutMlDsa,
  'no-captures': () => !existsSync(CAPTURES),
  'not-linux': () => process.platform !== 'linux',
  'is-root': () => process.getuid?.() === 0,
  'not-root': () => process.getuid?.() !== 0,
  'program-missing': (program) => !onPath(program),
  'no-p11-kit-to-build-with': () => !onPath('gcc') || spawnSync('pkg-config', ['--exists', 'p11-kit-1']).status !== 0,
  'no-mount-of-ones-own': () => spawnSync('unshare', OWN_MOUNT).status !== 0,
  'no-boto3': () => spawnSync('/usr/bin/python3', ['-c', 'import boto3']).status !== 0,
  'module-unusable': (name) => !canUse(name),
};

/** Does a condition, such as `not-root` or `program-missing:aws`, hold here and now? Throws when nobody knows it. */
export async function holds(condition) {
  const [name, ...rest] = condition.split(':');
  if (!Object.hasOwn(CONDITIONS, name)) throw new Error(`test/not-exercised.json: no condition "${name}"`);
  return CONDITIONS[name](rest.join(':'));
}

export const readEntries = () => JSON.parse(readFileSync(join(here, 'not-exercised.json'), 'utf8'));

/** The tag in the title of a test that is skipped by an entry. */
export const tagOf = (id) => `[not-exercised: ${id}]`;
