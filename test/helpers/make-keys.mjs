// make-keys.mjs URI...: says "ready", waits for the end of its input, then makes a key under each URI, with the PIN that is
// in it, and prints what came of each ("made", or the code of the error) as a list.

import { resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const dist = resolve(fileURLToPath(new URL('../..', import.meta.url)), process.env.HOLDFAST_TEST_DIST ?? 'dist');
const { parseKeyUri } = await import(pathToFileURL(resolve(dist, 'index.js')));
const { create } = await import(pathToFileURL(resolve(dist, 'stores/pkcs11/index.js')));

console.log('ready');
for await (const _ of process.stdin);
const outcomes = [];
for (const uri of process.argv.slice(2)) {
  const made = create(parseKeyUri(uri), { keyType: 'P-256' });
  outcomes.push(
    await made.then(
      () => 'made',
      (error) => error.code ?? String(error),
    ),
  );
}
console.log(JSON.stringify(outcomes));
