// `npm run test:long -- --minutes N`: the suites of test/long at the counts that they ask for, a slice of each in turn,
// until all is done or the time is up. A slice is a process of its own: a crash of native code ends that slice only.
//
//   --minutes N      default 20
//   --only PATTERN   only the suites whose file name matches this regular expression
//   --seed N         the first slice's seed, to see a failure again; the next slices count up
//   --cases N        run one slice of N cases and end
//
// A suite is a module that exports `asked` (how many cases) and `slice(n, seed)`, which runs n cases and throws when one
// fails. It may export `skipped`: why it cannot run here, else undefined.
import { randomInt } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { killAll, root, run } from './run-jest.mjs';

/** A slice is made as large as runs about this long, milliseconds. */
const SLICE = 10_000;

/** A slice that takes longer hangs, milliseconds. */
const LIMIT = 10 * 60_000;

const { values: flags } = parseArgs({
  options: {
    minutes: { type: 'string', default: '20' },
    only: { type: 'string', default: '' },
    seed: { type: 'string' },
    cases: { type: 'string' },
    slice: { type: 'string' },
  },
});

const numberOf = (name) => {
  const value = Number(flags[name]);
  if (!(value > 0)) throw new Error(`--${name} takes a number above 0`);
  return value;
};

async function runSlice(file) {
  const { slice } = await import(pathToFileURL(file));
  await slice(numberOf('cases'), numberOf('seed'));
}

async function runSuites() {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(signal, () => {
      killAll();
      process.exit(130);
    });
  }
  const end = performance.now() + numberOf('minutes') * 60_000;
  const suites = await Promise.all(suiteFiles().map(describe));
  let seed = flags.seed === undefined ? randomInt(1, 2 ** 31) : numberOf('seed');
  console.log(`first seed ${seed}`);

  const isOpen = (suite) => !suite.failed && !suite.skipped && suite.done < suite.asked;
  let open = suites.filter(isOpen);
  for (; open.length > 0 && performance.now() < end; open = suites.filter(isOpen)) {
    for (const suite of open) {
      if (performance.now() < end) await oneSlice(suite, seed++);
    }
    if (flags.cases) break;
  }
  close(suites);
}

function suiteFiles() {
  const wanted = new RegExp(flags.only);
  return readdirSync(join(root, 'test/long'))
    .filter((name) => name.endsWith('.mjs') && wanted.test(name))
    .sort();
}

async function describe(name) {
  const file = join(root, 'test/long', name);
  const { asked, skipped } = await import(pathToFileURL(file));
  return { name: name.replace(/\.mjs$/, ''), file, asked, skipped, done: 0, next: Math.min(asked, 100), failed: false };
}

async function oneSlice(suite, seed) {
  const cases = flags.cases ? numberOf('cases') : Math.min(suite.next, suite.asked - suite.done);
  const args = [join(root, 'scripts/test-long.mjs'), '--slice', suite.file, '--cases', String(cases)];
  const { status, signal, isLate, seconds } = await run(process.execPath, [...args, '--seed', String(seed)], {
    stdio: ['ignore', 'inherit', 'inherit'],
    timeout: LIMIT,
  });
  if (status === 0) {
    suite.done += cases;
    suite.next = Math.max(1, Math.round((cases * SLICE) / Math.max(seconds * 1000, SLICE / 20)));
    return;
  }
  suite.failed = true;
  const how = isLate ? 'hung' : `failed (${signal ?? `exit ${status}`})`;
  console.log(
    `FAILED ${suite.name}: ${how}; again: npm run test:long -- --only '^${suite.name}\\.' --seed ${seed} --cases ${cases}`,
  );
}

function close(suites) {
  for (const { name, done, asked, failed, skipped } of suites) {
    console.log(
      `${name}: ${done} of ${asked}${failed ? ', then FAILED' : ''}${skipped ? `, skipped: ${skipped}` : ''}`,
    );
  }
  const failed = suites.filter((suite) => suite.failed).length;
  const passed = suites.filter((suite) => suite.done > 0 && !suite.failed).length;
  const isEmpty = suites.length === 0;
  if (isEmpty) console.log('no suite was found');
  console.log(`${passed} passed, ${isEmpty ? 1 : failed} failed, ${suites.length - passed - failed} skipped`);
  process.exitCode = failed > 0 || isEmpty ? 1 : 0;
}

if (flags.slice) await runSlice(flags.slice);
else await runSuites();
