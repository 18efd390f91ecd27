// `npm test`: every suite at small counts. Unit tests share one jest process; every file of test/real gets a process of
// its own, two at a time, because a PKCS#11 module and its login belong to the process.
//
//   --only PATTERN   only the test files whose path matches this regular expression
//   --as-user        when root: in a copy of this checkout, as the user `nobody`
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, posix } from 'node:path';
import { parseArgs, stripVTControlCharacters } from 'node:util';
import { holds, readEntries } from '../test/not-exercised.mjs';
import { asUser } from './as-user.mjs';
import { ensureDoubles } from './install-doubles.mjs';
import { killAll, root, runJest } from './run-jest.mjs';

/** A file of test/real that takes longer hangs. Milliseconds. */
const LIMIT = 10 * 60_000;

/** Stack frames that are jest's own. */
const FRAMES = /\n\s+at .*node_modules\/.*/g;

const { values: flags } = parseArgs({ options: { only: { type: 'string' }, 'as-user': { type: 'boolean' } } });
const started = performance.now();
const isCi = process.env.CI === 'true';

await ensureDoubles();
const isElsewhere = flags['as-user'] && process.getuid?.() === 0;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    killAll();
    // The copy is cleared away once its run has ended.
    if (!isElsewhere) process.exit(130);
  });
}
if (isElsewhere) {
  process.exit(await asUser(['scripts/test.mjs', ...(flags.only ? ['--only', flags.only] : [])]));
}

const into = mkdtempSync(join(tmpdir(), 'holdfast-test-'));
const unit = filesIn('test/unit');
const real = filesIn('test/real');
const results = [];

if (unit.length > 0) await report('test/unit', { project: 'unit', files: unit, name: 'unit' });
const queue = real.map((file) => ({ project: 'real', files: [file], name: file.replaceAll('/', '-') }));
await Promise.all([work(), work()]);

const tests = results.flatMap((result) => result.tests);
const count = (status) => tests.filter((one) => one.status === status).length;
const skips = tests.filter(({ status }) => status === 'skipped');
const faults = [...results.flatMap(({ broken }) => broken.map(({ file }) => file)), ...(await explainSkips())];
if (tests.length === 0 && faults.length === 0) faults.push('no test file was found');

const seconds = ((performance.now() - started) / 1000).toFixed(1);
const failed = count('failed') + faults.length;
// .ci/run looks for secrets in what the tests printed, and clears it away then.
const isKept = failed > 0 || process.env.HOLDFAST_TEST_CANARIES !== undefined;
if (!isKept) rmSync(into, { recursive: true, force: true });
console.log(`\n${unit.length + real.length} files in ${seconds} s${failed === 0 ? '' : `, logs in ${into}`}`);
console.log(`${count('passed')} passed, ${failed} failed, ${skips.length} skipped`);
process.exitCode = failed === 0 ? 0 : 1;

function filesIn(folder) {
  const wanted = new RegExp(flags.only ?? '');
  return readdirSync(join(root, folder), { recursive: true })
    .map((name) => posix.join(folder, name))
    .filter((path) => path.endsWith('.test.ts') && wanted.test(path))
    .sort();
}

async function work() {
  for (let one = queue.shift(); one; one = queue.shift()) await report(one.files[0], one);
}

async function report(name, one) {
  const result = await runJest({ ...one, into, timeout: LIMIT });
  results.push(result);
  const of = (status) => result.tests.filter((test) => test.status === status);
  const isGood = of('failed').length === 0 && result.broken.length === 0;
  const counts = ['passed', 'failed', 'skipped'].flatMap((status) => {
    const n = of(status).length;
    return n > 0 ? [`${n} ${status}`] : [];
  });
  console.log(
    `${isGood ? 'ok    ' : 'FAILED'} ${name}: ${counts.join(', ') || 'nothing ran'}, ${result.seconds.toFixed(1)} s`,
  );
  for (const { file, title, messages } of of('failed')) {
    console.log(`\n${file} > ${title}\n${plain(messages.join('\n'))}\n`);
  }
  for (const { file, message } of result.broken) console.log(`\n${file} could not run: ${plain(message)}\n`);
}

function plain(message) {
  return stripVTControlCharacters(message).replaceAll(FRAMES, '');
}

/** Prints every skip with its reason; returns what is wrong with them, which is a failure under CI=true only. */
async function explainSkips() {
  const entries = new Map(readEntries().map((entry) => [entry.id, entry]));
  const wrong = [];
  const covered = new Set();
  if (skips.length > 0) console.log('\nskipped:');
  for (const { file, title } of skips) {
    const id = /\[not-exercised: ([^\]]+)\]/.exec(title)?.[1];
    const entry = entries.get(id);
    console.log(`  ${file} > ${title}${entry ? `\n    ${entry.why}` : ''}`);
    if (entry) covered.add(id);
    else wrong.push(`${file} > ${title}: skipped without an entry in test/not-exercised.json`);
  }
  for (const [id, { condition }] of entries) {
    const isTrue = await holds(condition);
    if (covered.has(id) && !isTrue) wrong.push(`entry "${id}" covers a skip, but ${condition} does not hold here`);
    // An entry that covers nothing is a leftover; only a whole run can tell.
    if (!covered.has(id) && isTrue && !flags.only)
      wrong.push(`entry "${id}" covers no skip, though ${condition} holds`);
  }
  if (!isCi) return [];
  for (const what of wrong) console.log(`FAILED ${what}`);
  return wrong;
}
