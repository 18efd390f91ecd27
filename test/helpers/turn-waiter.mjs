// turn-waiter.mjs PATH: waits for the turn at PATH, and keeps it. Prints a dot for each try, and "mine".
import { resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const dist = resolve(fileURLToPath(new URL('../..', import.meta.url)), process.env.HOLDFAST_TEST_DIST ?? 'dist');
const { takeTurn, turnWhen } = await import(pathToFileURL(resolve(dist, 'turn.js')));

const ask = () => {
  process.stdout.write('.');
  return takeTurn(process.argv[2]);
};
await turnWhen(ask, new AbortController().signal);
process.stdout.write('mine');
setInterval(() => undefined, 60_000);
