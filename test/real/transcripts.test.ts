import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type LocalRolesAnywhere, startLocalRolesAnywhere } from '../../src/local/index.ts';
import { vend } from '../helpers/canaries.ts';
import { type CliIdentity, makeCliIdentity } from '../helpers/cli.ts';
import { describeUnless } from '../helpers/exercised.ts';
import { CAN_ML_DSA } from '../helpers/ml-dsa.ts';
import { makeStage, valuesOf } from '../helpers/transcript-stage.ts';
import {
  expectOutcome,
  type Outcome,
  readTranscripts,
  runTranscripts,
  type Transcript,
} from '../helpers/transcripts.ts';

const files = readTranscripts();
const ofMlDsa = readTranscripts('ml-dsa');
const all = [...files, ...(CAN_ML_DSA ? ofMlDsa : [])].flatMap(([, transcripts]) => transcripts);

let dir: string;
let service: LocalRolesAnywhere;
let me: CliIdentity;
let outcomes: Outcome[];

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'holdfast-stage-'));
  service = await startLocalRolesAnywhere({ vend });
  me = await makeCliIdentity(service);
  outcomes = await runTranscripts(all, makeStage(dir, valuesOf(service, me)));
}, 240_000);

afterAll(async () => {
  await service?.close();
  await me?.remove();
  rmSync(dir, { recursive: true, force: true });
});

const compare = (transcripts: readonly Transcript[]): void =>
  test.each(transcripts.map((one) => [one.title, one] as const))('%s', (_title, one) => {
    expectOutcome(one, outcomes[all.indexOf(one)] as Outcome);
  });

describe.each(files)('%s', (_, transcripts) => compare(transcripts));

(await describeUnless('ml-dsa'))('ml-dsa', () => {
  describe.each(ofMlDsa)('%s', (_, transcripts) => compare(transcripts));
});

test('there are at least 120 invocations', () => {
  const everywhere = [...files, ...readTranscripts('softhsm')].flatMap(([, transcripts]) => transcripts);
  const lines = everywhere.flatMap(({ steps }) => steps).map(({ line }) => line);
  expect(lines.filter((line) => line.includes('holdfast ')).length).toBeGreaterThanOrEqual(120);
});
