// Canaries: a PIN, a passphrase, a secret key and a session token that are made for one run and given to every suite
// (test/helpers/canaries.ts), and then looked for in whatever the run said, left and started.
//
//   make FILE                    make them
//   sample FILE PID REPORT       until SIGTERM: look at argv and environment of what PID has started
//   search FILE REPORT DIR...    at the end: the report, and every file below DIR that is newer than FILE
//   self-test                    leaks on purpose, in each of these places: each must be told
//
// A hit names the place, the canary and its spelling, never the value. What is packed (gzip, zip) is not opened.
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  writeFileSync,
} from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { sampleUntilStopped } from './canary-sampler.mjs';
import { selfTest } from './canary-self-test.mjs';

/** Read at once, bytes. */
const CHUNK = 8 << 20;

/** How much of a canary is looked for, at either end: also one that was cut short is found. Characters. */
const PIECE = 12;

/** Hits that are printed of each place. */
const SHOWN = 30;

/** Either end is of hexadecimal digits, which no escaping changes: URL, JSON, HTML, shell. */
export function makeCanaries() {
  const hex = (length) => randomBytes(length).toString('hex');
  return {
    pin: hex(8),
    passphrase: `${hex(6)} "ä"&%+\\ ${hex(6)}`,
    // Of the length and the alphabet that AWS uses.
    secretKey: `${hex(8)}/+/+/+/+${hex(8)}`,
    sessionToken: hex(160),
  };
}

export const readCanaries = (file) => JSON.parse(readFileSync(file, 'utf8'));

/** Every way to write a canary that is looked for: `{ canary, spelling, bytes }`. */
export function spellingsOf(canaries) {
  return Object.entries(canaries).flatMap(([canary, text]) =>
    [text.slice(0, PIECE), text.slice(-PIECE)].flatMap((piece) =>
      Object.entries(spellings(Buffer.from(piece))).map(([spelling, bytes]) => ({
        canary,
        spelling,
        bytes: Buffer.from(bytes, 'latin1'),
      })),
    ),
  );
}

function spellings(piece) {
  const each = (write, between = '') => [...piece].map(write).join(between);
  const hex = (byte) => byte.toString(16).padStart(2, '0');
  const HEX = (byte) => hex(byte).toUpperCase();
  return {
    plain: piece.toString('latin1'),
    hex: each(hex),
    'capital hex': each(HEX),
    'hex with colons': each(HEX, ':'), // OpenSSL
    '\\x': each((byte) => `\\x${hex(byte)}`),
    '\\u': each((byte) => `\\u00${hex(byte)}`),
    'percent-encoded': each((byte) => `%${HEX(byte)}`),
    decimal: each(String, ','), // a Buffer as JSON
    'keyed decimal': [...piece].map((byte, at) => `"${at}":${byte}`).join(','), // a Uint8Array as JSON
    'UTF-16': piece.toString('latin1').split('').join('\0'),
    base64: base64(piece, 0),
    'base64, one byte in': base64(piece, 1),
    'base64, two bytes in': base64(piece, 2),
  };
}

/** The characters that depend on these bytes alone, when so many others stand before them in the group of three. */
function base64(piece, before) {
  const text = Buffer.concat([Buffer.alloc(before), piece]).toString('base64');
  return text.slice(Math.ceil((before * 8) / 6), Math.floor(((before + piece.length) * 8) / 6));
}

/**
 * The canaries in some bytes, each once: `{ canary, spelling, at }`. They may be spread out, over lines or between spaces,
 * as inspect prints a Buffer and others print base64; then there is no `at`.
 */
export function canariesIn(bytes, known) {
  const dense = Buffer.from(Buffer.from(bytes).toString('latin1').replace(/\s+/g, ''), 'latin1');
  const found = new Map();
  for (const { canary, spelling, bytes: wanted } of known) {
    if (found.has(canary)) continue;
    const at = bytes.indexOf(wanted);
    if (at >= 0) found.set(canary, { canary, spelling, at });
    else if (dense.includes(wanted)) found.set(canary, { canary, spelling: `${spelling}, spread out` });
  }
  return [...found.values()];
}

const lookFor = (canaries) => {
  const known = spellingsOf(canaries);
  return (bytes) => canariesIn(bytes, known);
};

/**
 * Look into every file below a folder that changed since a time, and at its name.
 *
 * @param known what `spellingsOf` gave
 * @param since milliseconds; times of change, which nobody can set back
 * @param except a path that is passed over
 * @returns `{ files, hits }`; a file that cannot be read is a hit, too
 */
