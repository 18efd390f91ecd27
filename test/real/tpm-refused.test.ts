import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import type { HoldfastError } from '../../src/errors.ts';
import { askPerson } from '../../src/secret.ts';
import { openKey } from '../../src/stores/index.ts';
import { u32 } from '../../src/stores/tpm/bytes.ts';
import { CC } from '../../src/stores/tpm/constants.ts';
import { readKeyFile } from '../../src/stores/tpm/key-file.ts';
import { writeKeyFile } from '../../src/stores/tpm/write-key-file.ts';
import { canaries } from '../helpers/canaries.ts';
import { describeUnless } from '../helpers/exercised.ts';
import { startTpm, type TestTpm } from '../helpers/swtpm.ts';
import { countedTries, flush, makeTpmKey } from '../helpers/tpm-keys.ts';
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

  /** Such a policy lets nothing but a signature tell whether an authValue is right. */
  async function signatureOnly(name: string): Promise<string> {
    const steps: [string, ...string[]][] = [
      ['tpm2_startauthsession', '-S', 'policy.ctx'],
      ['tpm2_policycommandcode', '-S', 'policy.ctx', '-L', 'policy', 'TPM2_CC_Sign'],
      ['tpm2_policyauthvalue', '-S', 'policy.ctx', '-L', 'policy'],
    ];
    for (const [program, ...args] of steps) await tpm.tool(program, ...args);
    await flush(tpm);
    const attributes = 'fixedtpm|fixedparent|sensitivedataorigin|sign';
    const made = await makeTpmKey(tpm, { type: 'P-256', auth: canaries.pin, attributes, policy: 'policy' });
    const file = readKeyFile(await readFile(made.file), 'key file');
    const path = join(tpm.dir, name);
    const policy = [
      { command: CC.PolicyCommandCode, parameters: u32(CC.Sign) },
      { command: CC.PolicyAuthValue, parameters: Buffer.alloc(0) },
    ];
    await writeFile(path, writeKeyFile({ ...file, policy, emptyAuth: false }));
    return at(`file=${path}`);
  }

  test('where only a signature tells, a wrong stored authValue is sent once', async () => {
    const uri = await signatureOnly('once.tpm');
    const opened = await openKey(uri, { secret: 'wrong-0123' });
    const errors: HoldfastError[] = [];
    for (let tries = 0; tries < 3; tries += 1) errors.push(await failure(opened.sign(randomBytes(3))));
    await opened.close();
    errors.push(await failure(openKey(uri, { secret: 'wrong-0123' })));
    expect(errors.map(({ code }) => code)).toEqual(Array(4).fill('ERR_SECRET_WRONG'));
    expect(errors[0]?.hint).toContain('holdfast pin retry');
    for (const { message } of errors.slice(1)) expect(message).toContain('not sent again');
    expect(await countedTries(tpm)).toBe(1);
    const key = await openKey(uri, { secret: canaries.pin });
    for (let signed = 0; signed < 2; signed += 1) await key.sign(randomBytes(3));
    await key.close();
  });

  test('where only a signature tells, that of a person is sent once as long as the key is open', async () => {
    const uri = await signatureOnly('person.tpm');
    const key = await openKey(uri, { secret: askPerson(() => 'wrong-0123') });
    const both = await Promise.all([failure(key.sign(randomBytes(3))), failure(key.sign(randomBytes(3)))]);
    expect(both.map(({ code }) => code)).toEqual(['ERR_SECRET_WRONG', 'ERR_SECRET_WRONG']);
    await key.close();
    expect(await countedTries(tpm)).toBe(1);
  });

  test('where only a signature tells, a stored authValue is not spent on the last try', async () => {
    const uri = await signatureOnly('last.tpm');
    const key = await openKey(uri, { secret: canaries.pin });
    const other = await makeTpmKey(tpm, { type: 'P-256', auth: canaries.pin, counted: true });
    await other.persist('0x81010029');
    for (const wrong of ['a', 'b']) {
      await failure(openKey(at('handle=0x81010029'), { secret: askPerson(() => wrong) }));
    }
    expect(await failure(key.sign(randomBytes(3)))).toMatchObject({ code: 'ERR_SECRET_LAST_TRY', triesLeft: 1 });
    await key.close();
    expect(await countedTries(tpm)).toBe(2);
  });
});
