import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { KeySpec, KeyStore } from '../../src/stores/store.ts';
import { readAddress } from '../../src/stores/tpm/address.ts';
import { openAt } from '../../src/stores/tpm/open.ts';
import { canaries } from '../helpers/canaries.ts';
import { describeUnless } from '../helpers/exercised.ts';
import { inheritedDevice } from '../helpers/inherited-device.ts';
import { startTpm, type TestTpm } from '../helpers/swtpm.ts';
import { loadedIn, type MadeKey, makeTpmKey, TPM_TYPES } from '../helpers/tpm-keys.ts';
import { ended } from '../modules/serve.ts';
import { conformance, type StoreHarness } from '../stores/conformance.ts';

const describeTpm = await describeUnless('swtpm');
const doorOf = async (): Promise<KeyStore> => import('../../src/stores/tpm/index.ts');
const secret = canaries.pin;
/** By type, and `protected`. */
const made = new Map<string, MadeKey>();
const handleOf = (name: string): string => `0x8101${[...made.keys()].indexOf(name).toString(16).padStart(4, '0')}`;

/** Keys made by tpm2-tools, before anybody else is connected. */
async function makeKeys(tpm: TestTpm): Promise<void> {
  for (const type of TPM_TYPES) made.set(type, await makeTpmKey(tpm, { type }));
  made.set('protected', await makeTpmKey(tpm, { type: 'P-256', auth: secret, counted: true }));
  for (const [name, key] of made) await key.persist(handleOf(name));
  // One count for all wrong authValues of a run.
  await tpm.tool(
    'tpm2_dictionarylockout',
    '--setup-parameters',
    '--max-tries=100',
    '--recovery-time=1',
    '--lockout-recovery-time=1',
  );
}

const harness = (uriOf: (name: string) => string, store = doorOf): StoreHarness => ({
  store,
  keyTypes: TPM_TYPES,
  key: async (type: KeySpec) => ({ uri: uriOf(type), publicKey: (made.get(type) as MadeKey).publicKey }),
  protectedKey: async () => ({
    uri: uriOf('protected'),
    publicKey: (made.get('protected') as MadeKey).publicKey,
    secret,
  }),
  missingKey: async () => ({ uri: uriOf('missing') }),
});

const handleUri = (tpm: TestTpm, name: string): string =>
  `tpm:handle=${name === 'missing' ? '0x8101ffff' : handleOf(name)}?${tpm.query}`;

for (const how of ['unix', 'tcp'] as const) {
  describeTpm(`swtpm over ${how}`, () => {
    let tpm: TestTpm;
    beforeAll(async () => {
      tpm = await startTpm(how);
      made.clear();
      await makeKeys(tpm);
    }, 120_000);
    afterAll(() => tpm?.remove());

    conformance(
      'tpm: persistent keys',
      harness((name) => handleUri(tpm, name)),
    );
    conformance(
      'tpm: key files',
      harness((name) => `tpm:file=${made.get(name)?.file ?? `${tpm.dir}/missing.tpm`}?${tpm.query}`),
    );
    conformance(
      'tpm: password sessions',
      harness((name) => `${handleUri(tpm, name)}&session=password`),
    );

    test('leaves nothing loaded', async () => {
      expect(await loadedIn(tpm)).toBe('');
    });
  });
}

describeTpm('swtpm on an inherited descriptor', () => {
  let dir: string;
  let child: ChildProcess;
  let store: KeyStore;
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'holdfast-tpm-'));
    const state = join(dir, 'state');
    await mkdir(state);
    // The keys are made over a socket, and taken over with the state.
    const maker = await startTpm('unix', state);
    made.clear();
    await makeKeys(maker);
    await maker.remove();
    const flags = ['--fd', '3', '--terminate', '--flags', 'not-need-init,startup-clear'];
    child = spawn('swtpm', ['socket', '--tpm2', '--tpmstate', `dir=${state}`, ...flags], {
      stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
    });
    const device = inheritedDevice(child.stdio[3] as Socket);
    store = { open: async (uri, options) => openAt({ ...readAddress(uri, options), device }, options) };
  }, 120_000);
  afterAll(async () => {
    if (child) await ended(child);
    await rm(dir, { recursive: true, force: true });
  });
  conformance(
    'tpm: persistent keys',
    harness(
      (name) => `tpm:handle=${name === 'missing' ? '0x8101ffff' : handleOf(name)}`,
      async () => store,
    ),
  );
});
