// pin-tries.mjs TIMES URI: says "ready", waits for the end of its input, then opens the key so many times, and prints how
// often which error came of it (`{"ERR_SECRET_WRONG":3}`), or "open".

import { resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const dist = resolve(fileURLToPath(new URL('../..', import.meta.url)), process.env.HOLDFAST_TEST_DIST ?? 'dist');
const { openKey } = await import(pathToFileURL(resolve(dist, 'index.js')));

const [times, uri] = process.argv.slice(2);
console.log('ready');
for await (const _ of process.stdin);
const outcomes = {};
for (let i = 0; i < Number(times); i += 1) {
  const outcome = await openKey(uri, { isolation: 'in-place' }).then(
    (key) => key.close().then(() => 'open'),
    (error) => error.code ?? String(error),
  );
  outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
}
console.log(JSON.stringify(outcomes));
