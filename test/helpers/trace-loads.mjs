// `node --import trace-loads.mjs program`: every ES module that is loaded, and every CommonJS file that one imports, is
// a line in the file that HOLDFAST_TRACE names. What CommonJS files require stands in require.cache.
import { appendFileSync } from 'node:fs';
import { register } from 'node:module';
import { isMainThread } from 'node:worker_threads';

// Node runs the hooks in a thread of their own, where this file is loaded a second time.
if (isMainThread) register(import.meta.url);

export async function load(url, context, nextLoad) {
  appendFileSync(process.env.HOLDFAST_TRACE, `${url}\n`);
  return nextLoad(url, context);
}
