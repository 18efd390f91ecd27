// Whatever a TPM answers, and whatever stands in a key file: the right result or an error of ours. Most cases are one
// command with a damaged answer; some are whole visits (open, sign and close; list; make, keep and remove keys) with answers
// damaged here and there; some are the octets of a connection; the rest are key files. Half of the answers are damaged on the
// bus, where HMACs must find it, half by a TPM that lies, so that the damage itself is read. The TPM's nonces are new each
// time; the damage comes again with the seed.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HoldfastError } from '../../dist/index.js';
import { tpmOver } from '../../dist/stores/tpm/execute.js';
import { readKeyFile } from '../../dist/stores/tpm/key-file.js';
import { policiesOf } from '../../dist/stores/tpm/policy.js';
import { keyObjectOf, nameOfArea } from '../../dist/stores/tpm/public-area.js';
import { checkSigns } from '../../dist/stores/tpm/signature.js';
import { fakeTpm } from '../helpers/fake-tpm.mjs';
import { damaged, pemOf } from '../helpers/mutations.mjs';
import { randomFrom } from '../helpers/random.mjs';
import { COMMANDS, flowsIn, KEY_FILES, overStream, PROVEN, textOf } from '../helpers/tpm-cases.mjs';
import { damagedBytes, damagedResponse } from '../helpers/tpm-damage.mjs';

export const asked = 1_000_000;

/** Milliseconds after which a case hangs. */
const LIMIT = 20_000;

const [SIGNAL, COMMAND_NAMES] = [new AbortController().signal, Object.keys(COMMANDS)];

/** Of a hundred cases. */
const SHARES = { flow: 2, stream: 10, file: 20 };

export async function slice(cases, seed) {
  const dir = mkdtempSync(join(tmpdir(), 'holdfast-answers-'));
  const counts = { right: 0, refused: 0 };
  try {
    const flows = flowsIn(dir);
    const proven = await honest(flows);
    const context = { random: randomFrom(seed), flows, proven, files: keyFiles(), earlier: [] };
    for (let i = 0; i < cases; i += 1) {
      const one = nextCase(context);
      try {
        counts[await endOf(one.run)] += 1;
      } catch (cause) {
        throw new Error(`case ${i} of seed ${seed}: ${one.name}: ${cause?.stack ?? cause}`, { cause });
      }
    }
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
  assert.ok(cases < 100 || (counts.right > 0 && counts.refused > cases / 10), JSON.stringify(counts));
  return counts;
}

/** Without damage all of it works, or the rest would say nothing. */
async function honest({ salted, plain }) {
  const proven = new Map();
  for (const name of COMMAND_NAMES) {
    const tpm = fakeTpm();
    const result = await COMMANDS[name](
      tpmOver(tpm, () => SIGNAL),
      tpm.session(),
    );
    if (PROVEN.includes(name)) proven.set(name, withoutHandle(result));
  }
  for (const visit of Object.values({ ...salted, ...plain })) await visit(deviceOf(fakeTpm()), true);
  return proven;
}

/** A handle that was loaded is not covered by the HMAC (Part 1 §16.7). */
const withoutHandle = (result) => (Buffer.isBuffer(result) ? result : { ...result, handle: undefined });

function keyFiles() {
  const ders = Object.keys(KEY_FILES).map((name) =>
    Buffer.from(textOf(name).split('\n').slice(1, -2).join(''), 'base64'),
  );
  for (const der of ders) readKeyFile(pemOf('TSS2 PRIVATE KEY', der), 'file');
  return ders.map((der) => ({ label: 'TSS2 PRIVATE KEY', der }));
}

function nextCase(context) {
  const { random, flows, proven, files, earlier } = context;
  const share = random.below(100);
  if (share < SHARES.flow) return visitOf(context, flows);
  if (share < SHARES.flow + SHARES.stream) {
    const isMssim = random.below(2) === 0;
    const response = earlier.length > 0 ? random.of(earlier) : Buffer.alloc(10);
    const size = Buffer.alloc(4);
    size.writeUInt32BE(response.length);
    const octets = isMssim ? Buffer.concat([size, response, Buffer.alloc(4)]) : response;
    const said = random.below(4) === 0 ? octets : damagedResponse(random, octets, earlier);
    return { name: `stream ${said.toString('hex')}`, run: () => overStream(random, said, isMssim) };
  }
  if (share < SHARES.flow + SHARES.stream + SHARES.file) {
    const data = damaged(random, files);
    return { name: `file ${data.toString('base64')}`, run: async () => readWhole(data) };
  }
  const name = random.of(COMMAND_NAMES);
  const isBus = random.below(2) === 0;
  const tpm = fakeTpm(damageOf(random, earlier, isBus, 1));
  const run = async () => {
    const result = await COMMANDS[name](
      tpmOver(tpm, () => SIGNAL),
      tpm.session(),
    );
    if (isBus && proven.has(name)) assert.deepEqual(withoutHandle(result), proven.get(name));
  };
  return { name, run };
}

function visitOf({ random, earlier }, { salted, plain }) {
  const isBus = random.below(2) === 0;
  const visits = { ...salted, ...plain };
  const name = random.of(Object.keys(visits));
  const device = deviceOf(fakeTpm(damageOf(random, earlier, isBus, 12)), random.below(2) === 0);
  return { name, run: () => visits[name](device, isBus && name in salted) };
}

/**
 * Up to three answers are damaged, in a row or not.
 *
 * @param isBus on the bus, or by the TPM itself
 * @param within how many answers the first of them is
 */
function damageOf(random, earlier, isBus, within) {
  let before = random.below(within);
  let left = random.of([1, 1, 2, 3]);
  const isNow = () => before-- <= 0 && left > 0 && random.below(4) > 0 && left-- > 0;
  const isArea = random.below(3) === 0;
  return {
    area: (bytes) => (!isBus && isArea && isNow() ? damagedBytes(random, bytes) : bytes),
    parameters: (bytes) => (!isBus && !isArea && isNow() ? damagedBytes(random, bytes) : bytes),
    response(bytes) {
      remember(earlier, random, bytes);
      return isBus && isNow() ? damagedResponse(random, bytes, earlier) : bytes;
    },
  };
}

function remember(earlier, random, bytes) {
  if (earlier.length < 64) earlier.push(Buffer.from(bytes));
  else earlier[random.below(64)] = Buffer.from(bytes);
}

/** Connections to it may come and go. */
const deviceOf = (tpm, managed = false) => ({
  name: 'TPM of the test',
  managed,
  connect: async () => ({ send: tpm.send, close() {} }),
});

/** All that is done with a key file before a TPM has it. No TPM is blamed for it. */
function readWhole(data) {
  try {
    const { area, policy } = readKeyFile(data, 'file');
    checkSigns(area, 'file');
    nameOfArea(area);
    keyObjectOf(area);
    policiesOf(area, policy, undefined);
  } catch (error) {
    if (error instanceof HoldfastError) assert.match(error.code, /^ERR_KEY_(INVALID|UNSUPPORTED|POLICY)$/);
    throw error;
  }
}

/** @returns how it ended. @throws what it should not have ended with */
async function endOf(run) {
  let late;
  const hung = new Promise((_, reject) => {
    late = setTimeout(() => reject(new Error('it hangs')), LIMIT);
  });
  try {
    await Promise.race([run(), hung]);
    return 'right';
  } catch (error) {
    if (!(error instanceof HoldfastError) || typeof error.code !== 'string') throw error;
    return 'refused';
  } finally {
    clearTimeout(late);
  }
}
