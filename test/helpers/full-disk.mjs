// full-disk.mjs DIRECTORY: mounts a small tmpfs there, which a namespace of its own allows, fills it, and replaces a file.
import { execFileSync } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const dist = resolve(fileURLToPath(new URL('../..', import.meta.url)), process.env.HOLDFAST_TEST_DIST ?? 'dist');
const { replaceFile } = await import(pathToFileURL(resolve(dist, 'serve/index.js')));

const place = process.argv[2];
const file = join(place, 'credentials');
const { signal } = new AbortController();
const old = 'old line\n'.repeat(2000);

async function attempt() {
  const failed = await replaceFile(file, (data) => Buffer.concat([data, Buffer.from('new\n')]), { signal }).catch(
    ({ code, message }) => ({ code, message: message.replace(`${place}/`, '') }),
  );
  const text = readFileSync(file, 'utf8');
  const names = readdirSync(place).sort();
  return typeof failed === 'number'
    ? { isNew: text === `${old}new\n`, names }
    : { ...failed, isOld: text === old, names };
}

/** Octets, but for few: the disk is full in the middle of the new file. */
function fill() {
  const fd = openSync(join(place, 'filler'), 'w');
  try {
    for (;;) writeSync(fd, Buffer.alloc(4096));
  } catch (error) {
    if (error.code !== 'ENOSPC') throw error;
  } finally {
    closeSync(fd);
  }
}

function mount(options) {
  execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', place]);
  writeFileSync(file, old, { mode: 0o600 });
}

mount('size=64k');
fill();
const octets = await attempt();
rmSync(join(place, 'filler'));
const afterwards = await attempt();
// Room for octets, and none for another file: root of the directory, the two files, and no more.
mount('size=64k,nr_inodes=3');
writeFileSync(join(place, 'filler'), '');
const files = await attempt();
console.log(JSON.stringify({ octets, files, afterwards }));
