#!/usr/bin/env node
// The only place that knows the process: its arguments, its signals, its streams and its exit status.
import { HoldfastError } from '../errors.ts';
import { exitStatusOf, makeOutput } from './output.ts';
import { run } from './run.ts';

/** Milliseconds that a command has to put its key away after a signal. A call inside a driver cannot be cancelled. */
const GRACE = 3000;

const output = makeOutput(process.stdout, process.stderr, process.env);
const stop = new AbortController();
const interrupted = new HoldfastError('ERR_INTERRUPTED', 'interrupted');
let interruptedAs: number | undefined;

// A reader that went away is its own affair; whatever else goes wrong is reported where it is written.
process.stdout.on('error', () => undefined);
process.stderr.on('error', () => undefined);

/** However the command ended: it was interrupted. */
function leave(status: number): never {
  output.error(interrupted);
  process.exit(status);
}

for (const [name, status] of [
  ['SIGHUP', 129],
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const) {
  process.on(name, () => {
    if (interruptedAs !== undefined) leave(interruptedAs);
    interruptedAs = status;
    setTimeout(leave, GRACE, status);
    stop.abort(interrupted);
  });
}

try {
  await run(process.argv.slice(2), { env: process.env, output, signal: stop.signal });
  process.exit(0);
} catch (thrown) {
  if (interruptedAs !== undefined) leave(interruptedAs);
  output.error(thrown);
  process.exit(exitStatusOf(thrown));
}
