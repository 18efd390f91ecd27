import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, test } from '@jest/globals';
import { type LocalRolesAnywhere, startLocalRolesAnywhere } from '../../src/local/index.ts';
import { vend } from '../helpers/canaries.ts';
import { type CliIdentity, makeCliIdentity } from '../helpers/cli.ts';
import { describeSoftHsm, type TestToken } from '../helpers/softhsm.ts';
import { makeStage, valuesOf } from '../helpers/transcript-stage.ts';
import { addTokens } from '../helpers/transcript-token.ts';
import { expectOutcome, type Outcome, readTranscripts, runTranscripts } from '../helpers/transcripts.ts';

const files = readTranscripts('softhsm');
const all = files.flatMap(([, transcripts]) => transcripts);

describeSoftHsm('on SoftHSM', () => {
  let dir: string;
  let service: LocalRolesAnywhere;
  let me: CliIdentity;
  let token: TestToken;
  let outcomes: Outcome[];

  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), 'holdfast-stage-'));
    service = await startLocalRolesAnywhere({ vend });
    me = await makeCliIdentity(service);
    const added = await addTokens(makeStage(dir, valuesOf(service, me)));
    token = added.token;
    outcomes = await runTranscripts(all, added.stage);
  }, 240_000);

  afterAll(async () => {
    await service?.close();
    await me?.remove();
    await token?.remove();
    rmSync(dir, { recursive: true, force: true });
  });

  describe.each(files)('%s', (_, transcripts) => {
    test.each(transcripts.map((one) => [one.title, one] as const))('%s', (_title, one) => {
      expectOutcome(one, outcomes[all.indexOf(one)] as Outcome);
    });
  });
});
