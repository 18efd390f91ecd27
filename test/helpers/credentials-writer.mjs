// credentials-writer.mjs FILE PROFILE MILLISECONDS: writes new credentials into a profile again and again, as `holdfast
// update` does. Says "writing" before the first time, and how often it wrote in the end. When the file has not what was
// written last, it says "lost" and fails.
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const dist = resolve(fileURLToPath(new URL('../..', import.meta.url)), process.env.HOLDFAST_TEST_DIST ?? 'dist');
const { replaceFile, setProfile } = await import(pathToFileURL(resolve(dist, 'serve/index.js')));

const [file, profile, milliseconds] = process.argv.slice(2);
const { signal } = new AbortController();
const end = Date.now() + Number(milliseconds);
console.log('writing');
let count = 0;
for (; count === 0 || Date.now() < end; count += 1) {
  const credentials = {
    accessKeyId: `ASIA-${profile}-${count}`,
    secretAccessKey: `secret-${profile}-${count}-${'s'.repeat(count % 50)}`,
    sessionToken: `token-${profile}-${count}-${'t'.repeat((count * 37) % 2000)}`,
    expiration: new Date(1_900_000_000_000 + count * 1000),
  };
  await replaceFile(file, (old) => setProfile(old, profile, credentials).data, { signal });
  if (!readFileSync(file, 'utf8').includes(` = ${credentials.sessionToken}\n`)) {
    console.log('lost');
    process.exit(1);
  }
}
console.log(count);