export function searchFolder(folder, known, { since = 0, except } = {}) {
  const hits = [];
  let files = 0;
  const walk = (directory) => {
    for (const entry of entriesOf(directory, hits)) {
      const path = join(directory, entry.name);
      if (path === except) continue;
      // A path that tells a canary is not repeated.
      for (const { canary } of canariesIn(Buffer.from(entry.name), known))
        hits.push(`${directory}: ${canary}, in a name`);
      if (entry.isDirectory()) walk(path);
      if (!entry.isFile() && !entry.isSymbolicLink()) continue;
      try {
        if (lstatSync(path).ctimeMs < since) continue;
        const found = entry.isFile() ? searchFile(path, known) : canariesIn(Buffer.from(readlinkSync(path)), known);
        files += 1;
        hits.push(...found.map((hit) => `${path}: ${inWords(hit)}`));
      } catch (error) {
        if (error.code !== 'ENOENT') hits.push(`${path}: cannot be read (${error.code})`);
      }
    }
  };
  walk(resolve(folder));
  return { files, hits };
}

const inWords = ({ canary, spelling, at }) => `${canary}, ${spelling}${at === undefined ? '' : `, at byte ${at}`}`;

function entriesOf(directory, hits) {
  try {
    return readdirSync(directory, { withFileTypes: true });
  } catch (error) {
    if (error.code !== 'ENOENT') hits.push(`${directory}: cannot be read (${error.code})`);
    return [];
  }
}

function searchFile(path, known) {
  // Four times as long when it is spread out.
  const longest = 4 * Math.max(...known.map(({ bytes }) => bytes.length));
  const chunk = Buffer.alloc(CHUNK);
  const found = new Map();
  const file = openSync(path, 'r');
  try {
    for (let start = 0, kept = 0; ; ) {
      const read = readSync(file, chunk, kept, CHUNK - kept, null);
      if (read === 0) return [...found.values()];
      const bytes = chunk.subarray(0, kept + read);
      for (const hit of canariesIn(bytes, known)) {
        if (!found.has(hit.canary))
          found.set(hit.canary, { ...hit, at: hit.at === undefined ? undefined : start + hit.at });
      }
      // What may be the beginning of a spelling is looked at again with what follows.
      const keep = Math.min(longest, bytes.length);
      bytes.copy(chunk, 0, bytes.length - keep);
      start += bytes.length - keep;
      kept = keep;
    }
  } finally {
    closeSync(file);
  }
}

/** `search`: prints what each place tells, and a closing line; true when none tells anything. */
function search(file, report, folders) {
  const known = spellingsOf(readCanaries(file));
  const since = lstatSync(file).ctimeMs;
  const places = folders.map((folder) => {
    const { files, hits } = searchFolder(folder, known, { since, except: resolve(file) });
    console.log(`${folder}: looked into ${files} files`);
    return hits;
  });
  places.push(processesIn(report));
  for (const hits of places) {
    for (const hit of hits.slice(0, SHOWN)) console.log(`FAILED ${hit}`);
    if (hits.length > SHOWN) console.log(`and ${hits.length - SHOWN} more`);
  }
  const failed = places.filter((hits) => hits.length > 0).length;
  console.log(`${places.length - failed} passed, ${failed} failed, 0 skipped`);
  return failed === 0;
}

/** What is wrong with what the sampler saw. */
function processesIn(report) {
  const lines = readFileSync(report, 'utf8').split('\n').filter(Boolean);
  const seen = lines.map((line) => JSON.parse(line));
  const looked = seen.pop()?.looked;
  if (looked === undefined) return ['the sampler did not come to its end'];
  const excused = seen.filter(({ isExcused }) => isExcused);
  console.log(`argv and environment: looked at ${looked} processes; excused ${excused.length}`);
  // Seen where it is given on purpose: otherwise the sampler is blind, or the suites do not use what they were given.
  if (excused.length === 0) return ['no process was seen that has a canary on purpose'];
  return seen
    .filter(({ isExcused }) => !isExcused)
    .map(
      ({ place, program, pid, began, ...hit }) =>
        `${place} of ${program} (${pid}, ${began.join(' ')}): ${inWords(hit)}`,
    );
}

async function main([command, file = '', ...rest]) {
  switch (command) {
    case 'make':
      // Also for a user other than the one who makes them: they are worth nothing outside of the run.
      writeFileSync(file, JSON.stringify(makeCanaries()), { flag: 'wx' });
      chmodSync(file, 0o644);
      return true;
    case 'sample':
      await sampleUntilStopped(Number(rest[0]), rest[1], lookFor(readCanaries(file)));
      return true;
    case 'search':
      return search(file, rest[0], rest.slice(1));
    case 'self-test':
      return selfTest();
    default:
      throw new Error(`${basename(import.meta.filename)} make | sample | search | self-test`);
  }
}

if (process.argv[1] === import.meta.filename) process.exitCode = (await main(process.argv.slice(2))) ? 0 : 1;
