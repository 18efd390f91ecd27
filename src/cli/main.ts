#!/usr/bin/env node
// The only place that knows the process: its arguments, its signals, its streams and its exit status.
import { HoldfastError } from '../errors.ts';
import { LOGIN } from './context.ts';
import { exitStatusOf, makeOutput } from './output.ts';
import { run } from './run.ts';
import { sinkOf } from './sink.ts';

/** Milliseconds that a command has to put its key away after a signal. A call inside a driver cannot be cancelled. */
const GRACE = 3000;

/** Milliseconds in which a signal that comes again is the same one: timeout(1) sends it to the child and to its group. */
const REPEATED = 500;

const output = makeOutput(
  sinkOf(1, () => process.stdout),
  sinkOf(2, () => process.stderr),
  process.env,
);
const stop = new AbortController();
const interrupted = new HoldfastError('ERR_INTERRUPTED', 'interrupted');
const SIGNALS = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;
type Signal = keyof typeof SIGNALS;
let interruptedBy: Signal | undefined;
let interruptedAt = 0;

const signals = Object.keys(SIGNALS) as Signal[];

/** Signals end the process again by themselves, also while it waits for a thread that hangs in a driver. */
function letSignalsEnd(): void {
  for (const name of signals) process.removeAllListeners(name);
}

/** However the command ended: it was interrupted. `process.exit` would wait for a call in a driver, a signal does not. */
function leave(by: Signal): never {
  letSignalsEnd();
  output.error(interrupted);
  // On Windows this would end the process with status 1.
  if (process.platform !== 'win32') process.kill(process.pid, by);
  process.exit(SIGNALS[by]);
}

function endInOrder(name: Signal): void {
  if (interruptedBy !== undefined) {
    if (Date.now() - interruptedAt >= REPEATED) leave(interruptedBy);
    return;
  }
  interruptedBy = name;
  interruptedAt = Date.now();
  setTimeout(leave, GRACE, name);
  stop.abort(interrupted);
}

function listen(): void {
  if (interruptedBy === undefined) for (const name of signals) process.on(name, endInOrder);
}

listen();
stop.signal.addEventListener(LOGIN, () => {
  if (interruptedBy !== undefined) return;
  letSignalsEnd();
  setImmediate(listen);
});

// No top-level await: the bundle is CommonJS, which starts some milliseconds sooner.
run(process.argv.slice(2), { env: process.env, output, signal: stop.signal }).then(
  () => {
    // After a signal, its repetition is still to come: it should not turn an orderly end into another one.
    if (interruptedBy === undefined) letSignalsEnd();
    process.exit(0);
  },
  (thrown: unknown) => {
    if (interruptedBy !== undefined) leave(interruptedBy);
    letSignalsEnd(); // first: once it is printed, nobody is left to hear a signal
    output.error(thrown);
    process.exit(exitStatusOf(thrown));
  },
);
