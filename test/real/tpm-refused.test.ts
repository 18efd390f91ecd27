import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { openKey } from '../../src/stores/index.ts';
import { canaries } from '../helpers/canaries.ts';
import { describeUnless } from '../helpers/exercised.ts';
import { startTpm, type TestTpm } from '../helpers/swtpm.ts';
import { countedTries, makeTpmKey } from '../helpers/tpm-keys.ts';
import { failure } from '../stores/conformance.ts';

const describeTpm = await describeUnless('swtpm');
let tpm: TestTpm;
const at = (path: string, more = ''): string => `tpm:${path}?${tpm.query}${more}`;

describeTpm('an authValue that is refused while a key is open', () => {
  beforeAll(async () => {
    tpm = await startTpm();
  }, 60_000);
  afterAll(() => tpm?.remove());
  beforeEach(async () => {
    await tpm.tool('tpm2_dictionarylockout', '--clear-lockout');
  });

  test.each([
    ['with', '1', ''],
    ['without', '2', '&session=password'],
  ])('a key that was replaced at its handle is not used, %s a session', async (_, last, session) => {
    const handle = `0x8101002${last}`;
    const [one, other] = [
      await makeTpmKey(tpm, { type: 'P-256', auth: canaries.pin, counted: true }),
      await makeTpmKey(tpm, { type: 'P-256', auth: 'another', counted: true }),
    ];
    await one.persist(handle);
    const key = await openKey(at(`handle=${handle}`, session), { secret: canaries.pin });
    try {
      await key.sign(randomBytes(3));
      await sleep(100);
      await tpm.tool('tpm2_evictcontrol', '-C', 'o', '-c', handle);
      await other.persist(handle);
      for (let tries = 0; tries < 3; tries += 1) {
        expect(await failure(key.sign(randomBytes(3)))).toMatchObject({
          code: 'ERR_KEY_NOT_FOUND',
          message: expect.stringContaining('somebody replaced it'),
        });
      }
      expect(await countedTries(tpm)).toBe(0);
    } finally {
      await key.close();
    }
  });
});
